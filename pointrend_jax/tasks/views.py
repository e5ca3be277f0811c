"""The views of test-time augmentation: scales of an image, and its mirror image."""

from pointrend_jax.structures import Config


def views(config: Config) -> list[tuple[float, bool]]:
    """(scale, mirrored) of each view, the first not mirrored; none without augmentation."""
    scales = tuple(float(scale) for scale in config.eval.tta_scales)
    if not (scales or config.eval.tta_flip):
        return []
    flips = (False, True) if config.eval.tta_flip else (False,)
    return [(scale, flip) for scale in scales or (1.0,) for flip in flips]
