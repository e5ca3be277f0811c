"""What other networks take from the package needs jax, numpy and jaxtyping alone."""

import os
import subprocess
import sys

import numpy as np

from tests.shared import REPOSITORY

# jax needs scipy, ml_dtypes and opt_einsum; jaxtyping, which is pure Python, wadler_lindig.
_PROGRAM = """
import sys

ALLOWED = {"pointrend_jax", "jax", "jaxlib", "numpy", "jaxtyping"}
ALLOWED |= {"scipy", "ml_dtypes", "opt_einsum", "wadler_lindig"} | sys.stdlib_module_names

class Only:
    # A finder to which nothing else is installed.
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        # Python's own record of how it was built has the machine in its name.
        if top in ALLOWED or top.startswith("_sysconfigdata"):
            return self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Only(finder) for finder in sys.meta_path]

import jax
import jax.numpy as jnp
import numpy as np
from pointrend_jax import (
    boundary_iou, nms_sorted, paste_mask, point_loss, point_sample, point_scatter, render, roi_align
)
from pointrend_jax.pointrend import PointMLP, binary_uncertainty

half = jnp.full((1, 2), 0.5)
maps = jnp.arange(16.0).reshape(1, 4, 4, 1)
print(point_sample(maps, half[None])[0, 0, 0])
print(point_scatter(maps, jnp.array([[3]]), jnp.full((1, 1, 1), -1.0))[0, 0].ravel())
print(render(maps, lambda points: points[..., :1], binary_uncertainty, subdivision_steps=1,
             subdivision_num_points=64)[0, 0, :, 0])
boxes = jnp.array([[0.0, 0, 2, 2], [0, 0, 2, 1.9], [2, 2, 4, 4]])
print(roi_align([maps], boxes[:1], jnp.array([0]), strides=[1], output_size=1,
                levels=jnp.array([0])).ravel())
print(nms_sorted(boxes, jnp.zeros(3, int), jnp.ones(3, bool), iou_threshold=0.5, max_outputs=2))
mask = paste_mask(np.ones((2, 2), np.float32), np.array([1, 1, 3, 3], np.float32), (4, 5))
print(mask.sum(), boundary_iou(mask, mask))
print(point_loss.mask_losses_at(half[None], maps[..., 0], maps[..., 0] > 7, jnp.array([True])))
try:
    import flax
except ModuleNotFoundError:
    print("nothing else")
"""


def test_the_sampler_the_ops_and_the_loss_run_with_jax_and_numpy_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=REPOSITORY, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "7.5"  # the mean of the four cells in the middle
    assert lines[1] == "[ 0.  1.  2. -1.]"
    # Every pixel is predicted anew: its own x, in eight columns.
    assert np.fromstring(lines[2].strip("[]"), sep=" ").tolist() == [
        (i + 0.5) / 8 for i in range(8)
    ]
    assert lines[3] == "[2.5]"  # the mean of 0, 1, 4 and 5
    assert lines[4].startswith("(Array([0, 2]")
    assert lines[5] == "4 1.0"
    assert lines[-1] == "nothing else"
