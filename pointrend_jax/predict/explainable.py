"""Whether the masks or the label maps of a model are rendered in steps that can be shown."""

from pointrend_jax.layers.parts import ExplainedMaskHead
from pointrend_jax.models.mask_heads import build_mask_head
from pointrend_jax.structures import Config


def check_explains(config: Config) -> None:
    """Raises ValueError if the model has no rendering steps that could be explained.

    Args:
      config: of a model of instances or of label maps.
    """
    why_not = why_not_explained(config)
    if why_not:
        raise ValueError(why_not)


def why_not_explained(config: Config) -> str:
    """What `check_explains` says of a model; "" if it has rendering steps."""
    if config.task == "semantic":
        semantic = config.model.semantic
        if semantic.pointrend and semantic.subdivision_steps:
            return ""
        return (
            "only a model with PointRend has subdivision steps to explain; this one has "
            f"model.semantic.pointrend={semantic.pointrend} and "
            f"subdivision_steps={semantic.subdivision_steps}."
        )
    if isinstance(build_mask_head(config), ExplainedMaskHead):
        return ""
    return (
        "only a mask head that renders has steps to explain, as 'pointrend' and 'implicit' do; "
        f"this model has model.mask_head={config.model.mask_head!r}."
    )
