"""Writes record files shard by shard, so that a kill costs a shard and not the set.

A finished shard is renamed into place and noted beside it; a restart keeps those whose note stands
for the same images. Equal input gives equal bytes, whether or not it was interrupted. Every image
is decoded once by the way. The layout is said in `layout.py`; TensorFlow is not needed.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core.example_serializer import ExampleSerializer
from tqdm import tqdm

from pointrend_jax.console import bar, tell_here
from pointrend_jax.data.checked import raise_problems
from pointrend_jax.data.records.layout import (
    COMPLETE,
    VERSION,
    ImageFacts,
    RecordSet,
    is_complete,
    read_manifest,
)
from pointrend_jax.data.records.manifest import (
    FORMAT,
    MANIFEST,
    FileNote,
    Manifest,
    ShardNote,
    parse_shard_note,
)
from pointrend_jax.storage import (
    AnyPath,
    as_os_errors,
    content_key,
    file_size,
    is_file_name,
    is_remote,
    locked,
    move_into,
    sha256,
    write_json,
    write_whole,
)
from pointrend_jax.workers import in_order

IMAGES_PER_SHARD = 512
# The only split of a set in the cache.
CACHED = "images"
_NOTE = ".done.json"
_LOCK = ".lock"


class _Shard(NamedTuple):
    """Number `number` of `of`: the images `start` to `stop` of a split."""

    split: str
    number: int
    of: int
    start: int
    stop: int

    def file(self, name: str) -> str:
        return f"{name}-{self.split}.array_record-{self.number:05d}-of-{self.of:05d}"


def write_records(
    content: RecordSet,
    folder: AnyPath,
    *,
    images_per_shard: int = IMAGES_PER_SHARD,
    advice: str = "free some space or set config.data.cache_dir",
) -> None:
    """Writes what is not there yet of a set. Two processes on one machine wait for each other.

    Args:
      advice: what an error tells to do where nothing can be written.
    Raises: ValueError if images cannot be used (all are listed), if `folder` holds another state of
      the set, or if it cannot be written.
    """
    if images_per_shard < 1:
        raise ValueError(f"a shard must have at least one image, got {images_per_shard}.")
    if not is_file_name(content.name):
        raise ValueError(f"a set must have a name that is fit for files, got {content.name!r}.")
    shards = _shards(content, images_per_shard)
    try:
        with as_os_errors():
            folder.mkdir(parents=True, exist_ok=True)
        with as_os_errors(), _alone(folder):
            if is_complete(folder):
                _check_unchanged(content, folder, shards)
            else:
                notes = _write_shards(content, folder, shards)
                _remove_others(content, folder, shards)
                _write_descriptions(content, folder, shards, notes)
            for note in folder.glob(f"*{_NOTE}"):
                note.unlink()
    # The writer of the records reports a full disk as a RuntimeError.
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"The record files of {content.name} cannot be written to {folder} ({error}); {advice}."
        ) from error


def write_if_absent(content: RecordSet, folder: Path) -> Path:
    """`folder`, which is named after the content, with the set in it; raises as `write_records`."""
    if not is_complete(folder):
        write_records(content, folder)
    return folder


def _shards(content: RecordSet, images_per_shard: int) -> list[_Shard]:
    shards = []
    for name, split in content.splits.items():
        number = len(split.facts)
        count = max(-(-number // images_per_shard), 1)
        bounds = [number * i // count for i in range(count + 1)]
        shards += [_Shard(name, i, count, bounds[i], bounds[i + 1]) for i in range(count)]
    return shards


def _shard_key(content: RecordSet, shard: _Shard) -> str:
    key = content.splits[shard.split].key
    meaning = json.dumps([FORMAT, content.name, content.metadata, shard], sort_keys=True)
    return content_key([meaning, *(f"{key(i)}\n" for i in range(shard.start, shard.stop))])


def _check_unchanged(content: RecordSet, folder: AnyPath, shards: list[_Shard]) -> None:
    written = [note.key for note in read_manifest(folder).shards]
    if written != [_shard_key(content, shard) for shard in shards]:
        raise ValueError(
            f"{folder} holds another state of the set: images, annotations or the size of the "
            "shards have changed since, or other splits are asked for. Remove it, or choose "
            "another folder."
        )


@contextlib.contextmanager
def _alone(folder: AnyPath) -> Iterator[None]:
    """While no other process of this machine writes to `folder`; a bucket has no such lock."""
    if is_remote(folder):
        yield
        return
    with locked(Path(folder / _LOCK)):
        # A process that was killed may have left it.
        for unfinished in folder.glob(".*"):
            if unfinished.name != _LOCK and unfinished.is_file():
                unfinished.unlink()
        yield


def _write_shards(content: RecordSet, folder: AnyPath, shards: list[_Shard]) -> list[ShardNote]:
    """What is noted of every shard. Raises ValueError if an image of any cannot be used."""
    notes, problems = [], []
    total = sum(s.stop - s.start for s in shards)
    with bar(total, f"preparing {content.name}") as progress:
        for shard in shards:
            key = _shard_key(content, shard)
            note = _finished(folder / shard.file(content.name), key)
            if note is None:
                note = _write_shard(content, shard, folder, key, problems, progress)
            else:
                tell_here(f"{content.name}: {note.records} images are there already")
                progress.update(note.records)
            notes += [] if note is None else [note]
    raise_problems(problems, total)
    return notes


def _finished(file: AnyPath, key: str) -> ShardNote | None:
    """What was noted of a finished shard, if it is there and made of what `key` stands for."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        note = parse_shard_note(json.loads(file.with_name(file.name + _NOTE).read_text()))
        if (note.file, note.key, note.file_bytes) == (file.name, key, file_size(file)):
            return note
    return None


def _write_shard(
    content: RecordSet,
    shard: _Shard,
    folder: AnyPath,
    key: str,
    problems: list[str],
    progress: tqdm,
) -> ShardNote | None:
    """Writes a shard whole and notes it; None, and more `problems`, if images cannot be used."""
    name = shard.file(content.name)
    place = tempfile.gettempdir() if is_remote(folder) else os.fspath(folder)
    unfinished = Path(place) / f".{name}.{os.getpid()}"
    try:
        before = len(problems)
        number, size = _write_examples(content, shard, unfinished, problems, progress)
        if len(problems) > before:
            return None
        file_bytes = unfinished.stat().st_size
        note = ShardNote(name, key, number, size, file_bytes, sha256(unfinished))
        move_into(unfinished, folder / name)
    finally:
        unfinished.unlink(missing_ok=True)
    write_json(folder / (name + _NOTE), note._asdict())
    return note


def _write_examples(
    content: RecordSet, shard: _Shard, file: Path, problems: list[str], progress: tqdm
) -> tuple[int, int]:
    """Number and bytes of the examples of a shard."""
    specs: Any = content.features.get_serialized_info()
    serializer = ExampleSerializer(specs)
    number = size = 0
    writer = ArrayRecordWriter(str(file), "group_size:1")
    try:
        items = range(shard.start, shard.stop)
        for example in in_order(content.splits[shard.split].check, items):
            progress.update()
            if isinstance(example, str):
                problems.append(example)
                continue
            proto: Any = serializer.get_tf_example(content.features.encode_example(example))
            # A map of a proto has an order of its own in every process.
            serialized = proto.SerializeToString(deterministic=True)
            writer.write(serialized)
            number, size = number + 1, size + len(serialized)
    finally:
        writer.close()
    return number, size


def _remove_others(content: RecordSet, folder: AnyPath, shards: list[_Shard]) -> None:
    """Shards of an unfinished set that had other images, or was cut into other pieces."""
    current = {shard.file(content.name) for shard in shards}
    for file in folder.glob(f"{content.name}-*.array_record-*"):
        if file.name.removesuffix(_NOTE) not in current:
            file.unlink()


def _write_descriptions(
    content: RecordSet, folder: AnyPath, shards: list[_Shard], notes: list[ShardNote]
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        _write_tfds_info(content, scratch, shards, notes)
        for split, what in content.splits.items():
            index = {name: [getattr(f, name) for f in what.facts] for name in ImageFacts._fields}
            (scratch / f"index-{split}.json").write_text(json.dumps(index))
        paths = sorted(scratch.iterdir())
        files = {path.name: FileNote(path.stat().st_size, sha256(path)) for path in paths}
        for path in paths:
            if path.name != COMPLETE:
                (folder / path.name).write_bytes(path.read_bytes())
        write_json(folder / MANIFEST, Manifest(tuple(notes), files).as_json())
        # Last: it says that all else is there.
        write_whole(folder / COMPLETE, (scratch / COMPLETE).read_bytes())


def _write_tfds_info(
    content: RecordSet, folder: Path, shards: list[_Shard], notes: list[ShardNote]
) -> None:
    # pyright sees TFDS through decorators that hide the parameters.
    core: Any = tfds.core
    identity = core.DatasetIdentity(
        name=content.name, version=core.Version(VERSION), data_dir=str(folder), module_name=__name__
    )
    info = core.DatasetInfo(
        builder=identity,
        features=content.features,
        metadata=core.MetadataDict(content.metadata),
        disable_shuffling=True,
    )
    info.set_file_format("array_record")
    splits = []
    for split in content.splits:
        own = [note for shard, note in zip(shards, notes, strict=True) if shard.split == split]
        template = core.ShardedFileTemplate(
            data_dir=folder, dataset_name=content.name, split=split, filetype_suffix="array_record"
        )
        splits.append(
            core.SplitInfo(
                name=split,
                shard_lengths=[note.records for note in own],
                num_bytes=sum(note.example_bytes for note in own),
                filename_template=template,
            )
        )
    info.set_splits(core.splits.SplitDict(splits))
    info.write_to_directory(str(folder))
