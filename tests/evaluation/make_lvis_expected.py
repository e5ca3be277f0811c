"""Writes lvis_expected.json: what the `lvis` package says about imperfect detections.

Run by hand, from the repository's root, in an environment of its own:

    python -m venv ENV
    ENV/bin/pip install lvis==0.5.3
    ENV/bin/python -m tests.evaluation.make_lvis_expected --data LVIS_STYLE_VAL.json

LVIS_STYLE_VAL.json is an annotation file in the layout of LVIS v1. The other set is drawn by
`lvis_scenes`. Boundary AP is the package's evaluation with the overlap min(mask IoU, boundary IoU),
the boundaries by the formula of boundary-iou-api's boundary_utils.py.
"""

import argparse
import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from lvis import LVIS, LVISEval, LVISResults  # pyright: ignore[reportMissingImports]
from pycocotools import mask

from tests.evaluation.lvis_scenes import detections, digest, synthetic_set, without

# lvis 0.5.3 calls it by a name that NumPy has dropped.
_numpy: Any = np
_numpy.float = float

OUTPUT = Path(__file__).with_name("lvis_expected.json")
CROWDED = {"synthetic": 98, "lvis_style": 139}
_DILATION = 0.02
# The stubs of pycocotools want records of exact types.
_mask: Any = mask


class BoundaryEval(LVISEval):
    """The official evaluation of masks with another overlap."""

    def compute_iou(self, img_id: int, cat_id: int) -> Any:
        ious = super().compute_iou(img_id, cat_id)
        if len(ious) == 0:
            return ious
        truths, found = self._get_gt_dt(img_id, cat_id)
        order = np.argsort([-d["score"] for d in found], kind="mergesort")
        boundaries = _mask.iou(
            [_boundary(found[i]["segmentation"]) for i in order],
            [_boundary(truth["segmentation"]) for truth in truths],
            [0] * len(truths),
        )
        return np.minimum(ious, boundaries)


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes the official numbers")
    parser.add_argument("--data", type=Path, required=True, help="a file in the layout of LVIS v1")
    arguments = parser.parse_args()
    expected: dict[str, Any] = {name: version(name) for name in ("lvis", "numpy", "pycocotools")}
    expected["synthetic"] = official_numbers(synthetic_set(), CROWDED["synthetic"])
    truth = json.loads(arguments.data.read_text())
    expected["lvis_style"] = official_numbers(truth, CROWDED["lvis_style"])
    OUTPUT.write_text(json.dumps(expected, indent=1, allow_nan=False) + "\n")


def official_numbers(truth: dict[str, Any], crowded_image: int) -> dict[str, Any]:
    found = detections(truth, crowded_image)
    numbers: dict[str, Any] = {"crowded_image": crowded_image, "detections": len(found)}
    numbers["digest"] = digest(found)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "truth.json"
        path.write_text(json.dumps(truth))
        for kind, field, evaluate in (
            ("box", "segmentation", lambda *sets: LVISEval(*sets, "bbox")),
            ("mask", "bbox", lambda *sets: LVISEval(*sets, "segm")),
            ("boundary", "bbox", lambda *sets: BoundaryEval(*sets, "segm")),
        ):
            official = LVIS(str(path))
            evaluation = evaluate(official, LVISResults(official, without(found, field)))
            evaluation.run()
            results = evaluation.get_results().items()
            numbers[kind] = {name: None if v == -1 else float(v) for name, v in results}
    return numbers


def _boundary(rle: dict[str, Any]) -> Any:
    binary = _mask.decode(rle)
    height, width = binary.shape
    dilation = max(1, round(_DILATION * float(np.hypot(height, width))))
    padded = cv2.copyMakeBorder(binary, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=dilation)
    return _mask.encode(np.asfortranarray(binary - eroded[1:-1, 1:-1]))


if __name__ == "__main__":
    main()
