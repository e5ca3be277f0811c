"""The server of the page: of this machine alone, for whoever knows its token.

What a browser may ask for lies below /TOKEN/ and is only answered under the names of this machine
(so that no other site, be it by a name that leads here, can read it). The model runs in one thread,
one request after another.
"""

import asyncio
import hmac
import itertools
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pointrend_jax.data.images import decode_image, encoded_hw
from pointrend_jax.explore.shown import FIRST_SIDE, REFINED_SIDES, Shown, photo
from pointrend_jax.explore.worker import Busy, Gone, Place, Worker
from pointrend_jax.predict.scene import Window

MAX_BYTES = 2**26
MAX_PIXELS = 40_000_000
MAX_SIDE = 2**15  # px
# Requests that wait for the model or are in it; what comes beyond is to come again.
MOST_WAITING = 32
# The last ones stay, with their features on the device.
_KEPT_SCENES = 4
_PAGE = Path(__file__).parent / "page"
_FILES = {path.name for path in _PAGE.iterdir()}
_HEADERS = {
    # No script but the page's own, and nothing from or to elsewhere.
    "content-security-policy": "default-src 'self'; img-src 'self' blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

_Result = TypeVar("_Result")


class Explorer:
    """The model, its scenes and what the page may ask of them."""

    def __init__(self, look: Callable[[np.ndarray], Shown]) -> None:
        """Args: look, predicts an image, uint8 [H, W, 3]; called in one thread."""
        self._look = look
        self._worker = Worker(MOST_WAITING)
        self._scenes: OrderedDict[str, Shown] = OrderedDict()
        self._numbers = itertools.count(1)

    def add(self, image: np.ndarray) -> str:
        """Looks at an image; the name of its scene, of which the last few are kept."""
        scene = self._look(image)
        name = str(next(self._numbers))
        self._scenes[name] = scene
        while len(self._scenes) > _KEPT_SCENES:
            self._scenes.popitem(last=False)
        return name

    def close(self) -> None:
        self._worker.close()

    def routes(self) -> list[Route]:
        """Everything below the token."""
        return [
            Route("/", _page),
            Route("/page/{name}", _page),
            Route("/start", self._start),
            Route("/photos", self._predicted, methods=["POST"]),
            Route("/scenes/{scene}", self._described),
            Route("/scenes/{scene}/photo", self._photo),
            Route("/scenes/{scene}/map", self._map),
            Route("/scenes/{scene}/window", self._window),
            Route("/scenes/{scene}/steps", self._steps),
            Route("/scenes/{scene}/save/{kind}", self._saved),
        ]

    async def _start(self, request: Request) -> Response:
        limits = {"opens": True, "max_bytes": MAX_BYTES, "max_pixels": MAX_PIXELS}
        sides = {"first_side": FIRST_SIDE, "refined_sides": REFINED_SIDES}
        newest = next(reversed(self._scenes), None)
        return JSONResponse({"scene": newest, **limits, **sides})

    async def _predicted(self, request: Request) -> Response:
        with self._worker.place() as place:
            data = await _body(request)
            return await _answer(request, place, lambda: self._seen(data))

    def _seen(self, data: bytes) -> Response:
        hw = encoded_hw(data, "you sent")
        if hw[0] * hw[1] > MAX_PIXELS or max(hw) > MAX_SIDE:
            raise ValueError(
                f"the image has {hw[1]} x {hw[0]} pixels; this page takes at most "
                f"{MAX_PIXELS}, and {MAX_SIDE} a side. Make it smaller first."
            )
        name = self.add(decode_image(data, "you sent"))
        return JSONResponse({"scene": name, **self._scenes[name].description()})

    async def _described(self, request: Request) -> Response:
        name, scene = request.path_params["scene"], self._scene(request)
        return await self._result(
            request, lambda: JSONResponse({"scene": name, **scene.description()})
        )

    async def _photo(self, request: Request) -> Response:
        image = self._scene(request).image
        saved = await asyncio.to_thread(photo, image)
        return Response(saved.content, media_type=saved.media_type)

    async def _map(self, request: Request) -> Response:
        scene, kind = self._scene(request), request.query_params.get("kind", "rendered")
        return await self._result(request, lambda: _binary(scene.map(kind)))

    async def _window(self, request: Request) -> Response:
        scene, (index, window, side) = self._scene(request), _asked(request)
        return await self._result(request, lambda: _binary(scene.window(index, window, side)))

    async def _steps(self, request: Request) -> Response:
        scene, (index, window, side) = self._scene(request), _asked(request)
        return await self._result(request, lambda: JSONResponse(scene.steps(index, window, side)))

    async def _saved(self, request: Request) -> Response:
        scene, kind = self._scene(request), request.path_params["kind"]
        chosen = [_number(n, int) for n in request.query_params.get("objects", "").split(",") if n]

        def file() -> Response:
            saved = scene.save(kind, chosen)
            named = {"content-disposition": f'attachment; filename="{saved.name}"'}
            return Response(saved.content, media_type=saved.media_type, headers=named)

        return await self._result(request, file)

    def _scene(self, request: Request) -> Shown:
        try:
            return self._scenes[request.path_params["scene"]]
        except KeyError as error:
            raise HTTPException(
                410, f"the server keeps the last {_KEPT_SCENES} photos; drop this one again."
            ) from error

    async def _result(self, request: Request, job: Callable[[], _Result]) -> _Result:
        with self._worker.place() as place:
            return await _answer(request, place, job)


def application(explorer: Explorer, token: str, port: int) -> ASGIApp:
    """What a server of ASGI runs, for that token and port."""
    inner = Starlette(
        routes=explorer.routes(),
        exception_handlers={
            HTTPException: _told,
            Busy: _busy,
            Gone: _nobody,
            ClientDisconnect: _nobody,
        },
    )
    names = ("127.0.0.1", "localhost")
    # Browsers leave the usual port of a site out.
    hosts = (*(f"{name}:{port}" for name in names), *(names if port == 80 else ()))

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await inner(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(k.encode(), v.encode()) for k, v in _HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        refusal = _refusal(scope, hosts, token)
        if refusal is not None:
            await refusal(scope, receive, send_safely)
            return
        path = scope["path"].removeprefix(f"/{token}")
        if not path:
            # What the page asks for is named relative to its folder.
            await RedirectResponse(f"/{token}/")(scope, receive, send_safely)
            return
        await inner({**scope, "path": path, "raw_path": path.encode()}, receive, send_safely)

    return guarded


def _refusal(scope: Scope, hosts: tuple[str, ...], token: str) -> Response | None:
    """Why a request is not looked at; None if it is."""
    headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
    if headers.get("host", "") not in hosts:
        # A site whose name was made to lead to this machine would be asked for under that name.
        return JSONResponse({"error": f"this server is {hosts[0]} and no other"}, 421)
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc not in hosts:
        return JSONResponse({"error": "another site asks; this server answers its own page"}, 403)
    given = scope["path"].removeprefix("/").split("/")[0].encode()
    if not hmac.compare_digest(given, token.encode()):
        return JSONResponse(
            {"error": "open the whole address that `pointrend_jax explore` has printed"}, 403
        )
    return None


async def _page(request: Request) -> Response:
    name = request.path_params.get("name", "index.html")
    if name not in _FILES:
        raise HTTPException(404, "there is no such file.")
    return FileResponse(_PAGE / name)


async def _answer(request: Request, place: Place, job: Callable[[], _Result]) -> _Result:
    """What the worker makes of a job; a user's mistake has its answer."""
    try:
        return await place.result(job, partial(_left, request))
    except (ValueError, IndexError) as error:
        raise HTTPException(400, str(error)) from error
    except (RuntimeError, MemoryError) as error:
        raise HTTPException(500, f"the model failed: {str(error)[:300]}") from error


async def _body(request: Request) -> bytes:
    """What was sent, of at most `MAX_BYTES`."""
    too_large = HTTPException(413, f"a photo may have {MAX_BYTES >> 20} MiB at most.")
    if _number(request.headers.get("content-length", "0"), int) > MAX_BYTES:
        raise too_large
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BYTES:
            raise too_large
    return bytes(data)


def _asked(request: Request) -> tuple[int, Window, int]:
    """The object, window and side that a request names; the side is one of the few."""
    given = request.query_params
    numbers = [_number(n, float) for n in given.get("window", "").split(",")]
    if len(numbers) != 4:
        raise HTTPException(400, "window must be x0,y0,x1,y1 in pixels of the photo.")
    wanted = _number(given.get("side", "0"), int)
    sides = FIRST_SIDE, *REFINED_SIDES
    side = next((side for side in sides if side >= wanted), sides[-1])
    x0, y0, x1, y1 = numbers
    return _number(given.get("object", "0"), int), (x0, y0, x1, y1), side


def _number(text: str, kind: Callable[[str], _Result]) -> _Result:
    try:
        return kind(text)
    except ValueError as error:
        raise HTTPException(400, f"{text!r} is no number.") from error


def _binary(content: bytes) -> Response:
    return Response(content, media_type="application/octet-stream")


async def _left(request: Request) -> None:
    """Ends when the browser has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _busy(request: Request, error: Exception) -> Response:
    text = "the model has more to do than it keeps in mind; ask again in a moment."
    return JSONResponse({"error": text}, 503, {"retry-after": "1"})


async def _nobody(request: Request, error: Exception) -> Response:
    # Nobody is there to read it.
    return Response(status_code=499)
