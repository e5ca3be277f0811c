"""Makes a checkpoint of Detectron2's weights, for `predict`, `eval` and `config.init.weights`.

Or, the other way, a safetensors file of a checkpoint, under Detectron2's names, in torch's layout.
"""

import argparse
from pathlib import Path

from pointrend_jax.cli.parser import CommandParser, names, path
from pointrend_jax.cli.runs import then_use
from pointrend_jax.structures import Config

EXAMPLES = (
    "pointrend_jax convert --weights model_final_edd263.pkl "
    "--config pointrend_rcnn_r50_fpn_3x_coco --output checkpoints/coco_r50",
    "pointrend_jax convert --checkpoint runs/people --output people.safetensors",
)


def add_arguments(parser: CommandParser) -> None:
    source = parser.add_choice()
    source.add_argument(
        "--weights", metavar="FILE",
        help="a file, detectron2://..., or the name of a published one; with --config",
    )  # fmt: skip
    source.add_argument(
        "--checkpoint", type=path, metavar="RUN", help="folder of a run, or of convert"
    )
    parser.add_argument(
        "--output", type=path, required=True,
        help="folder of the checkpoint; of --checkpoint, a file that ends in .safetensors",
    )  # fmt: skip
    parser.add_argument(
        "--config", help="of the model of --weights: a name, or the path of a Python file"
    )
    parser.add_argument(
        "--class-names", type=names, metavar="NAME,...",
        help="of a model of classes of your own, by class index",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    if args.checkpoint is None:
        _to_checkpoint(args.weights, args.config, args.class_names, args.output)
    else:
        if args.config is not None or args.class_names is not None:
            raise ValueError(
                "--config and --class-names belong to --weights; a checkpoint knows its own. Leave "
                "them out."
            )
        _to_file(args.checkpoint, args.output)


def _to_checkpoint(
    weights: str, config: Config | None, class_names: tuple[str, ...] | None, output: Path
) -> None:
    from pointrend_jax.convert import CARD, convert
    from pointrend_jax.weights_report import describe_weights

    if config is None:
        raise ValueError(
            "--weights needs the --config of its model: a name, such as "
            "pointrend_rcnn_r50_fpn_3x_coco, or the path of a Python file."
        )
    whole = config if class_names is None else _with_class_names(config, class_names)
    print(describe_weights(convert(weights, whole, output)))
    print(f"checkpoint and {CARD}: {output}. {then_use(output, whole.task)}")


def _to_file(checkpoint: Path, output: Path) -> None:
    from pointrend_jax.convert import export

    print(f"{export(checkpoint, output)} tensors of {checkpoint}: {output}")


def _with_class_names(config: Config, names: tuple[str, ...]) -> Config:
    """The same model of other classes, so many and called so."""
    changed = config.copy_and_resolve_references().unlock()
    changed.num_classes = len(names)
    changed.data.categories, changed.data.class_names = "", names
    return changed.lock()
