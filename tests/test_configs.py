"""Every configuration builds its model, and says what is published or measured."""

import ast
from pathlib import Path

import pytest

from pointrend_jax.data.categories import class_names
from pointrend_jax.flags import load_config
from pointrend_jax.importers.detectron2 import detectron2_rules
from pointrend_jax.importers.take_tensors import check_modules_exist
from pointrend_jax.models.build import build_model
from pointrend_jax.tasks.instance import instance_task
from pointrend_jax.training.checkpoints import array_shapes
from tests.shared import REPOSITORY

CONFIGS = sorted(p for p in (REPOSITORY / "configs").glob("*.py") if p.stem != "base")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_builds_and_is_named_like_its_file(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    build_model(config)
    assert len(class_names(config.data.categories, config.num_classes)) == config.num_classes
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert f"configs/{path.stem}.py" in docstring or "make demo" in docstring
    assert any(word in docstring.lower() for word in ("measured", "not a coco result", "results"))


def test_the_fine_tuning_config_resets_exactly_what_the_classes_change() -> None:
    coco = load_config(REPOSITORY / "configs" / "pointrend_rcnn_r50_fpn_3x_coco.py")
    people = load_config(REPOSITORY / "configs" / "pennfudan_from_coco.py")
    of_coco, of_people = (
        array_shapes(instance_task(build_model(config)).shapes()) for config in (coco, people)
    )
    check_modules_exist(tuple(people.init.reset), of_people)
    changed = {path for path, shape in of_people.items() if of_coco[path] != shape}
    reset = {
        path
        for path in of_people
        if any(f"/{module}/" in f"/{path}" for module in people.init.reset)
    }
    # The biases of the point head's hidden layers keep their shape, but belong to them.
    assert changed <= reset
    assert all("point_head/fc" in path and path.endswith("bias") for path in reset - changed)
    assert detectron2_rules(of_people).keys() == of_people.keys()
