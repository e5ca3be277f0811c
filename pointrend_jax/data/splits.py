"""The splits that `config.data` names: where they lie, and what both kinds of set ask of them."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol, runtime_checkable

from pointrend_jax.data.batches.evaluation import Records, eval_samples
from pointrend_jax.data.batches.transforms import check_fit
from pointrend_jax.data.images import decode_with_missing
from pointrend_jax.data.rasters import PixelsAndMissing
from pointrend_jax.data.records.fetch import fetch_records
from pointrend_jax.data.sources.held_out import held_out_part
from pointrend_jax.data.sources.known import Found, Place, Source
from pointrend_jax.messages import first
from pointrend_jax.registry import Registry
from pointrend_jax.storage import as_path, default_cache_dir, expanded, local_path
from pointrend_jax.structures import Config, EvalSample

# What a split is called in its set, by what it is for.
NAMES = {"train": "train", "eval": "val"}


@runtime_checkable
class EvalSamples(Protocol):
    """A process's evaluation images once, resized by `scale` and mirrored, in batches of equals."""

    def __call__(
        self,
        process_index: int = 0,
        process_count: int = 1,
        scale: float = 1.0,
        flip: bool = False,
    ) -> Iterator[EvalSample]: ...


def split_finder(
    config: Config, sources: Registry[Source[Found]], *, may_lack_annotations: bool = False
) -> Callable[[str], Found]:
    """From a key of `NAMES` to the checked files of that split; no image is opened.

    With images held out both splits are parts of the training files, which are read once; they are
    in memory as long as the finder is.

    Args:
      sources: those of the kind of task.
    Raises: ValueError for an unknown source; the finder, saying what is wrong with the files.
    """
    data, share = config.data, _held_out(config)
    source = sources[data.source]

    @cache
    def read(files: str) -> Found:
        named = source.has_named_files
        return source.read(
            Place(
                root=local_path(data.dir),
                split=NAMES[files],
                cache_dir=cache_dir(config),
                annotations=expanded(data[f"{files}_annotations"]) if named else "",
                images=expanded(data[f"{files}_images"]) if named else "",
                may_lack_annotations=may_lack_annotations,
                class_names=tuple(data.class_names),
                drawing=dict(data.embedded),
            )
        )

    def find(split: str) -> Found:
        if not share:
            return read(split)
        return held_out_part(read("train"), split, share, data.held_out_seed)

    return find


def local_records(config: Config) -> Path:
    """The record files in `config.data.dir` on this machine; of a bucket, a copy in the cache."""
    if _held_out(config):
        raise ValueError(
            f"config.data.held_out must be 0 for record files, got {config.data.held_out}: they "
            "have the splits that they were prepared with."
        )
    return fetch_records(as_path(config.data.dir), cache_dir(config))


def _held_out(config: Config) -> float:
    """`config.data.held_out`; 0 where the configuration of an older checkpoint lacks it."""
    return config.data.get("held_out", 0.0)


def cache_dir(config: Config) -> Path:
    """Where prepared sets lie."""
    return local_path(config.data.cache_dir) if config.data.cache_dir else default_cache_dir()


def check_classes(config: Config, class_names: tuple[str, ...]) -> None:
    """Raises ValueError unless `config.num_classes` is the number of names."""
    if len(class_names) != config.num_classes:
        raise ValueError(
            f"config.num_classes is {config.num_classes}, but the data set has {len(class_names)} "
            f"categories ({first(class_names, 8)}); set config.num_classes to that."
        )


def check_eval_sizes(config: Config, sizes: Sequence[tuple[int, int]]) -> None:
    """Raises ValueError unless evaluation images of these (height, width) fit the canvases."""
    check_fit(sizes, [config.data.eval_min_size], config.data.max_size, buckets(config))


def samples_of(config: Config, prepared: Records) -> EvalSamples:
    """The evaluation images as the config has them resized and batched."""

    def samples(
        process_index: int = 0, process_count: int = 1, scale: float = 1.0, flip: bool = False
    ) -> Iterator[EvalSample]:
        return eval_samples(
            prepared,
            min_size=config.data.eval_min_size,
            max_size=config.data.max_size,
            buckets=buckets(config),
            batch_size=config.eval.batch_size,
            process_index=process_index,
            process_count=process_count,
            scale=scale,
            flip=flip,
        )

    return samples


def image_with_missing(prepared: Records, record: int) -> PixelsAndMissing:
    """An image at its original size, and which of its values are missing."""
    encoded, name = prepared.source[record]["image"], prepared.images[record].name
    return decode_with_missing(encoded, name, prepared.pixels)


def buckets(config: Config) -> tuple[tuple[int, int], ...]:
    """The canvases as plain tuples."""
    return tuple((int(b[0]), int(b[1])) for b in config.data.buckets)
