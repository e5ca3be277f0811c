"""A picture as a file of any format that Pillow writes."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pointrend_jax.storage import write_whole


def save_picture(path: Path, picture: UInt8[np.ndarray, "_H _W *rgb"]) -> None:
    """Writes the file whole or not at all; how `path` ends says of which format it is.

    Args:
      picture: RGB, or of one channel.
    Raises: ValueError if there is no such format, or the file cannot be written.
    """
    kind = Image.registered_extensions().get(path.suffix.lower(), "")
    if kind not in Image.SAVE:
        raise ValueError(
            f"a picture must end in .png, .jpg or another format of Pillow, got {path.name}."
        )
    content = io.BytesIO()
    Image.fromarray(picture).save(content, kind)
    write_whole(path, content.getvalue())
