"""Runs an export with jax, numpy and flatbuffers alone."""

import hashlib
import json
import zipfile

import jax
import numpy as np
from jax import export


class Exported:
    def __init__(self, path):
        with zipfile.ZipFile(path) as file:
            self.about = json.loads(file.read("manifest.json"))
            parts = {name: file.read(name) for name in self.about["sha256"]}
        for name, digest in self.about["sha256"].items():
            if hashlib.sha256(parts[name]).hexdigest() != digest:
                raise ValueError(f"{path}: {name} is damaged.")
        data = parts["weights.safetensors"]
        head, self.weights = 8 + int.from_bytes(data[:8], "little"), {}
        types = {"F32": "<f4", "I32": "<i4", "F16": "<f2", "BF16": jax.numpy.bfloat16}
        for name, tensor in json.loads(data[8:head]).items():
            start, end = (head + offset for offset in tensor["data_offsets"])
            array = np.frombuffer(data[start:end], types[tensor["dtype"]])
            self.weights[name] = jax.device_put(array.reshape(tensor["shape"]))
        here = jax.default_backend().replace("gpu", "cuda")
        self.programs = [p for p in self.about["programs"] if p["platform"] == here]
        for program in self.programs:
            program["run"] = jax.jit(export.deserialize(bytearray(parts[program["file"]])).call)
        if not self.programs:
            raise ValueError(f"{path} has no program for {here}.")

    def __call__(self, pixels):
        """uint8 [H, W, 3] in RGB order to a dict of arrays."""
        if pixels.dtype != np.uint8 or pixels.shape[2:] != (3,):
            raise ValueError("an image is uint8 [H, W, 3].")
        height, width = hw = np.array(pixels.shape[:2], np.int32)
        scale = self.about["min_size"] / hw.min()
        sides = np.where(hw == hw.min(), self.about["min_size"], scale * hw)
        sides = sides * min(self.about["max_size"] / sides.max(), 1.0)
        sides = np.maximum((sides + 0.5).astype(np.int32), 1)
        for program in self.programs:  # the smallest first
            largest, canvas = program["largest"], program["canvas"]
            if (hw <= largest).all() and (-(-sides // 32) * 32 <= canvas).all():
                break
        else:
            raise ValueError(f"no program is large enough for {height} x {width} pixels.")
        placed = np.zeros((*largest, 3), np.uint8)
        placed[:height, :width] = pixels
        found = program["run"](self.weights, placed, hw, sides)
        if "labels" in found:
            return {"labels": np.asarray(found["labels"])[:height, :width]}
        rows = np.flatnonzero(found["valid"])
        result = {name: np.asarray(found[name])[rows] for name in ("boxes", "scores", "classes")}
        return {**result, "runs": [run_lengths(found, row, height, width) for row in rows]}


def run_lengths(found, row, height, width):
    """COCO's uncompressed RLE: lengths of runs down the columns, the first of pixels outside."""
    start, end = np.append(0, found["ends"])[row : row + 2]
    changes = np.asarray(found["positions"])[start:end]
    if end > len(found["positions"]):  # the list had no room: the same changes, bit by bit
        words = np.asarray(found["changed"][row])
        x, y = np.nonzero(np.unpackbits(words.view(np.uint8), axis=1, bitorder="little"))
        changes = x * height + y
    return np.diff(changes, prepend=0, append=height * width)


def mask_of(runs, height, width):
    """bool [H, W]"""
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
