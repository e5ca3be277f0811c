"""The mask heads alone: the paper's table of cost beside measured times, and curves of one knob."""

from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.speed import models
from benchmarks.speed.measure import flops, layer_outputs, product_rate, seconds
from pointrend_jax.layers.coarse_mask_head import CoarseMaskHead
from pointrend_jax.layers.conv_mask_head import ConvMaskHead
from pointrend_jax.layers.mask_head import PointRendMaskHead
from pointrend_jax.layers.point_head import PointHead
from pointrend_jax.layers.regions import Regions
from pointrend_jax.models.build import build_model
from pointrend_jax.models.mask_rcnn import MaskRCNN
from pointrend_jax.ops.points import point_sample
from pointrend_jax.pointrend import point_features
from pointrend_jax.structures import Detections, ImageBatch

_CLASSES = 80
_CANVAS = (320, 512)
_HEADS: dict[str, nn.Module] = {
    "4-conv 28x28": ConvMaskHead(_CLASSES),
    "4-conv 224x224": ConvMaskHead(_CLASSES, pooler_resolution=112),
    "PointRend 224x224": PointRendMaskHead(CoarseMaskHead(_CLASSES), PointHead(_CLASSES)),
}


def compare(kit: Path | None, *, repeats: int = 3) -> dict[str, Any]:
    """Cost of a region by the compiler's count, and seconds of a region in chunks.

    The dense heads have no loop, so the count is of what runs; PointRend is counted with its
    product over the map shared by 100 regions, as it runs, and as the paper has it.
    """
    del kit
    pyramid = _pyramid()
    rows = {}
    for name, head in _HEADS.items():
        number = 4
        regions = _regions(number)
        variables = _variables(head, pyramid, regions)
        operations = flops(partial(_masks, head, variables, pyramid), regions) / number
        if isinstance(head, PointRendMaskHead):
            # Over 4 regions the product on the map would count 25 times as much as over 100.
            cells = _CANVAS[0] * _CANVAS[1] // 16
            operations += 2 * cells * 256 * 256 * (1 / 100 - 1 / number)
        masks = partial(jax.jit(partial(_masks, head)), variables, pyramid, regions)
        took = seconds(masks, repeats)["median"]
        rows[name] = {
            "multiply_adds": operations / 2,
            "activations": _activations(head, variables, pyramid),
            "seconds_a_region": took / number,
        }
    rows["PointRend 224x224"]["multiply_adds_plain"] = _plain_cost(pyramid)
    return {"rows": rows, "product_gflops": product_rate()}


def _masks(head: Any, variables: Any, pyramid: dict[str, Any], regions: Regions) -> Any:
    def method(head: Any) -> Any:
        return predict(head, pyramid, regions, jnp.array([_CANVAS]))

    return nn.apply(method, head)(variables)


def predict(
    head: Any, pyramid: dict[str, Any], regions: Regions, padded_hw: Any, slots: int = 100
) -> Any:
    """The masks of all regions at once, without a loop over chunks of them.

    slots: regions that there may be; they decide what is multiplied on the map.
    """
    prepared = head.prepare(pyramid, slots)
    return head.predict(prepared, head.encode_regions(pyramid, regions), regions, padded_hw)


def _plain_cost(pyramid: dict[str, Any]) -> float:
    """Multiply-adds of a region's points with the MLP as it is written, all classes."""
    head, points = PointHead(_CLASSES), jnp.zeros((1, 28 * 28 * 4, 2))
    regions, coarse = _regions(1), jnp.zeros((1, 7, 7, _CLASSES))
    variables = head.init(jax.random.key(0), jnp.zeros((1, 1, 256)), jnp.zeros((1, 1, _CLASSES)))

    def logits(points: Any) -> Any:
        fine = point_features([pyramid["p2"]], *regions[:2], points, strides=[4])
        return head.apply(variables, fine, point_sample(coarse, points))

    return flops(logits, points) / 2


def _activations(head: Any, variables: Any, pyramid: dict[str, Any]) -> int:
    """Numbers that a region's layers put out at one time, what they read from the maps included:
    of PointRend at the points of one step, with the MLP as it is written."""
    if isinstance(head, ConvMaskHead):
        run = partial(_masks, head, variables, pyramid)
        return layer_outputs(run, _regions(1)) + head.pooler_resolution**2 * 256
    point_head = head.point_head
    features, coarse = jnp.zeros((1, 784, 256)), jnp.zeros((1, 784, _CLASSES))
    initial = jax.eval_shape(point_head.init, jax.random.key(0), features, coarse)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape), initial)
    return layer_outputs(point_head.apply, zeros, features, coarse)


def curve(kit: Path | None, *, knob: str, values: list[int], repeats: int = 5) -> dict[str, Any]:
    """Seconds of the masks of an image of 320x484 as one knob turns, the others at the paper's
    value: instances, subdivision_num_points, or subdivision_steps."""
    built = models.build(models.R50, kit, {"model.box.detections_per_image": 20})
    (height, width), canvas = models.SIZES[320]
    batch = models.batch_of(models.image(kit, (height, width)), canvas)
    seconds_of, spreads, found = [], [], []
    for value in values:
        config = built.config.copy_and_resolve_references()
        if knob == "instances":
            config.model.box.detections_per_image = value
        else:
            config.model.mask[knob] = value
        apply = build_model(config).apply
        detect = partial(jax.jit(partial(apply, method=detected)), built.variables)
        segment = partial(jax.jit(partial(apply, method=MaskRCNN.segment)), built.variables)
        inputs = (*detect(batch), batch.padded_hw)
        found.append(int(inputs[1].valid.sum()))
        times = seconds(partial(segment, *inputs), repeats)
        seconds_of.append(times["median"])
        spreads.append((times["lower_quartile"], times["upper_quartile"]))
    return {
        "knob": knob, "values": values, "found": found, "seconds": seconds_of,
        "quartiles": spreads,
    }  # fmt: skip


def detected(model: MaskRCNN, batch: ImageBatch) -> tuple[dict[str, jax.Array], Detections]:
    """What masks are made from."""
    pyramid = model.pyramid(batch.images, batch.image_hw, batch.padded_hw)
    return pyramid, model.detect(pyramid, batch)


def _pyramid() -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    return {
        f"p{level}": jnp.asarray(
            rng.normal(size=(1, -(-_CANVAS[0] // 2**level), -(-_CANVAS[1] // 2**level), 256)),
            jnp.float32,
        )
        for level in range(2, 7)
    }


def _regions(number: int) -> Regions:
    """Boxes of 100 to 200 px, so that adaptive pooling has equal work."""
    corners = np.random.default_rng(1).uniform(0, 100, (number, 2))
    boxes = np.concatenate([corners, corners + np.array([200.0, 150.0])], axis=1)
    return Regions(
        boxes=jnp.asarray(boxes, jnp.float32),
        image_index=jnp.zeros(number, jnp.int32),
        classes=jnp.arange(number, dtype=jnp.int32) % _CLASSES,
        gt_index=jnp.zeros(number, jnp.int32),
        valid=jnp.ones(number, bool),
    )


def _variables(head: Any, pyramid: dict[str, jax.Array], regions: Regions) -> Any:
    def init(head: Any) -> Any:
        return predict(head, pyramid, regions, jnp.array([_CANVAS]))

    return jax.jit(lambda key: nn.init(init, head)(key))(jax.random.key(0))
