"""The page as one file: a photo whose windows are rendered in the browser, with nothing else."""

import base64
import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pointrend_jax.console import tell
from pointrend_jax.explore.packed import KNOWN_UNIT, PackedScene, pack, price
from pointrend_jax.explore.shown import (
    FIRST_SIDE,
    REFINED_SIDES,
    ShownInstances,
    check_photos_alone,
    photo,
)
from pointrend_jax.layers.regions import points_of_window, window_start
from pointrend_jax.predict.instances import Predictor, check_choice
from pointrend_jax.predict.labels import SemanticPredictor
from pointrend_jax.predict.scene import Scene
from pointrend_jax.storage import check_workdir, write_whole

# Of the file. Browsers take more, but mail and forums do not.
MAX_BYTES = 24 * 2**20
_FOLDER = Path(__file__).parent
# Nothing may be fetched but what is in the file.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
_PREFIX = "pointrend/"


def write_static(
    predictor: Predictor | SemanticPredictor,
    image: np.ndarray,
    file: Path,
    *,
    score_threshold: float,
) -> None:
    """Writes the page of `image`, and tells its size and what it costs to leave the model.

    Args:
      image: the photo, uint8 [H, W, 3] in RGB order.
      score_threshold: objects that score lower are left out.
    Raises: ValueError for a model of label maps, or of other images than photos; if nothing is
      found, the mask head is not PointRend's, a feature does not fit float16, or the file would
      have more than `MAX_BYTES`; and as `check_static`.
    """
    check_static(file, score_threshold)
    if isinstance(predictor, SemanticPredictor):
        raise ValueError(
            "a page without a server shows instances; this is a model of label maps. Without "
            "--static the page shows those too."
        )
    check_photos_alone(predictor.config)
    scene = predictor.scene(image, score_threshold=score_threshold)
    packed = pack(scene)
    content = static_page(ShownInstances(scene, (), predictor.class_names), scene, packed)
    number = f"{len(scene.instances)} objects, features of {packed.share:.0%} of the cells"
    if len(content) > MAX_BYTES:
        raise ValueError(
            f"{file} would have {len(content) / 2**20:.1f} MiB ({number}), and a page has at most "
            f"{MAX_BYTES >> 20}; raise --score-threshold, take a smaller model, or let the page "
            "have its server: leave --static out."
        )
    cost = price(scene, packed)
    write_whole(file, content)
    tell(
        f"{file}: {len(content) / 2**20:.2f} MiB, {number} as float16. Beside the model, boxes of "
        f"the {cost.objects} best objects at 512 x 512: masks differ by at most {cost.mask:.2%} of "
        f"their union, probabilities by {cost.probability:.5f} on average."
    )


def check_static(file: Path, score_threshold: float) -> None:
    """Raises ValueError if the page cannot be written there, or the threshold is no probability."""
    check_choice(score_threshold)
    if file.suffix not in (".html", ".htm"):
        raise ValueError(f"--static {file} must end in .html.")
    if file.exists():
        raise ValueError(f"{file} is there already; choose another --static.")
    check_workdir(file.parent, "the folder of --static")


def static_page(shown: ShownInstances, scene: Scene, packed: PackedScene) -> bytes:
    """The file."""
    parts, raw = _laid_out(packed.arrays())
    about = {
        "description": shown.description() | {"files": []},
        "photo": _data("image/jpeg", photo(scene.image).content),
        "model": _model(scene, packed),
        "sides": {"first_side": FIRST_SIDE, "refined_sides": REFINED_SIDES},
        "parts": parts,
    }
    packed_bytes = base64.b64encode(zlib.compress(raw, 6)).decode()
    scripts = [
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f'<script type="importmap">{_json({"imports": _modules()})}</script>',
        f'<script type="application/json" id="about">{_json(about)}</script>',
        f'<script type="text/plain" id="arrays">{packed_bytes}</script>',
        f'<script type="module">import "{_PREFIX}main.js";</script>',
    ]
    html = _text("page/index.html")
    # The scripts come last: they have names of classes, which may be any text.
    for line, replacement in (
        (
            '<link rel="stylesheet" href="page/style.css">',
            f"<style>{_text('page/style.css')}</style>",
        ),
        ("page/icon.svg", _data("image/svg+xml", _text("page/icon.svg").encode())),
        ('<script type="module" src="page/main.js"></script>', "\n".join(scripts)),
    ):
        assert html.count(line) == 1, f"index.html must have {line} once"
        html = html.replace(line, replacement)
    return html.encode()


def _modules() -> dict[str, str]:
    """The page's own scripts by name, but those that ask a server."""
    files = {path.name: path for path in (_FOLDER / "page").glob("*.js")}
    files |= {path.name: path for path in (_FOLDER / "standalone").glob("*.js")}
    modules = {}
    for name, path in sorted(files.items()):
        # A script without an address of its own knows the others by the names of the map alone.
        text = re.sub(r'from "\./', f'from "{_PREFIX}', path.read_text(encoding="utf-8"))
        modules[_PREFIX + name] = _data("text/javascript", text.encode())
    return modules


def _model(scene: Scene, packed: PackedScene) -> dict[str, Any]:
    """What explore/standalone/render.js must know beside the arrays."""
    parts, found = packed.parts, scene.instances
    coarse_side, mlp = parts.coarse_logits.shape[1], parts.mlp
    plans = {}
    for side in (FIRST_SIDE, *REFINED_SIDES):
        points = points_of_window((side, side), parts.side, parts.subdivision_num_points)
        (start, _), doublings = window_start((side, side), coarse_side, points)
        plans[side] = {"start": start, "doublings": doublings, "points": points}
    objects = zip(found.boxes.tolist(), found.classes.tolist(), strict=True)
    maps = zip(parts.maps, parts.strides, strict=True)
    layers = [dict(zip(("inputs", "outputs"), kernel.shape, strict=True)) for kernel in mlp.kernels]
    return {
        "objects": [{"box": box, "label": label} for box, label in objects],
        "box_in_input": parts.boxes.tolist(),
        "maps": [
            dict(zip(("height", "width", "channels"), cells.shape, strict=True), stride=stride)
            for cells, stride in maps
        ],
        "mlp": {
            "hidden": layers[0]["outputs"], "coarse": mlp.coarse_channels,
            "each_layer": bool(mlp.coarse_each_layer), "layers": layers,
        },
        "side": parts.side, "coarse_side": coarse_side, "known_unit": KNOWN_UNIT, "plans": plans,
    }  # fmt: skip


def _laid_out(arrays: Mapping[str, np.ndarray]) -> tuple[list[dict[str, Any]], bytes]:
    """Where each array lies among the bytes of all, at multiples of 4."""
    parts, raw = [], bytearray()
    for name, array in arrays.items():
        raw += b"\0" * (-len(raw) % 4)
        place = {"name": name, "type": str(array.dtype), "start": len(raw), "length": array.size}
        parts.append(place)
        raw += np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return parts, bytes(raw)


def _json(content: Any) -> str:
    """For a script's element, which "</script>" in a name would end."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
