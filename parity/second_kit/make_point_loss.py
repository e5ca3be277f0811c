"""Makes golden/ops/point_loss.npz: Mask2Former's loss at points and its matching costs, in PyTorch.

    PYTHONPATH=. torch-venv/bin/python -m parity.second_kit.make_point_loss FILE

Written from the formulas of the paper and of Mask2Former's criterion and matcher, on torch's
operations only. The inputs are those of `parity/point_loss_inputs.py`.
"""

import sys
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from parity.point_loss_inputs import NUM_POINTS, inputs

bce = partial(F.binary_cross_entropy_with_logits, reduction="none")
WEIGHTS = {"of_class": 2.0, "cross_entropy": 5.0, "dice": 5.0}


def sample(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear values [N, P] of maps [N, H, W] at (x, y) [N, P, 2] in [0, 1]."""
    grid = 2 * points[:, :, None] - 1
    return F.grid_sample(maps[:, None], grid, align_corners=False)[:, 0, :, 0]


def dice(shared: Tensor, both: Tensor) -> Tensor:
    return 1 - (2 * shared + 1) / (both + 1)


def losses(given: dict[str, Tensor]) -> dict[str, np.ndarray]:
    logits = given["mask_logits"][given["matched"]].clone().requires_grad_()
    num_uncertain = NUM_POINTS - given["uniform"].shape[1]
    with torch.no_grad():
        uncertainty = -sample(logits, given["oversampled"]).abs()
        kept = uncertainty.topk(num_uncertain, dim=1).indices
        uncertain = given["oversampled"].gather(1, kept[..., None].expand(-1, -1, 2))
        points = torch.cat([uncertain, given["uniform"]], dim=1)
        labels = sample(given["masks"], points)
    at_points = sample(logits, points)
    inside = at_points.sigmoid()
    of_masks = {
        "cross_entropy": bce(at_points, labels).mean(1),
        "dice": dice((inside * labels).sum(1), inside.sum(1) + labels.sum(1)),
    }
    chosen = np.zeros(uncertainty.shape, bool)
    np.put_along_axis(chosen, kept.numpy(), True, axis=1)
    out = {"chosen": np.packbits(chosen, axis=1), "num_uncertain": np.asarray(num_uncertain)}
    for name, of_mask in of_masks.items():
        loss = of_mask.sum() / len(of_mask)
        (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
        out |= {f"loss_{name}": loss.detach().numpy(), f"grad_{name}": gradient.numpy()}
    return out


def costs(given: dict[str, Tensor]) -> dict[str, np.ndarray]:
    def at_points(maps: Tensor) -> Tensor:
        return sample(maps, given["cost_points"].expand(len(maps), -1, -1))

    logits, labels = at_points(given["mask_logits"]), at_points(given["masks"])
    ones = torch.ones_like(logits)
    positive = bce(logits, ones)
    negative = bce(logits, 0 * ones)
    inside = logits.sigmoid()
    found = {
        "of_class": -given["class_logits"].softmax(-1)[:, given["classes"]],
        "cross_entropy": (positive @ labels.T + negative @ (1 - labels).T) / NUM_POINTS,
        "dice": dice(inside @ labels.T, inside.sum(1)[:, None] + labels.sum(1)[None]),
    }
    found["total"] = sum(weight * found[name] for name, weight in WEIGHTS.items())
    return {f"cost_{name}": cost.numpy() for name, cost in found.items()}


def main(path: str) -> None:
    given = {name: torch.from_numpy(value) for name, value in inputs().items()}
    np.savez_compressed(path, **losses(given), **costs(given))


if __name__ == "__main__":
    main(*sys.argv[1:])
