"""Opens the page: a port of this machine, a token, and the address that leads there."""

import os
import secrets
import socket
from functools import partial

import numpy as np
import uvicorn

from pointrend_jax.console import tell, tell_progress
from pointrend_jax.explore.server import Explorer, application
from pointrend_jax.explore.shown import check_photos_alone, shown, warm_up
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.labels import SemanticPredictor

# (height, width) of a photo as people have them, if none is given.
_USUAL_HW = (480, 640)


def serve(
    predictor: Predictor | SemanticPredictor, image: np.ndarray | None, *, port: int = 0
) -> None:
    """Answers until it is interrupted.

    Args:
      image: the photo that the page opens with, uint8 [H, W, 3] in RGB order; None for an empty
        page.
      port: of 127.0.0.1; 0 for one that is free.
    Raises: ValueError if the model takes other images than photos, or there is no such port;
      OSError if it is taken.
    """
    check_photos_alone(predictor.config)
    if not 0 <= port < 2**16:
        raise ValueError(f"--port must be 0 (one that is free) or up to {2**16 - 1}, got {port}.")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        # A port that is taken is told before the model is compiled.
        _listen(listening, port)
        own = listening.getsockname()[1]
        tell_progress("preparing the model for photos and their windows")
        warm_up(predictor, _USUAL_HW if image is None else image.shape[:2])
        explorer = Explorer(partial(shown, predictor))
        if image is not None:
            explorer.add(image)
        token = secrets.token_urlsafe(24)
        app = application(explorer, token, own)
        # Its own set-up of logging would close the handlers that others have made.
        config = uvicorn.Config(
            app, log_config=None, log_level="warning", lifespan="off", timeout_keep_alive=30,
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


def _listen(own: socket.socket, port: int) -> None:
    if os.name == "posix":
        # The port of a server that has just ended can be had at once.
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        own.bind(("127.0.0.1", port))
        # Else Linux would give the port to another that is not listening yet, too.
        own.listen()
    except OSError as error:
        raise OSError(
            f"port {port} of 127.0.0.1 cannot be had ({error.strerror}); choose another --port, or "
            "leave it out for one that is free."
        ) from error
