"""What a TIFF file says in its tags, without GDAL or Pillow; and what beside it says a place."""

import io
import struct
from pathlib import Path
from typing import BinaryIO

# Little and big endian, and the same of BigTIFF.
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BIG = 43  # in the header of BigTIFF
_MOST_TAGS = 1000  # that are looked at
# Tags of GeoTIFF: scale, tie points, transformation; and RPCs. Keys of the coordinate system alone
# place nothing.
_PLACES = {33550, 33922, 34264, 50844}
# How the names of files end, after that of an image without `.tif`, that may say where it lies.
_BESIDE = (".tfw", ".tifw", ".tiffw", ".wld", ".tab", ".rpb", "_rpc.txt")
# The types SHORT and LONG, of a value that stands in the entry.
_NUMBERS = {3: "H", 4: "I"}
# Orientations of an image that is turned or mirrored; 1 is upright.
ORIENTATION, TURNED = 274, range(2, 9)
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0


def is_tiff(data: bytes) -> bool:
    """Whether the bytes begin as a TIFF file."""
    return data.startswith(_TIFF)


def is_placed(path: Path) -> bool:
    """Whether a TIFF file itself says where it lies on the earth; False for a file that is none."""
    return not _PLACES.isdisjoint(tags_of(path))


def place_beside(path: Path) -> Path | None:
    """A file beside a TIFF file that may say where it lies on the earth, and that is not read."""
    names = [path.stem + ending for lower in _BESIDE for ending in (lower, lower.upper())]
    beside = map(path.with_name, (*names, f"{path.name}.aux.xml"))
    return next((file for file in beside if file.exists()), None)


def tags_of(file: Path | str | bytes) -> dict[int, int]:
    """The tags of the first image of a TIFF file, with the value of each that has one short or long
    number, and -1 for others.

    None of other files, or of one that is damaged there.
    """
    try:
        with io.BytesIO(file) if isinstance(file, bytes) else Path(file).open("rb") as opened:
            return _read_tags(opened)
    # An offset of BigTIFF may be larger than a file's can be.
    except (OSError, struct.error, ValueError, OverflowError):
        return {}


def _read_tags(file: BinaryIO | io.BytesIO) -> dict[int, int]:
    """Source: TIFF 6.0, section 2, and the BigTIFF proposal."""
    header = file.read(16)
    if not is_tiff(header):
        return {}
    order, is_big = "<" if header.startswith(b"I") else ">", _BIG in header[2:4]
    # The types of an offset and of the number of entries, and the bytes of an entry.
    offset, number, size = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    (start,) = struct.unpack_from(order + offset, header, 8 if is_big else 4)
    file.seek(start)
    (entries,) = struct.unpack(order + number, file.read(struct.calcsize(number)))
    found = file.read(min(entries, _MOST_TAGS) * size)
    # The value, or where it lies, is the last part of an entry, behind its tag and type.
    value, tags = size - struct.calcsize(offset), {}
    for at in range(0, len(found), size):
        tag, kind = struct.unpack_from(f"{order}HH", found, at)
        number = _NUMBERS.get(kind)
        tags[tag] = struct.unpack_from(order + number, found, at + value)[0] if number else -1
    return tags
