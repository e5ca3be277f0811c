"""Opens the page: a port of this machine, a token, and the address that leads there."""

import os
import secrets
import socket
from functools import partial
from pathlib import Path

import uvicorn

from pointrend_jax.console import tell, tell_progress
from pointrend_jax.data.images import read_image
from pointrend_jax.explore.server import Explorer, application
from pointrend_jax.explore.shown import shown, warm_up
from pointrend_jax.pixel_format import PHOTO, pixel_format
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.labels import SemanticPredictor

# (height, width) of a photo as people have them, if none is given.
_USUAL_HW = (480, 640)


def serve(predictor: Predictor | SemanticPredictor, image: Path | None, *, port: int = 0) -> None:
    """Answers until it is interrupted.

    Args:
      image: the photo that the page opens with; None for an empty one.
      port: of 127.0.0.1; 0 for one that is free.
    Raises: ValueError if the photo cannot be read, or the model takes other images; OSError if the
      port is taken.
    """
    if pixel_format(predictor.config) != PHOTO:
        raise ValueError(
            "the page shows photos, uint8 in RGB; this model takes a "
            f"{pixel_format(predictor.config)} (config.data). `pointrend_jax predict` draws those."
        )
    pixels = None if image is None else read_image(image)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        # Bound first: a port that is taken is told before the model is compiled.
        if os.name == "posix":
            # The port of a server that has just ended can be had at once.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        own = listening.getsockname()[1]
        tell_progress("preparing the model for photos and their windows")
        warm_up(predictor, _USUAL_HW if pixels is None else pixels.shape[:2])
        explorer = Explorer(partial(shown, predictor))
        if pixels is not None:
            explorer.add(pixels)
        token = secrets.token_urlsafe(24)
        app = application(explorer, token, own)
        config = uvicorn.Config(
            app, log_level="warning", lifespan="off", timeout_keep_alive=30,
            limit_concurrency=100, server_header=False, ws="none",
        )  # fmt: skip
        tell(
            f"open http://127.0.0.1:{own}/{token}/\n"
            "The address is for this machine and for as long as this runs; Ctrl-C ends it."
        )
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            explorer.close()
