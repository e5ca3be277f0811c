"""Masks sharpened in one call, which loads the refiner and keeps it for the next."""

from functools import lru_cache
from pathlib import Path

from pointrend_jax.predict.given_masks import MaskLike
from pointrend_jax.predict.images import ImageLike
from pointrend_jax.predict.load import load_refiner
from pointrend_jax.predict.refiner import NONE_PUBLISHED, MaskRefiner
from pointrend_jax.results.refined import RefinedMasks
from pointrend_jax.storage import as_path, is_folder
from pointrend_jax.training.saved_variables import newest_step


def refine(
    image: ImageLike, masks: MaskLike, *, checkpoint: Path | str | None = None
) -> RefinedMasks:
    """Sharpens the masks of a photo, whoever made them; `MaskRefiner.refine` says more.

    Args:
      checkpoint: the work directory of a refiner's training; it is loaded once.
    Raises: ValueError if there is none, or as `MaskRefiner.refine`.

    Example:
      refined = pointrend_jax.refine("photo.jpg", masks, checkpoint="runs/refiner")
    """
    if checkpoint is None:
        raise ValueError(f"refine needs checkpoint=RUN: {NONE_PUBLISHED}.")
    step = newest_step(as_path(checkpoint)) if is_folder(checkpoint) else None
    return _loaded(str(checkpoint), step)(image, masks)


@lru_cache(maxsize=1)
def _loaded(checkpoint: str, step: int | None) -> MaskRefiner:
    # A run that went on since has another step, and is loaded anew.
    del step
    return load_refiner(checkpoint)
