"""The frames of a video file, decoded by OpenCV, upright and in RGB."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from pointrend_jax.console import tell

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")


def is_video(path: Path) -> bool:
    """Whether a file is a video, by how its name ends."""
    return path.suffix.lower() in SUFFIXES


def count_frames(path: Path) -> int:
    """How many frames can be decoded one after another; they are, as headers are often wrong.

    Raises: ValueError if there is none.
    """
    with _opened(path) as video:
        number = 0
        while video.grab():
            number += 1
        stated = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    if not number:
        raise ValueError(f"The video {path} has no frame that can be decoded; convert it to MP4.")
    if number < stated:
        tell(f"{path}: {number} frames can be decoded, of {stated} that it announces")
    return number


def read_frames(path: Path, numbers: Sequence[int]) -> Iterator[UInt8[np.ndarray, "_H _W 3"]]:
    """The frames of these numbers, which ascend; 0 is the first.

    Raises: ValueError, when its turn comes, for a frame that cannot be decoded.
    """
    with _opened(path) as video:
        position = 0
        for number in numbers:
            while position < number and video.grab():
                position += 1
            found, frame = video.read()
            position += 1
            if not found:
                raise ValueError(
                    f"Frame {number} of the video {path} cannot be decoded; restore the file."
                )
            yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    # By FFmpeg alone: other backends take names with a % for series of pictures.
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        if not video.isOpened():
            raise ValueError(
                f"The video {path} cannot be opened: it is missing, damaged, or of a kind that "
                "OpenCV does not know; convert it to MP4."
            )
        yield video
    finally:
        video.release()
