"""Writes a second parity kit: the first kit's models with weights of another tag, on other photos.

    python -m parity.second_kit.make_kit --base KIT --data PHOTOS --out DIR

PHOTOS holds coco-mini/val2017 and pennfudan/images/val.

The numbers come from `reference.Reference`, which check_kit.py holds against the first kit.
"""

import argparse
import json
import shutil
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from parity import recipe
from parity.second_kit.kit_arrays import head_arrays, infer_arrays, prefixed, seeded_features
from parity.second_kit.reference import Reference

TAG = "variant7"


@dataclass(frozen=True)
class Photo:
    id: int
    path: str
    short_edge: int


# Chosen, with their sizes, for few near-ties: detections keep their order under other kernels
# (noise.json).
PORTRAIT = Photo(331352, "coco-mini/val2017/000000331352.jpg", 224)
LANDSCAPE = Photo(121, "pennfudan/images/val/PennPed00047.jpg", 304)
MODELS = {
    "pointrend_rcnn_R_50_FPN_coco": (PORTRAIT, LANDSCAPE),
    "implicit_pointrend_R_50_FPN_coco": (PORTRAIT,),
    "mask_rcnn_R_50_FPN_coco": (LANDSCAPE,),
    "pointrend_rcnn_X_101_32x8d_FPN_coco": (PORTRAIT,),
    "pointrend_rcnn_R_101_FPN_coco": (PORTRAIT,),
    "pointrend_rcnn_R_50_FPN_cityscapes": (PORTRAIT,),
}
HEADS_OF = (
    "pointrend_rcnn_R_50_FPN_coco",
    "implicit_pointrend_R_50_FPN_coco",
    "mask_rcnn_R_50_FPN_coco",
)
HEADS_HW, HEADS_IMAGE_HW, HEADS_OUT_HW = (352, 256), (325, 250), (650, 500)
HEADS_SCALES = (0.4, 0.5, 0.9, 1.6, 1.6)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--base", type=Path, required=True, help="the first kit: recipes and facts come from it"
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="the data kit: photos come from it"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=MODELS)
    parser.add_argument(
        "--noise", action="store_true", help="run everything twice and write noise.json"
    )
    args = parser.parse_args()
    torch.set_num_threads(2)

    (args.out / "inputs").mkdir(parents=True, exist_ok=True)
    for name in args.models:
        folder = args.out / "models" / name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(args.base / "models" / name / "facts.json", folder / "facts.json")
        manifest = json.loads((args.base / "models" / name / "manifest.json").read_text())
        params = retag(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
        noise = {}
        model = Reference(params, json.loads((folder / "facts.json").read_text()))
        for photo in MODELS[name]:
            pixels, out_hw = load_resized(args.data / photo.path, photo.short_edge)
            save_pixels(args.out / "inputs", photo.id, pixels)
            stem = f"infer_{photo.id}_{photo.short_edge}"
            arrays = infer_arrays(model, pixels, photo.id, out_hw)
            np.savez_compressed(folder / f"{stem}.npz", **arrays)
            describe(f"{name} {photo.id}", arrays)
            if args.noise:
                which = torch.as_tensor(arrays["mask/which"])
                with other_kernels():
                    noise[stem] = differences(
                        arrays, infer_arrays(model, pixels, photo.id, out_hw, which=which)
                    )
                (folder / "noise.json").write_text(json.dumps(noise, indent=1))
        if name in HEADS_OF:
            maps = seeded_features(TAG, HEADS_HW, HEADS_SCALES)
            given = {"hw": HEADS_HW, "image_hw": HEADS_IMAGE_HW, "scale": HEADS_SCALES}
            arrays = prefixed("features", {key: np.array(value) for key, value in given.items()})
            arrays |= head_arrays(model, maps, HEADS_IMAGE_HW, HEADS_OUT_HW)
            np.savez_compressed(folder / "heads.npz", **arrays)
            describe(f"{name} heads", arrays)


def retag(manifest: dict) -> dict[str, np.ndarray]:
    """Puts the tag and its checksums into the manifest and returns the parameters."""
    checked = list(manifest["crc32"])
    manifest["tag"], manifest["crc32"] = TAG, {}
    params = recipe.parameters(manifest)
    manifest["crc32"] = {key: zlib.crc32(params[key].tobytes()) for key in checked}
    return params


def load_resized(path: Path, short_edge: int) -> tuple[np.ndarray, tuple[int, int]]:
    """The photo's BGR uint8 pixels with the shorter edge at `short_edge`, and its own (H, W)."""
    with Image.open(path) as image:
        image = image.convert("RGB")
    scale = short_edge / min(image.size)
    size = tuple(int(n * scale + 0.5) for n in image.size)
    pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    return np.ascontiguousarray(pixels[:, :, ::-1]), (image.height, image.width)


def save_pixels(folder: Path, image_id: int, pixels: np.ndarray):
    h, w = pixels.shape[:2]
    crc32 = np.array(zlib.crc32(pixels.tobytes()))
    np.savez_compressed(folder / f"{image_id}_{h}x{w}_BGR.npz", pixels=pixels, crc32=crc32)


@contextmanager
def other_kernels():
    """Convolutions without oneDNN, on one thread: another rounding of the same numbers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.backends.mkldnn.flags(enabled=False):
        yield
    torch.set_num_threads(threads)


def differences(first: dict, second: dict) -> dict[str, list[float]]:
    """Per array [largest absolute difference, largest magnitude], row by row, swapped or not."""
    out = {}
    for key, a in first.items():
        if a.dtype.kind == "U":
            out[key] = [int(np.sum(a != second[key])), len(a)]
        else:
            a, b = a.astype(np.float64), second[key].astype(np.float64)
            out[key] = [float(np.abs(a - b).max()), float(np.abs(a).max())]
    return out


def describe(title: str, arrays: dict[str, np.ndarray]):
    scores, which = arrays["det/scores"], arrays["mask/which"]
    quantiles = np.quantile(scores, (1, 0.75, 0.5, 0.25, 0)).round(3).tolist()
    gap = np.sort(np.abs(np.diff(scores)))[:3]
    size = (arrays["det/boxes"][:, 2:] - arrays["det/boxes"][:, :2])[which].round().tolist()
    print(
        f"{title}: {len(scores)} detections of {len(set(arrays['det/classes'].tolist()))} classes, "
        f"scores {quantiles}, smallest gaps {gap}; {len(arrays['proposals/boxes'])} proposals; "
        f"which {which.tolist()} of sizes {size}; "
        f"{np.sum(arrays['out/areas'] == 0)} of {len(arrays['out/areas'])} masks empty",
        flush=True,
    )


if __name__ == "__main__":
    main()
