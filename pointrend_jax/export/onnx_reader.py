"""Runs an ONNX export with onnxruntime and numpy alone."""

import json

import numpy as np
import onnxruntime


class Exported:
    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(
            str(path), providers=onnxruntime.get_available_providers()
        )
        stored = self.session.get_modelmeta().custom_metadata_map
        self.about = json.loads(stored["pointrend_jax"])
        (program,) = self.programs = self.about["programs"]
        program["run"] = lambda feed: self.session.run(None, feed)

    def __call__(self, pixels):
        """uint8 [H, W, 3] in RGB order to a dict of arrays."""
        if pixels.dtype != np.uint8 or pixels.shape[2:] != (3,):
            raise ValueError("an image is uint8 [H, W, 3].")
        height, width = hw = np.array(pixels.shape[:2], np.int32)
        scale = self.about["min_size"] / hw.min()
        sides = np.where(hw == hw.min(), self.about["min_size"], scale * hw)
        sides = sides * min(self.about["max_size"] / sides.max(), 1.0)
        sides = np.maximum((sides + 0.5).astype(np.int32), 1)
        (program,) = self.programs
        run, largest, canvas = (program[name] for name in ("run", "largest", "canvas"))
        if (hw > largest).any() or (-(-sides // 32) * 32 > canvas).any():
            raise ValueError(f"the program is too small for {height} x {width} pixels.")
        placed = np.zeros((*largest, 3), np.uint8)
        placed[:height, :width] = pixels
        feed = {"pixels": placed, "original_hw": hw, "image_hw": sides}
        (labels,) = run(feed)
        return {"labels": labels[:height, :width]}
