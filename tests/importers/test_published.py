"""The list of published checkpoints agrees with the configs and with docs/checkpoints.md."""

import re

import pytest

from pointrend_jax.importers.published import PUBLISHED, PublishedWeights, weights_url
from tests.shared import REPOSITORY

DOCUMENT = REPOSITORY / "docs" / "checkpoints.md"
STEM = "pointrend_rcnn_r50_fpn_3x_coco"
PATH = (
    "PointRend/InstanceSegmentation/pointrend_rcnn_R_50_FPN_3x_coco/164955410/"
    "model_final_edd263.pkl"
)


def _table_row(weights: PublishedWeights) -> str:
    config = f"[{weights.config}](../configs/{weights.config}.py)" if weights.config else "-"
    if weights.kind == "backbone":
        return f"| `{weights.address}` |"
    return f"| {config} | {weights.result} | `{weights.address}` |"


def test_document_shows_every_published_file_and_no_other():
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if re.search(r"`detectron2://[^`]*\.pkl` \|$", line)]
    assert rows == [_table_row(weights) for weights in PUBLISHED]


@pytest.mark.parametrize("config", [w.config for w in PUBLISHED if w.kind == "detector"])
def test_every_detector_has_its_config(config: str):
    assert (REPOSITORY / "configs" / f"{config}.py").is_file()


def test_every_address_in_configs_is_published():
    addresses = {weights.address for weights in PUBLISHED}
    for path in REPOSITORY.glob("configs/*.py"):
        used = set(re.findall(r'"(detectron2://[^"]+)"', path.read_text(encoding="utf-8")))
        assert used <= addresses, path.name


def test_detectron2_address_lies_under_the_public_base():
    assert weights_url(f"detectron2://{PATH}") == (
        f"https://dl.fbaipublicfiles.com/detectron2/{PATH}"
    )


def test_config_name_stands_for_its_checkpoint():
    assert weights_url(STEM) == weights_url(f"detectron2://{PATH}")


def test_mirror_takes_the_place_of_the_public_base():
    for base in ("https://mirror.invalid/d2", "https://mirror.invalid/d2/"):
        assert weights_url(STEM, base_url=base) == f"https://mirror.invalid/d2/{PATH}"


def test_mirror_can_be_named_in_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("POINTREND_JAX_DETECTRON2", "https://mirror.invalid/d2")
    assert weights_url(STEM) == f"https://mirror.invalid/d2/{PATH}"
    assert weights_url(STEM, base_url="https://other.invalid") == f"https://other.invalid/{PATH}"


def test_url_stays_as_it_is():
    url = "https://weights.invalid/w.pkl"
    assert weights_url(url, base_url="https://mirror.invalid") == url


@pytest.mark.parametrize("name", ["", "pointrend", "ftp://weights.invalid/w.pkl", "model.pkl"])
def test_unknown_name_is_refused_with_those_that_are_known(name: str):
    with pytest.raises(ValueError, match=rf"https://.*no such file.*{STEM}"):
        weights_url(name)


def test_names_like_an_unknown_one_come_first():
    with pytest.raises(ValueError, match=r"Did you mean mask_rcnn_r50_fpn_3x_coco or "):
        weights_url("mask_rcnn_r50_3x_coco")
