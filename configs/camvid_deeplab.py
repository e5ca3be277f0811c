r"""DeepLabV3 of output stride 16 with PointRend on CamVid, from the weights of EfficientNet-Lite0.

    python train.py --config configs/camvid_deeplab.py --workdir runs/camvid --config.data.dir=DIR

The same without PointRend: --config.model.semantic.pointrend=False. All else is as in camvid.py.
Measured results: docs/results.md.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import camvid


def get_config() -> ConfigDict:
    config = camvid.get_config()
    config.name = "camvid_deeplab"
    config.model.output_stride = 16
    semantic = config.model.semantic
    semantic.coarse_head, semantic.norm = "deeplabv3", "batch_norm"
    semantic.aspp_dim = 128
    semantic.point_features = ("res2",)
    semantic.subdivision_steps = 4
    return config
