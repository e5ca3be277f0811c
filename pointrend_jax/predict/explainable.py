"""Whether the masks or the label maps of a model are rendered in steps that can be shown."""

from pointrend_jax.layers.parts import ExplainedMaskHead
from pointrend_jax.models.mask_heads import build_mask_head
from pointrend_jax.structures import Config


def check_explains(config: Config) -> None:
    """Raises ValueError if the model has no rendering steps that could be explained.

    Args:
      config: of a model of instances or of label maps.
    """
    if config.task == "semantic":
        semantic = config.model.semantic
        if not semantic.pointrend or semantic.subdivision_steps == 0:
            raise ValueError(
                "only a model with PointRend has subdivision steps to explain; this one has "
                f"model.semantic.pointrend={semantic.pointrend} and "
                f"subdivision_steps={semantic.subdivision_steps}."
            )
    elif not isinstance(build_mask_head(config), ExplainedMaskHead):
        raise ValueError(
            "only a mask head that renders has steps to explain, as 'pointrend' and 'implicit'; "
            f"this model has model.mask_head={config.model.mask_head!r}."
        )
