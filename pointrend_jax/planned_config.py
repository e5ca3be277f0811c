"""A planned experiment as a config of a few lines, which its owner can edit and give back.

It is told with its reasons and written into the work directory once; from then on it is gone by.
"""

import pprint
from pathlib import Path

from pointrend_jax.config import load_config
from pointrend_jax.console import tell
from pointrend_jax.plan import Plan, plan_for, refiner_plan
from pointrend_jax.storage import check_workdir, write_whole

FILE = "config.py"


def planned_config(
    folder: Path, workdir: Path, published: str = "", *, refiner: bool = False
) -> Path:
    """The config file in `workdir` for the images of `folder`, planned now if there is none yet.

    Args:
      published: as `plan_for`.
      refiner: of masks, instead of a model that finds them.
    Raises: ValueError if the folder is no data set, cannot be trained on, or is not the one that
      the config is for.
    """
    check_workdir(workdir)
    if refiner and published:
        raise ValueError(
            f"--weights {published} is a model that finds objects; a refiner has its own start."
        )
    path = workdir / FILE
    folder = folder.resolve()
    if path.is_file():
        of = load_config(path).data.dir
        if Path(of) != folder:
            raise ValueError(
                f"{path} is for the data in {of}, not in {folder}; choose another --workdir."
            )
        if (load_config(path).task == "refine") != refiner:
            raise ValueError(
                f"{path} is of config.task {load_config(path).task!r}; choose another --workdir."
            )
        if published and load_config(path).init.weights != published:
            raise ValueError(
                f"{path} does not start from {published}; edit it, or choose another --workdir."
            )
        tell(f"going by {path}, which was planned before")
        return path
    plan = refiner_plan(folder) if refiner else plan_for(folder, published)
    tell(f"{folder}: {plan.found}")
    for choice in plan.choices:
        if choice.why:
            tell(f"  config.{choice.field} = {choice.value!r}: {choice.why}")
    write_whole(path, config_text(plan, folder).encode())
    tell(f"the config is {path}; edit it and give it back with --config {path}")
    return path


def config_text(plan: Plan, folder: Path) -> str:
    """The config as a Python file."""
    model = plan.published or "base"
    lines = [
        f"# {_one_line(f'PointRend on {folder.name}: {plan.found}')}.",
        "",
        "from ml_collections import ConfigDict",
        "",
        f"from pointrend_jax.configs import {model if plan.published else 'base, presets'}",
        "",
        "",
        "def get_config() -> ConfigDict:",
        f"    config = {model}.get_config()",
        f"    config.name = {folder.name!r}",
    ]
    if not plan.published:
        lines += [
            f"    config.task = {plan.task!r}",
            "    presets.use_lite(config)  # EfficientNet-Lite0 of ImageNet, narrow heads",
        ]
    for choice in plan.choices:
        if choice.why and choice.field != "num_classes":
            lines.append(f"    # {_one_line(choice.why[0].upper() + choice.why[1:])}.")
        value = pprint.pformat(choice.value, width=80, compact=True).replace("\n", "\n        ")
        comment = f"  # {_one_line(choice.why)}" if choice.field == "num_classes" else ""
        lines.append(f"    config.{choice.field} = {value}{comment}")
    return "\n".join([*lines, "    return config", ""])


def _one_line(text: str) -> str:
    """The text for a comment: names of classes and folders may have line breaks."""
    return " ".join(text.split())
