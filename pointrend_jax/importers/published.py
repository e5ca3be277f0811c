"""The checkpoints that Detectron2 publishes for the models of this family, and their addresses.

The results are those that Detectron2 states for them (projects/PointRend and projects/DeepLab,
README; MODEL_ZOO.md), not measured with this code. docs/checkpoints.md shows the same table.
Nothing is downloaded here: see `download`.
"""

import os
from typing import Literal, NamedTuple

from pointrend_jax.config import did_you_mean

DETECTRON2_BASE = "https://dl.fbaipublicfiles.com/detectron2/"
# Names a mirror: what stands for `detectron2://` instead.
MIRROR_VARIABLE = "POINTREND_JAX_DETECTRON2"
DETECTRON2_SCHEME = "detectron2://"


class PublishedWeights(NamedTuple):
    """One published file.

    Attributes:
      config: the file in configs/ that it fits, without `.py`; "" = no model for it here, or a
        backbone, which fits many.
      path: below `DETECTRON2_BASE`.
      result: as Detectron2 publishes it, in percent; "" for a backbone. AP* is COCO mask AP against
        the LVIS annotations.
      kind: "detector" (instance), "segmentor" (semantic) or "backbone" (ImageNet).
    """

    config: str
    path: str
    result: str
    kind: Literal["detector", "segmentor", "backbone"]

    @property
    def address(self) -> str:
        """The name that `resolve_weights` and Detectron2 take."""
        return DETECTRON2_SCHEME + self.path


PUBLISHED = (
    PublishedWeights(
        "pointrend_rcnn_r50_fpn_1x_coco",
        "PointRend/InstanceSegmentation/pointrend_rcnn_R_50_FPN_1x_coco/164254221/"
        "model_final_736f5a.pkl",
        "mask AP 36.2, AP* 39.7",
        "detector",
    ),
    PublishedWeights(
        "pointrend_rcnn_r50_fpn_3x_coco",
        "PointRend/InstanceSegmentation/pointrend_rcnn_R_50_FPN_3x_coco/164955410/"
        "model_final_edd263.pkl",
        "mask AP 38.3, AP* 41.6",
        "detector",
    ),
    PublishedWeights(
        "pointrend_rcnn_r101_fpn_3x_coco",
        "PointRend/InstanceSegmentation/pointrend_rcnn_R_101_FPN_3x_coco/28119983/"
        "model_final_3f4d2a.pkl",
        "mask AP 40.1, AP* 43.8",
        "detector",
    ),
    PublishedWeights(
        "pointrend_rcnn_x101_32x8d_fpn_3x_coco",
        "PointRend/InstanceSegmentation/pointrend_rcnn_X_101_32x8d_FPN_3x_coco/28119989/"
        "model_final_ba17b9.pkl",
        "mask AP 41.1, AP* 44.7",
        "detector",
    ),
    PublishedWeights(
        "pointrend_rcnn_r50_fpn_1x_cityscapes",
        "PointRend/InstanceSegmentation/pointrend_rcnn_R_50_FPN_1x_cityscapes/164255101/"
        "model_final_115bfb.pkl",
        "mask AP 35.9",
        "detector",
    ),
    PublishedWeights(
        "mask_rcnn_r50_fpn_1x_coco",
        "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x/137260431/model_final_a54504.pkl",
        "mask AP 35.2",
        "detector",
    ),
    PublishedWeights(
        "mask_rcnn_r50_fpn_3x_coco",
        "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl",
        "mask AP 37.2",
        "detector",
    ),
    PublishedWeights(
        "pointrend_semantic_r101_fpn_cityscapes",
        "PointRend/SemanticSegmentation/pointrend_semantic_R_101_FPN_1x_cityscapes/202576688/"
        "model_final_cf6ac1.pkl",
        "mIoU 78.9",
        "segmentor",
    ),
    PublishedWeights(
        "deeplab_v3_r103_cityscapes",
        "DeepLab/Cityscapes-SemanticSegmentation/deeplab_v3_R_103_os16_mg124_poly_90k_bs16/"
        "28041665/model_final_0dff1b.pkl",
        "mIoU 78.5",
        "segmentor",
    ),
    PublishedWeights(
        "deeplab_v3_plus_r103_cityscapes",
        "DeepLab/Cityscapes-SemanticSegmentation/deeplab_v3_plus_R_103_os16_mg124_poly_90k_bs16/"
        "28054032/model_final_a8a355.pkl",
        "mIoU 80.0",
        "segmentor",
    ),
    PublishedWeights("", "ImageNetPretrained/MSRA/R-50.pkl", "", "backbone"),
    PublishedWeights("", "ImageNetPretrained/MSRA/R-101.pkl", "", "backbone"),
    PublishedWeights("", "ImageNetPretrained/FAIR/X-101-32x8d.pkl", "", "backbone"),
    PublishedWeights("", "DeepLab/R-103.pkl", "", "backbone"),
)


MODELS = {weights.config: weights for weights in PUBLISHED if weights.config}
"""The published models by the name of their config."""


def unknown_model(name: str) -> str:
    """For an error: which published models have names like `name`, and all that there are."""
    return f"{did_you_mean(name, MODELS)}Published models are: {', '.join(MODELS)}."


def weights_url(name: str, *, base_url: str | None = None) -> str:
    """The URL of weights that are not a local file.

    Args:
      name: `detectron2://PATH`, an http(s) URL (returned as it is), or the config of a published
        checkpoint, such as "pointrend_rcnn_r50_fpn_3x_coco".
      base_url: what stands for `detectron2://`; a mirror has the same paths. None =
        $POINTREND_JAX_DETECTRON2, or `DETECTRON2_BASE`.
    Raises: ValueError if it is none of these.
    """
    base_url = base_url or os.environ.get(MIRROR_VARIABLE) or DETECTRON2_BASE
    base = base_url.rstrip("/") + "/"
    if name.startswith(DETECTRON2_SCHEME):
        return base + name.removeprefix(DETECTRON2_SCHEME)
    if name.startswith(("https://", "http://")):
        return name
    if name in MODELS:
        return base + MODELS[name].path
    raise ValueError(
        f"weights must be a file, a {DETECTRON2_SCHEME} or https:// address, or the name of a "
        f"published model; got {name!r}, and there is no such file. {unknown_model(name)}"
    )
