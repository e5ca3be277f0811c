"""Mask R-CNN with a PointRend, Implicit PointRend or 4-conv mask head: inference in plain PyTorch.

An independent yardstick: written from the papers and the parity kit's description, on torch and
torchvision operations only. It reads parameters by Detectron2 name and the numbers of the model
from the kit's `facts.json`. One image at a time, float32, NCHW. Every stage is a method, so a stage
can be fed the stored output of the one before.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import batched_nms, roi_align

SIZE_DIVISIBILITY = 32
MAX_LOG_SCALE = math.log(1000.0 / 16)
BOX_LEVELS = ("p2", "p3", "p4", "p5")
RPN_LEVELS = (*BOX_LEVELS, "p6")
STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


@dataclass
class Proposals:
    boxes: Tensor  # (N, 4) xyxy, pixels of the resized image
    logits: Tensor  # (N,), descending


@dataclass
class Detections:
    boxes: Tensor  # (D, 4) xyxy, pixels of the resized image
    scores: Tensor  # (D,), descending
    classes: Tensor  # (D,)
    proposal_index: Tensor  # (D,)


@dataclass
class Step:
    """One subdivision step; step 0 is the regular 28x28 grid, where every point is computed."""

    logits: Tensor  # (D, H, W), own class, after writing the points
    indices: Tensor  # (D, P), ascending, y * W + x
    point_logits: Tensor  # (D, P), own class
    kth_uncertainty: Tensor | None = None  # (D,), of the last chosen point
    next_uncertainty: Tensor | None = None  # (D,), of the first one left out


class Reference:
    def __init__(self, params: dict[str, np.ndarray | Tensor], facts: dict):
        self.p = {name: torch.as_tensor(value) for name, value in params.items()}
        self.cfg = facts["config_values"]["MODEL"]
        self.max_detections = facts["config_values"]["TEST"]["DETECTIONS_PER_IMAGE"]
        self.num_classes = self.cfg["ROI_HEADS"]["NUM_CLASSES"]
        self.head = self.cfg["ROI_MASK_HEAD"]["NAME"]
        derived = facts["derived"]
        self.point_start = derived.get("mask_point_subdivision_init_resolution")
        self.point_steps = derived.get("mask_point_subdivision_steps")
        self.num_points = derived.get("mask_point_subdivision_num_points")

    # ---- layers by name ----

    def conv(self, x: Tensor, name: str, stride: int = 1, padding: int = 0) -> Tensor:
        weight = self.p[f"{name}.weight"]
        groups = x.shape[1] // weight.shape[1]
        return F.conv2d(x, weight, self.p.get(f"{name}.bias"), stride, padding, groups=groups)

    def conv_bn(self, x: Tensor, name: str, stride: int = 1, padding: int = 0) -> Tensor:
        norm = {
            key: self.p[f"{name}.norm.{key}"]
            for key in ("running_mean", "running_var", "weight", "bias")
        }
        return F.batch_norm(self.conv(x, name, stride, padding), **norm, training=False, eps=1e-5)

    def fc(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.p[f"{name}.weight"], self.p[f"{name}.bias"])

    # ---- backbone ----

    def normalize(self, pixels: np.ndarray) -> Tensor:
        """uint8 HWC, as in inputs/ -> (1, 3, H, W), then padded right and bottom with 0."""
        mean, std = (
            torch.tensor(self.cfg[key]).view(3, 1, 1) for key in ("PIXEL_MEAN", "PIXEL_STD")
        )
        x = (torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float() - mean) / std
        h, w = x.shape[1:]
        return F.pad(x, (0, -w % SIZE_DIVISIBILITY, 0, -h % SIZE_DIVISIBILITY))[None]

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """The padded network input -> stem, res2..res5, p2..p6."""
        maps = {}
        x = F.relu(self.conv_bn(x, "backbone.bottom_up.stem.conv1", stride=2, padding=3))
        x = maps["stem"] = F.max_pool2d(x, 3, stride=2, padding=1)
        for stage, blocks in enumerate(BLOCKS[self.cfg["RESNETS"]["DEPTH"]], start=2):
            for block in range(blocks):
                stride = 2 if stage > 2 and block == 0 else 1
                x = self.bottleneck(x, f"backbone.bottom_up.res{stage}.{block}", stride)
            maps[f"res{stage}"] = x

        top_down = None
        for level in (5, 4, 3, 2):
            inner = self.conv(maps[f"res{level}"], f"backbone.fpn_lateral{level}")
            if top_down is not None:
                inner = inner + F.interpolate(top_down, scale_factor=2.0, mode="nearest")
            top_down = inner
            maps[f"p{level}"] = self.conv(inner, f"backbone.fpn_output{level}", padding=1)
        maps["p6"] = maps["p5"][:, :, ::2, ::2]
        return maps

    def bottleneck(self, x: Tensor, name: str, stride: int) -> Tensor:
        in_1x1 = self.cfg["RESNETS"]["STRIDE_IN_1X1"]
        out = F.relu(self.conv_bn(x, f"{name}.conv1", stride=stride if in_1x1 else 1))
        out = F.relu(self.conv_bn(out, f"{name}.conv2", stride=1 if in_1x1 else stride, padding=1))
        out = self.conv_bn(out, f"{name}.conv3")
        if f"{name}.shortcut.weight" in self.p:
            x = self.conv_bn(x, f"{name}.shortcut", stride=stride)
        return F.relu(out + x)

    # ---- proposals ----

    def rpn(self, maps: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Per level p2..p6: logits (A,) and deltas (A, 4), in the order y, x, anchor."""
        logits, deltas = [], []
        for level in RPN_LEVELS:
            head = "proposal_generator.rpn_head"
            hidden = F.relu(self.conv(maps[level], f"{head}.conv", padding=1))
            logits.append(
                self.conv(hidden, f"{head}.objectness_logits")[0].permute(1, 2, 0).flatten()
            )
            delta = self.conv(hidden, f"{head}.anchor_deltas")[0]
            deltas.append(delta.view(-1, 4, *delta.shape[1:]).permute(2, 3, 0, 1).reshape(-1, 4))
        return logits, deltas

    def anchors(self, maps: dict[str, Tensor]) -> list[Tensor]:
        out = []
        ratios = self.cfg["ANCHOR_GENERATOR"]["ASPECT_RATIOS"][0]
        for level, sizes in zip(RPN_LEVELS, self.cfg["ANCHOR_GENERATOR"]["SIZES"], strict=True):
            cells = []
            for size in sizes:
                for ratio in ratios:  # ratio = h / w
                    w = math.sqrt(size**2 / ratio)
                    cells.append([-w / 2, -ratio * w / 2, w / 2, ratio * w / 2])
            h, w = maps[level].shape[2:]
            y, x = torch.meshgrid(
                *(torch.arange(n) * float(STRIDES[level]) for n in (h, w)), indexing="ij"
            )
            centres = torch.stack([x, y, x, y], -1).view(-1, 1, 4)
            out.append((centres + torch.tensor(cells)).view(-1, 4))
        return out

    def proposals(
        self,
        logits: list[Tensor],
        deltas: list[Tensor],
        anchors: list[Tensor],
        image_hw,
        train: bool = False,
    ) -> Proposals:
        """Top-k per level, clip, drop empty boxes, NMS per level, top-k over all."""
        rpn = self.cfg["RPN"]
        suffix = "TRAIN" if train else "TEST"
        boxes, scores, levels = [], [], []
        for level, (logit, delta, anchor) in enumerate(zip(logits, deltas, anchors, strict=True)):
            top, index = logit.topk(min(rpn[f"PRE_NMS_TOPK_{suffix}"], len(logit)))
            boxes.append(apply_deltas(delta[index], anchor[index], rpn["BBOX_REG_WEIGHTS"]))
            scores.append(top)
            levels.append(torch.full_like(index, level))
        boxes, scores, levels = (
            clip(torch.cat(boxes), image_hw),
            torch.cat(scores),
            torch.cat(levels),
        )
        keep = nonempty(boxes)
        boxes, scores, levels = boxes[keep], scores[keep], levels[keep]
        keep = batched_nms(boxes, scores, levels, rpn["NMS_THRESH"])[
            : rpn[f"POST_NMS_TOPK_{suffix}"]
        ]
        return Proposals(boxes[keep], scores[keep])

    # ---- box head ----

    def roi_features(self, maps: dict[str, Tensor], boxes: Tensor, size: int) -> Tensor:
        """ROIAlign (aligned, adaptive) on the FPN level that fits the box: (N, C, size, size)."""
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        level = torch.floor(4 + torch.log2(torch.sqrt(area) / 224 + 1e-8)).clamp(2, 5).long()
        out = boxes.new_zeros(len(boxes), maps["p2"].shape[1], size, size)
        for number, name in enumerate(BOX_LEVELS, start=2):
            rows = torch.nonzero(level == number)[:, 0]
            pooled = roi_align(
                maps[name], [boxes[rows]], size, 1 / STRIDES[name], sampling_ratio=0, aligned=True
            )
            out = out.index_put((rows,), pooled)
        return out

    def box_head(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, 7, 7) -> logits (N, K + 1) with the background last, deltas (N, 4K)."""
        x = F.relu(self.fc(pooled.flatten(1), "roi_heads.box_head.fc1"))
        x = F.relu(self.fc(x, "roi_heads.box_head.fc2"))
        return self.fc(x, "roi_heads.box_predictor.cls_score"), self.fc(
            x, "roi_heads.box_predictor.bbox_pred"
        )

    def detections(self, logits: Tensor, deltas: Tensor, proposals: Tensor, image_hw) -> Detections:
        scores = logits.softmax(-1)[:, :-1]
        boxes = apply_deltas(deltas, proposals, self.cfg["ROI_BOX_HEAD"]["BBOX_REG_WEIGHTS"])
        boxes = clip(boxes.view(-1, 4), image_hw).view(len(proposals), -1, 4)
        row, cls = torch.nonzero(scores > self.cfg["ROI_HEADS"]["SCORE_THRESH_TEST"], as_tuple=True)
        boxes, scores = boxes[row, cls], scores[row, cls]
        keep = batched_nms(boxes, scores, cls, self.cfg["ROI_HEADS"]["NMS_THRESH_TEST"])[
            : self.max_detections
        ]
        return Detections(boxes[keep], scores[keep], cls[keep], row[keep])

    # ---- mask heads ----

    def mask_pooled(self, maps: dict[str, Tensor], boxes: Tensor) -> Tensor:
        if self.head == "MaskRCNNConvUpsampleHead":
            return self.roi_features(maps, boxes, self.cfg["ROI_MASK_HEAD"]["POOLER_RESOLUTION"])
        grid = regular_grid(14, 14).expand(len(boxes), -1, -1)
        return sample_in_boxes(maps["p2"], boxes, grid).view(len(boxes), -1, 14, 14)

    def four_conv_head(self, pooled: Tensor) -> Tensor:
        """(D, C, 14, 14) -> logits of all classes (D, K, 28, 28)."""
        name = "roi_heads.mask_head"
        x = pooled
        for layer in range(self.cfg["ROI_MASK_HEAD"]["NUM_CONV"]):
            x = F.relu(self.conv(x, f"{name}.mask_fcn{layer + 1}", padding=1))
        deconv = (self.p[f"{name}.deconv.weight"], self.p[f"{name}.deconv.bias"])
        return self.conv(F.relu(F.conv_transpose2d(x, *deconv, stride=2)), f"{name}.predictor")

    def conv_fc_head(self, pooled: Tensor, name: str) -> Tensor:
        x = F.relu(self.conv(pooled, f"{name}.reduce_spatial_dim_conv", stride=2)).flatten(1)
        for layer in (1, 2):
            x = F.relu(self.fc(x, f"{name}.fc{layer}"))
        return self.fc(x, f"{name}.prediction")

    def coarse_head(self, pooled: Tensor) -> Tensor:
        """(D, C, 14, 14) -> coarse logits of all classes (D, K, 7, 7)."""
        return self.conv_fc_head(pooled, "roi_heads.mask_head.coarse_head").view(
            -1, self.num_classes, 7, 7
        )

    def parameter_head(self, pooled: Tensor) -> Tensor:
        """(D, C, 14, 14) -> the weights, then the biases, of one small MLP per instance."""
        return self.conv_fc_head(pooled, "roi_heads.mask_head.parameter_head")

    def point_head(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Fine features (D, C, P) and coarse logits (D, K, P) at the points -> logits (D, K, P)."""
        name = "roi_heads.mask_head.point_head"
        x = fine
        for layer in (1, 2, 3):
            x = F.relu(F.conv1d(torch.cat([x, coarse], 1), self.p[f"{name}.fc{layer}.weight"],
                                self.p[f"{name}.fc{layer}.bias"]))  # fmt: skip
        last = (self.p[f"{name}.predictor.weight"], self.p[f"{name}.predictor.bias"])
        return F.conv1d(torch.cat([x, coarse], 1), *last)

    def implicit_point_head(self, fine: Tensor, points: Tensor, parameters: Tensor) -> Tensor:
        """Each instance's own MLP on encoded position and fine features -> logits (D, K, P)."""
        gaussian = self.p["roi_heads.mask_head.point_head.positional_encoding_gaussian_matrix"]
        angle = 2 * math.pi * ((2 * points - 1) @ gaussian)
        x = torch.cat([angle.sin(), angle.cos()], -1).transpose(1, 2)
        x = torch.cat([x, fine], 1)
        widths = [
            x.shape[1],
            *[self.cfg["POINT_HEAD"]["FC_DIM"]] * self.cfg["POINT_HEAD"]["NUM_FC"],
            self.num_classes,
        ]
        sizes = [a * b for a, b in pairwise(widths)] + widths[1:]
        pieces = parameters.split(sizes, dim=1)
        layers = len(widths) - 1
        for i, (weight, bias) in enumerate(zip(pieces[:layers], pieces[layers:], strict=True)):
            x = weight.view(len(x), widths[i + 1], widths[i]) @ x + bias[:, :, None]
            x = F.relu(x) if i < layers - 1 else x
        return x

    def point_logits(
        self, maps: dict[str, Tensor], boxes: Tensor, state: Tensor, points: Tensor
    ) -> Tensor:
        """Logits of all classes (D, K, P) at points (D, P, 2) in [0, 1] of the boxes.

        `state` is what the first half of the mask head made: coarse logits, or MLP parameters.
        """
        fine = sample_in_boxes(maps["p2"], boxes, points)
        if self.head == "ImplicitPointRendMaskHead":
            return self.implicit_point_head(fine, points, state)
        return self.point_head(fine, point_sample(state, points))

    def subdivide(
        self, maps: dict[str, Tensor], boxes: Tensor, classes: Tensor, state: Tensor
    ) -> list[Step]:
        """The regular grid, then per step: upsample by 2, recompute the uncertain points."""
        side, rows = self.point_start, torch.arange(len(boxes))
        grid = regular_grid(side, side).expand(len(boxes), -1, -1)
        values = self.point_logits(maps, boxes, state, grid)[rows, classes]
        everywhere = torch.arange(side * side).expand(len(boxes), -1)
        steps = [Step(values.view(-1, side, side), everywhere, values)]
        for _ in range(self.point_steps):
            logits = F.interpolate(
                steps[-1].logits[:, None], scale_factor=2, mode="bilinear", align_corners=False
            ).flatten(1)
            side *= 2
            ranked = (-logits.abs()).topk(self.num_points + 1, dim=1)
            indices = ranked.indices[:, : self.num_points].sort(dim=1).values
            points = torch.stack(
                [(indices % side + 0.5) / side, (indices // side + 0.5) / side], -1
            )
            values = self.point_logits(maps, boxes, state, points)[rows, classes]
            logits = logits.scatter(1, indices, values).view(-1, side, side)
            steps.append(Step(logits, indices, values, ranked.values[:, -2], ranked.values[:, -1]))
        return steps


def apply_deltas(deltas: Tensor, boxes: Tensor, weights) -> Tensor:
    """deltas (N, 4k) about boxes (N, 4) -> (N, 4k); log-scales are clamped from above only."""
    size = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + 0.5 * size
    d = deltas.view(len(deltas), -1, 4) / deltas.new_tensor(weights)
    middle = d[..., :2] * size[:, None] + centre[:, None]
    half = 0.5 * torch.exp(d[..., 2:].clamp(max=MAX_LOG_SCALE)) * size[:, None]
    return torch.cat([middle - half, middle + half], -1).reshape(deltas.shape)


def clip(boxes: Tensor, image_hw) -> Tensor:
    h, w = (int(v) for v in image_hw)
    return torch.minimum(boxes.clamp(min=0), boxes.new_tensor([w, h, w, h]))


def nonempty(boxes: Tensor) -> Tensor:
    return ((boxes[:, 2] - boxes[:, 0]) > 0) & ((boxes[:, 3] - boxes[:, 1]) > 0)


def regular_grid(h: int, w: int) -> Tensor:
    """(1, h * w, 2): cell centres as (x, y) in [0, 1], row by row."""
    y, x = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
    return torch.stack([x, y], -1).view(1, -1, 2)


def point_sample(maps: Tensor, points: Tensor, mode: str = "bilinear") -> Tensor:
    """maps (N, C, H, W) at points (N, P, 2) in [0, 1] -> (N, C, P); zero outside."""
    sampled = F.grid_sample(maps, 2 * points[:, :, None] - 1, mode=mode, align_corners=False)
    return sampled[..., 0]


def sample_in_boxes(p2: Tensor, boxes: Tensor, points: Tensor) -> Tensor:
    """p2 (1, C, H, W) at points (D, P, 2) in [0, 1] of boxes (D, 4) -> (D, C, P)."""
    in_image = boxes[:, None, :2] + points * (boxes[:, None, 2:] - boxes[:, None, :2])
    h, w = p2.shape[2:]
    in_map = in_image / in_image.new_tensor([w * STRIDES["p2"], h * STRIDES["p2"]])
    sampled = point_sample(p2, in_map.view(1, -1, 2))
    return sampled.view(p2.shape[1], *points.shape[:2]).transpose(0, 1)


def paste(logits: Tensor, box: Tensor, image_hw) -> Tensor:
    """Logits (M, M) of a box in pixels of the image -> bool (H, W): probability >= 0.5."""
    h, w = (int(v) for v in image_hw)
    x0, y0 = (int(v) for v in (box[:2].floor() - 1).clamp(min=0))
    x1, y1 = (int(min(v, limit)) for v, limit in zip(box[2:].ceil() + 1, (w, h), strict=True))
    x = (torch.arange(x0, x1) + 0.5 - box[0]) / (box[2] - box[0])
    y = (torch.arange(y0, y1) + 0.5 - box[1]) / (box[3] - box[1])
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None] * 2 - 1
    window = F.grid_sample(logits.sigmoid()[None, None], grid, align_corners=False)[0, 0] >= 0.5
    mask = torch.zeros(h, w, dtype=torch.bool)
    mask[y0:y1, x0:x1] = window
    return mask
