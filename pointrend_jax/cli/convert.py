"""Makes a checkpoint of Detectron2's weights, for `predict`, `eval` and `config.init.weights`."""

import argparse

from pointrend_jax.cli.parser import CommandParser, path

EXAMPLES = (
    "pointrend_jax convert --weights model_final_edd263.pkl "
    "--config pointrend_rcnn_r50_fpn_3x_coco --output checkpoints/coco_r50",
    "pointrend_jax convert --weights pointrend_rcnn_r50_fpn_3x_coco "
    "--config pointrend_rcnn_r50_fpn_3x_coco --output checkpoints/coco_r50",
)


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--weights", required=True, help="a file, detectron2://..., or the name of a published one"
    )
    parser.add_argument(
        "--config", required=True, help="of its model: a name, or the path of a Python file"
    )
    parser.add_argument("--output", type=path, required=True, help="folder of the checkpoint")


def run(args: argparse.Namespace) -> None:
    from pointrend_jax.convert import CARD, convert
    from pointrend_jax.weights import describe_weights

    weights = convert(args.weights, args.config, args.output)
    print(describe_weights(weights))
    print(f"checkpoint and {CARD}: {args.output}")
