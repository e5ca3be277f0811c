"""The records that travel between floors: batches, proposals, detections.

Every record has fixed sizes with `valid`: a padded row is a zero box of class 0 with `valid` False,
and touches no loss, no gradient and no result. Fields of a NamedTuple are not checked by the shape
hook of the tests, so `check_shapes` does it where data come to training.
"""

from typing import Any, NamedTuple

import numpy as np

# jax.Array inside a traced function, np.ndarray on the host.
Array = Any
# An ml_collections.ConfigDict, whose fields no type checker knows.
Config = Any

# The label of pixels that have no ground truth.
IGNORE_LABEL = 255
# What every image of a federated set (LVIS) says: the categories that it is known to lack, and
# those of which it may have more objects than are annotated.
FEDERATED_LISTS = ("neg_category_ids", "not_exhaustive_category_ids")
# The axis of devices that share a batch.
DATA_AXIS = "data"


class ImageBatch(NamedTuple):
    """Images on the canvas of one bucket.

    Attributes:
      images: [B, H, W, C], of photos uint8 in RGB, top-left aligned, zero beyond `image_hw`.
      image_hw: int32 [B, 2], height and width of the resized image.
      padded_hw: int32 [B, 2], `image_hw` rounded up to the size divisibility (32): the region that
        the network sees. What lies between `padded_hw` and the canvas changes no result.
      valid: bool [B], False for a slot that only fills the batch.
    """

    images: Array
    image_hw: Array
    padded_hw: Array
    valid: Array


class ObjectBatch(NamedTuple):
    """Images with their ground-truth objects, the input of instance training.

    Attributes:
      images, image_hw, padded_hw: as in `ImageBatch`.
      image_index: int32 [B], position of the image in the global batch; the source of its
        randomness.
      boxes: float32 [B, G, 4], xyxy in pixels of the resized image.
      classes: int32 [B, G], 0..K-1.
      mask_bits: uint8 [B, G, H, W / 8], bit-packed along x, little-endian: pixel (y, x) is
        `mask_bits[..., y, x // 8] >> (x % 8) & 1`. None where points supervise.
      valid: bool [B, G], False for a slot without an object.
      point_coords: float32 [B, G, P, 2], (x, y) in pixels of the resized image, of labelled points;
        None where masks supervise.
      point_labels: int32 [B, G, P], 1 on the object, 0 not on it, -1 ignored; None likewise.
    """

    images: Array
    image_hw: Array
    padded_hw: Array
    image_index: Array
    boxes: Array
    classes: Array
    mask_bits: Array
    valid: Array
    point_coords: Array = None
    point_labels: Array = None


class SemanticBatch(NamedTuple):
    """Images with a class for every pixel, the input of semantic training.

    Attributes:
      images, image_hw, padded_hw: as in `ImageBatch`.
      image_index: int32 [B], position of the image in the global batch; the source of its
        randomness.
      labels: uint8 [B, H, W], 0..K-1, or `IGNORE_LABEL` where there is no ground truth, as beyond
        the image.
    """

    images: Array
    image_hw: Array
    padded_hw: Array
    image_index: Array
    labels: Array


class GivenBatch(NamedTuple):
    """Crops of photos with a mask that somebody gave, each of one object.

    Attributes:
      images, image_hw, padded_hw, valid: as in `ImageBatch`, of the crops.
      given: uint8 [B, H, W], the share of each pixel that the given mask covers, 255 for all of it;
        0 beyond `image_hw`.
    """

    images: Array
    image_hw: Array
    padded_hw: Array
    valid: Array
    given: Array


class CropBatch(NamedTuple):
    """Crops with a mask that was made worse and the true one, the input of a refiner's training.

    Attributes:
      images, image_hw, padded_hw, given: as in `GivenBatch`.
      image_index: int32 [B], position of the crop in the global batch; the source of its
        randomness.
      truth: uint8 [B, H, W], as `given`, of the true mask.
    """

    images: Array
    image_hw: Array
    padded_hw: Array
    image_index: Array
    given: Array
    truth: Array


class EvalSample(NamedTuple):
    """A batch for prediction with what the host needs to bring results back to the original images.

    Attributes:
      batch: the network's input; of a refiner a `GivenBatch`, whose crops are its images.
      image_ids: ids of the annotation file, one for each valid slot; of a refiner the places of the
        objects among those of the evaluation set.
      original_hw: (height, width) of each original image, in the same order.
      crops: of a refiner, what each valid slot shows (`data.batches.crops.Crop`).
    """

    batch: Any
    image_ids: tuple[int, ...]
    original_hw: tuple[tuple[int, int], ...]
    crops: tuple[Any, ...] = ()


class Proposals(NamedTuple):
    """RPN output. boxes [B, R, 4] xyxy; logits [B, R], descending; valid [B, R]."""

    boxes: Array
    logits: Array
    valid: Array


class Detections(NamedTuple):
    """Final detections in D slots, valid ones first, by descending score.

    Attributes:
      boxes: float32 [B, D, 4], xyxy in pixels of the resized image.
      scores: float32 [B, D], in (0, 1].
      classes: int32 [B, D].
      valid: bool [B, D].
    """

    boxes: Array
    scores: Array
    classes: Array
    valid: Array


class InstancePredictions(NamedTuple):
    """Detections with the logits of their own class in the frame of the box.

    Attributes:
      detections: D slots an image.
      mask_logits: float32 [B, D, M, M], the rendered mask (or the dense mask head's).
      coarse_logits: float32 [B, D, m, m], the coarse mask that rendering starts from; equals
        `mask_logits` for a model without PointRend.
    """

    detections: Detections
    mask_logits: Array
    coarse_logits: Array


class SemanticPredictions(NamedTuple):
    """Logits of every class on the network's canvas.

    Attributes:
      logits: float32 [B, H, W, K], at the resolution of the input; rendered by PointRend, or the
        coarse ones upsampled by a model without it.
      coarse_logits: float32 [B, h, w, K], what rendering starts from.
    """

    logits: Array
    coarse_logits: Array


_BATCH_SHAPES = {
    "images": "B H W C",
    "image_hw": "B 2",
    "padded_hw": "B 2",
    "image_index": "B",
    "labels": "B H W",
    "given": "B H W",
    "truth": "B H W",
    "boxes": "B G 4",
    "classes": "B G",
    "mask_bits": "B G H W/8",
    "valid": "B G",
    "point_coords": "B G P 2",
    "point_labels": "B G P",
}


def check_shapes(batch: ObjectBatch | SemanticBatch | CropBatch) -> None:
    """Raises ValueError, naming the field, if the fields of `batch` do not fit one another."""
    kind, images = type(batch).__name__, np.shape(batch.images)
    if len(images) != 4:
        raise ValueError(f"{kind}.images must be [B, H, W, C], got shape {images}.")
    sizes = dict(zip("BHWC", images, strict=True)) | {"W/8": images[2] // 8}
    if isinstance(batch, ObjectBatch):
        sizes["G"] = np.shape(batch.valid)[1] if len(np.shape(batch.valid)) == 2 else -1
        labels = np.shape(batch.point_labels)
        sizes["P"] = labels[2] if len(labels) == 3 else -1
        of_masks = (batch.mask_bits is not None, batch.point_coords is None)
        if of_masks not in ((True, True), (False, False)) or of_masks[1] != (
            batch.point_labels is None
        ):
            raise ValueError(
                f"{kind} must have either mask_bits, or point_coords and point_labels."
            )
    for name, value in batch._asdict().items():
        if value is None:
            continue
        names = _BATCH_SHAPES[name]
        expected = tuple(sizes.get(n) if n in sizes else int(n) for n in names.split())
        actual = tuple(np.shape(value))
        if actual != expected:
            raise ValueError(f"{kind}.{name} must be [{names}] = {expected}, got {actual}.")
