"""The images of an evaluation, once, in batches of one canvas; for every kind of set."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

from pointrend_jax.data.batches.loading import evaluation_parts
from pointrend_jax.data.batches.samples import make_sample
from pointrend_jax.data.batches.transforms import Bucket, choose_bucket, padded_hw, resized_hw
from pointrend_jax.data.images import decode_image
from pointrend_jax.data.records.broken import must_read
from pointrend_jax.data.records.layout import ImageFacts
from pointrend_jax.pixel_format import PixelFormat
from pointrend_jax.structures import EvalSample
from pointrend_jax.workers import at_once


@runtime_checkable
class Records(Protocol):
    """A prepared set of either kind; `source[i]` is the record of `images[i]`."""

    @property
    def source(self) -> Sequence[Any]: ...

    @property
    def images(self) -> tuple[ImageFacts, ...]: ...

    @property
    def pixels(self) -> PixelFormat: ...


def eval_samples(
    prepared: Records,
    *,
    min_size: int,
    max_size: int,
    buckets: tuple[Bucket, ...],
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    scale: float = 1.0,
    flip: bool = False,
) -> Iterator[EvalSample]:
    """This process's part of all images; slots that only fill the last batch are not valid.

    A process may have fewer batches than others (`evaluation_parts`). Images share a batch if they
    share a bucket at scale 1, so that every scale has the same batches in the same order. The
    images of a batch are read at once.

    Args:
      min_size, max_size, buckets: pixels at scale 1; the images must fit (`check_fit`).
      batch_size: of all processes together; a multiple of their number.
      scale: factor of both sizes; other scales than 1 have canvases of their own.
      flip: images are mirrored.
    Raises: ValueError, at once, if `scale` is not positive or `batch_size` no such multiple.
    """
    if not scale > 0.0:
        raise ValueError(f"the scale of an evaluation must be positive, got {scale}.")
    sizes = [(image.height, image.width) for image in prepared.images]
    groups: dict[Bucket, list[int]] = {}
    for record, size in enumerate(sizes):
        bucket = choose_bucket(resized_hw(size, min_size, max_size), buckets)
        assert bucket is not None, "check_fit comes first"
        groups.setdefault(bucket, []).append(record)
    parts = evaluation_parts(
        groups, batch_size=batch_size, process_index=process_index, process_count=process_count
    )
    scaled = max(round(min_size * scale), 1), max(round(max_size * scale), 1)

    def canvas_of(bucket: Bucket) -> Bucket:
        if scale == 1.0:
            return bucket
        padded = [padded_hw(resized_hw(sizes[record], *scaled)) for record in groups[bucket]]
        return max(hw[0] for hw in padded), max(hw[1] for hw in padded)

    canvases = {bucket: canvas_of(bucket) for bucket in groups}

    def decode(record: int) -> Any:
        encoded, name = prepared.source[record]["image"], prepared.images[record].name
        return decode_image(encoded, name, prepared.pixels)

    def read(record: int) -> Any:
        image = must_read(prepared.images[record], partial(decode, record))
        return image[:, ::-1] if flip else image

    def sample(bucket: Bucket, part: tuple[int, ...]) -> EvalSample:
        images = at_once(read, part)
        ids = tuple(prepared.images[record].id for record in part)
        return make_sample(images, ids, canvases[bucket], *scaled, batch_size // process_count)

    return (sample(bucket, part) for bucket, part in parts)
