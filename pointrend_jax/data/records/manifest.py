"""What the manifest of a set of record files says, checked: it may be damaged, or of a stranger."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pointrend_jax.storage import is_file_name

MANIFEST = "manifest.json"
# Raise it when records or files change.
FORMAT = 3

_SHA256 = re.compile("[0-9a-f]{64}")


class ShardNote(NamedTuple):
    """What is known of a finished shard.

    Attributes:
      key: another one when anything that the shard is made of differs.
      records: how many.
      example_bytes, file_bytes: of the examples alone, and of the file.
      sha256: of the file, in hexadecimal digits.
    """

    file: str
    key: str
    records: int
    example_bytes: int
    file_bytes: int
    sha256: str


class FileNote(NamedTuple):
    """Size and checksum of a file."""

    bytes: int
    sha256: str


class Manifest(NamedTuple):
    """The files of a set: shards in order, and the others by name."""

    shards: tuple[ShardNote, ...]
    files: Mapping[str, FileNote]

    def all_files(self) -> dict[str, FileNote]:
        """Every file that the manifest vouches for, by name."""
        shards = {note.file: FileNote(note.file_bytes, note.sha256) for note in self.shards}
        return shards | dict(self.files)

    def as_json(self) -> dict[str, Any]:
        """What `parse_manifest` reads."""
        files = {name: note._asdict() for name, note in self.files.items()}
        return {"format": FORMAT, "shards": [s._asdict() for s in self.shards], "files": files}


def parse_manifest(content: Any) -> Manifest:
    """Raises: ValueError, in one sentence, for anything that is no manifest of this format."""
    version = content.get("format") if isinstance(content, dict) else None
    if version != FORMAT:
        raise ValueError(f"it has format {_short(version)}, this program reads {FORMAT}")
    shards, files = content.get("shards"), content.get("files")
    if not isinstance(shards, list) or not isinstance(files, dict):
        raise ValueError('it must have a list "shards" and an object "files"')
    manifest = Manifest(
        tuple(parse_shard_note(note) for note in shards),
        {_file_name(n): FileNote(**_fields(note, FileNote, n)) for n, note in files.items()},
    )
    if len(manifest.all_files()) < len(shards) + len(files) or MANIFEST in manifest.all_files():
        raise ValueError("it names a file twice, or itself")
    return manifest


def parse_shard_note(note: Any) -> ShardNote:
    """Raises: ValueError as `parse_manifest`."""
    parsed = ShardNote(**_fields(note, ShardNote, "a shard"))
    _file_name(parsed.file)
    return parsed


def _fields(note: Any, kind: type[ShardNote] | type[FileNote], what: str) -> dict[str, Any]:
    """The fields of `kind`; texts, or whole numbers that are not negative."""
    values = {name: note.get(name) if isinstance(note, dict) else None for name in kind._fields}
    for name, value in values.items():
        if kind.__annotations__[name] is int:
            fits = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        else:
            fits = isinstance(value, str) and (name != "sha256" or _SHA256.fullmatch(value))
        if not fits:
            raise ValueError(f"{name!r} of {_short(what)} is {_short(value)}")
    return values


def _file_name(name: Any) -> str:
    if not is_file_name(name):
        raise ValueError(f"it names {_short(name)}, which is no name of a file in its folder")
    return name


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
