"""Compares the PyTorch reference with a stored infer_*.npz or heads.npz, array by array.

    python -m parity.second_kit.check_kit <kit> <model> <file name> [--feed]

With --feed the stored proposals and detections are fed to the stages after them; without it
everything runs from the pixels.  Prints one line per array and fails if one is outside the README's
tolerances.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as coco_mask

from parity import recipe
from parity.second_kit.kit_arrays import (
    head_arrays,
    infer_arrays,
    prefixed,
    seeded_features,
    stored_detections,
    stored_proposals,
)
from parity.second_kit.reference import Reference

# (prefix, tolerance, kind): the first prefix that fits; "relative" is to the largest magnitude.
TOLERANCES = (
    ("features/", 0, "absolute"),
    ("map/", 1e-4, "relative"),
    ("rpn/", 5e-4, "relative"),
    ("proposals/boxes", 0.2, "absolute"),
    ("proposals/logits", 2e-3, "absolute"),
    ("box/", 5e-4, "absolute"),
    ("det/boxes", 0.2, "absolute"),
    ("det/scores", 2e-3, "absolute"),
    ("out/boxes", 0.4, "absolute"),
    ("out/scores", 2e-3, "absolute"),
    ("mask/coarse", 5e-3, "absolute"),
    ("mask/pooled", 5e-3, "absolute"),
    ("mask/logits", 5e-3, "absolute"),
    ("mask/parameters", 5e-3, "absolute"),
    ("mask/", 1e-2, "99th percentile"),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kit", type=Path)
    parser.add_argument("model")
    parser.add_argument("file")
    parser.add_argument("--feed", action="store_true")
    parser.add_argument(
        "--other-kernels", action="store_true", help="no oneDNN, one thread: shows rounding noise"
    )
    args = parser.parse_args()
    torch.set_num_threads(1 if args.other_kernels else 2)
    torch.backends.mkldnn.set_flags(not args.other_kernels)

    folder = args.kit / "models" / args.model
    manifest = json.loads((folder / "manifest.json").read_text())
    golden = np.load(folder / args.file)
    model = Reference(recipe.parameters(manifest), json.loads((folder / "facts.json").read_text()))
    fed = (
        {"proposals": stored_proposals(golden), "detections": stored_detections(golden)}
        if args.feed
        else {}
    )
    fed["which"] = torch.as_tensor(golden["mask/which"])
    out_hw = [int(v) for v in golden["out/hw"]]
    if "features/hw" in golden:
        given = {key: golden[f"features/{key}"] for key in ("hw", "image_hw", "scale")}
        maps = seeded_features(manifest["tag"], given["hw"].tolist(), given["scale"].tolist())
        ours = prefixed("features", given) | head_arrays(
            model, maps, given["image_hw"].tolist(), out_hw, **fed
        )
    else:
        h, w = golden["input/hw"]
        pixels = np.load(args.kit / "inputs" / f"{golden['input/image_id']}_{h}x{w}_BGR.npz")[
            "pixels"
        ]
        ours = infer_arrays(model, pixels, int(golden["input/image_id"]), out_hw, **fed)

    print(
        "keys missing:",
        sorted(set(golden.files) - set(ours)),
        "extra:",
        sorted(set(ours) - set(golden.files)),
    )
    bad = [key for key in golden.files if key in ours and not compare(key, ours[key], golden[key])]
    bad += [] if compare_masks(ours, golden) else ["out/rle"]
    print("outside the tolerances:", bad or "none")
    sys.exit(bool(bad))


def compare(key: str, ours: np.ndarray, golden: np.ndarray) -> bool:
    if key in ("out/rle", "out/areas"):
        return True
    if ours.shape != golden.shape or ours.dtype != golden.dtype:
        print(f"{key:36} {ours.shape} {ours.dtype} against {golden.shape} {golden.dtype}")
        return False
    if key.endswith("indices"):
        shared = [len(np.intersect1d(a, b)) for a, b in zip(ours, golden, strict=True)]
        print(f"{key:36} shared points {shared} of {golden.shape[1]}")
        return min(shared) >= 0.99 * golden.shape[1]
    if golden.dtype.kind in "iu":
        same = np.array_equal(ours, golden)
        print(
            f"{key:36} {'equal' if same else f'{np.sum(ours != golden)} of {golden.size} differ'}"
        )
        return same
    difference = np.abs(ours.astype(np.float64) - golden)
    tolerance, kind = next((t, k) for prefix, t, k in TOLERANCES if key.startswith(prefix))
    largest = np.abs(golden.astype(np.float64)).max()
    value = {
        "relative": difference.max() / largest,
        "absolute": difference.max(),
        "99th percentile": np.percentile(difference, 99),
    }[kind]
    print(
        f"{key:36} max {difference.max():.2e} of {largest:.3g}; "
        f"{kind} {value:.1e} (<= {tolerance:g})"
    )
    return value <= tolerance


def compare_masks(ours, golden) -> bool:
    size = golden["out/hw"].tolist()
    pairs = (
        [coco_mask.decode({"size": size, "counts": counts.encode()}) for counts in pair]
        for pair in zip(ours["out/rle"].tolist(), golden["out/rle"].tolist(), strict=True)
    )
    pixels = np.array([np.sum(a != b) for a, b in pairs])
    box = golden["out/boxes"]
    allowed = np.maximum(10, 0.002 * (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]))
    print(
        f"out/rle: {np.sum(pixels == 0)} of {len(pixels)} masks identical, "
        f"the others {sorted(pixels[pixels > 0].tolist())} pixels; "
        f"{np.sum(pixels > allowed)} beyond the allowance"
    )
    return np.mean(pixels <= allowed) >= 0.95


if __name__ == "__main__":
    main()
