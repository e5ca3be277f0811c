"""What a user names to predict: files, folders, patterns, addresses, videos; as single images."""

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from pointrend_jax.console import tell
from pointrend_jax.importers.transfer import TransferPolicy, check_url, discard, transfer
from pointrend_jax.messages import first
from pointrend_jax.predict.npy_file import ARRAY
from pointrend_jax.predict.video import SUFFIXES, count_frames, is_video
from pointrend_jax.storage import check_workdir, is_file_name, local_path, locked, readable

# How the names of images end that a folder is searched for.
_IMAGES = (
    *(".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)
# Where what comes from an address is kept, in the folder of results.
_DOWNLOADS = "downloads"
_MAX_DOWNLOAD_BYTES = 2**30


class ImageSource(NamedTuple):
    """An image file, or a frame of a video.

    Attributes:
      frame: the number of the frame, from 0 on; None if the file is an image.
    """

    path: Path
    frame: int | None = None

    @property
    def stem(self) -> str:
        """The name of the file without its ending, with the number of the frame."""
        return self.path.stem + self._number

    @property
    def long_stem(self) -> str:
        """The whole name of the file, with the number of the frame."""
        return self.path.name + self._number

    @property
    def image_path(self) -> Path:
        """Where the image lies; of a frame, where it would lie as a file of its own."""
        return self.path if self.frame is None else self.path.with_name(self.stem)

    def __str__(self) -> str:
        frame = "" if self.frame is None else f", frame {self.frame}"
        return f"{readable(self.path)}{frame}"

    @property
    def _number(self) -> str:
        return "" if self.frame is None else f"_{self.frame:06d}"


def find_images(named: Sequence[str], output: Path, *, every: int = 1) -> list[ImageSource]:
    """The images that a user names, in the order of the names; a folder's by name.

    Args:
      named: files; folders, whose own images are taken; patterns with *, ? or [] (`**` goes into
        folders); https addresses of a file. Videos give their frames.
      output: in whose `downloads` what comes from an address is kept.
      every: of a video's frames each nth, from the first on.
    Raises: ValueError if nothing is found by one of the names, a file cannot be had, or a video
      cannot be decoded.
    """
    if every < 1:
        raise ValueError(f"--every must be at least 1, got {every}.")
    paths = [path for name in named for path in _paths(name, output)]
    if every > 1 and not any(is_video(path) for path in paths):
        raise ValueError("--every is of the frames of videos, and none is named; leave it out.")
    return [image for path in paths for image in _images(path, every)]


def download(url: str, folder: Path) -> Path:
    """The file at an address, kept below `folder`; one that is there does not come again.

    Raises: ValueError if it cannot be had, has no name, or has more than a gigabyte.
    """
    check_url(url)
    name = unquote(urlsplit(url).path.rsplit("/", 1)[-1])
    if not is_file_name(name):
        raise ValueError(
            f"{url} must end in the name of a file, as https://host/photo.jpg does; download it by "
            "other means and give its path."
        )
    # Two addresses may end in one name.
    path = folder / hashlib.sha256(url.encode()).hexdigest()[:12] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{name}.lock"), f"waiting for the process that downloads {path}"):
        if not path.exists():
            part = path.with_name(f".{name}.part")
            transfer(url, part, policy=TransferPolicy(max_bytes=_MAX_DOWNLOAD_BYTES))
            part.replace(path)
            discard(part)
    return path


def is_address(text: str) -> bool:
    """Whether it names something on the network."""
    return text.startswith(("http://", "https://"))


def _paths(name: str, output: Path) -> list[Path]:
    """The files that a name stands for."""
    if is_address(name):
        check_workdir(output, "--output")
        return [download(name, output / _DOWNLOADS)]
    path = local_path(name)
    if os.path.isdir(path):
        return _of_folder(path)
    if os.path.exists(path) or not glob.has_magic(name):
        return [path]
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    files = [match for match in matches if match.is_file()]
    if not files:
        raise ValueError(f"no file is called {name!r}; give files, folders or a pattern that fits.")
    return _of_kinds(files, (*_IMAGES, *SUFFIXES, ARRAY), name)


def _of_folder(folder: Path) -> list[Path]:
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return _of_kinds([path for path in entries if path.is_file()], _IMAGES, str(folder))


def _of_kinds(files: Sequence[Path], suffixes: Sequence[str], where: str) -> list[Path]:
    """The files whose names end so; says which others are left out.

    Raises: ValueError if there is none.
    """
    taken = [path for path in files if path.suffix.lower() in suffixes]
    others = Counter(p.suffix or p.name for p in files if p.suffix.lower() not in suffixes)
    kinds = first([f"{count} {readable(kind)}" for kind, count in sorted(others.items())], 8)
    if not taken:
        raise ValueError(
            f"{readable(where)} holds no image{f' ({kinds})' if kinds else ''}; images in folders "
            "of a folder are found by a pattern in quotes, 'FOLDER/**/*.jpg', and a file of "
            "another kind is read when it is named itself."
        )
    if kinds:
        tell(f"{readable(where)}: left out {kinds}; name them to predict them")
    return taken


def _images(path: Path, every: int) -> Iterator[ImageSource]:
    if not is_video(path):
        yield ImageSource(path)
        return
    for number in range(0, count_frames(path), every):
        yield ImageSource(path, number)
