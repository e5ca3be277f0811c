"""What `predict` refuses before it looks for images, or for a model: options that cannot be."""

import re
from pathlib import Path

import pytest
from PIL import Image

from pointrend_jax.cli import command_parser, main
from tests.predict.test_files import Squares

_INSTANCES = "pointrend_rcnn_r50_fpn_3x_coco"
_LABELS = "pointrend_semantic_r101_fpn_cityscapes"


@pytest.mark.parametrize(
    ("model", "flags", "message"),
    [
        (_INSTANCES, "--tile 512", "--tile and --overlap are for semantic models"),
        (_INSTANCES, "--overlap 32", "--tile and --overlap are for semantic models"),
        (_INSTANCES, "--score-threshold 2", r"score_threshold must be in \[0, 1\], got 2"),
        (_LABELS, "--score-threshold 0.3", "are for models of instances"),
        (_LABELS, "--annotations set.json", "are for models of instances"),
        (_LABELS, "--color-by class", "are for models of instances"),
        (_LABELS, "--tile 100", "multiples of 32"),
        (_LABELS, "--tile 256", "must overlap by a multiple of 32"),
        (_LABELS, "--overlap 32", "give --tile too"),
        (_LABELS, "--tile 512 --explain", "leave it or --tile out"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_looked_for(
    model: str, flags: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("set.json").write_text('{"images": [{"id": 1, "file_name": "a.jpg"}]}')
    # A folder that is not there, which is what is said where the options are possible.
    where = ["absent/a.jpg", "--checkpoint", model, "--output", "out"]
    with pytest.raises(ValueError, match=message):
        main(["predict", *where, *flags.split()])
    with pytest.raises(ValueError, match=r"absent/a\.jpg"):
        main(["predict", *where])


@pytest.mark.parametrize(
    "config", ["mask_rcnn_r50_fpn_3x_coco", "semantic_r101_fpn_cityscapes_paper"]
)
def test_a_model_that_renders_nothing_has_nothing_to_explain(config: str) -> None:
    model = ["--weights", "https://localhost/absent.pth", "--config", config]
    with pytest.raises(ValueError, match="steps to explain"):
        main(["predict", "absent.jpg", *model, "--output", "out", "--explain"])


@pytest.mark.parametrize(
    ("model", "explains"), [(_INSTANCES, True), ("mask_rcnn_r50_fpn_3x_coco", False)]
)
def test_explain_is_offered_where_there_is_something_to_explain(
    model: str,
    explains: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.new("RGB", (16, 12)).save(tmp_path / "a.png")
    monkeypatch.setattr("pointrend_jax.cli.predict.load", lambda source, config: Squares((3, 9)))
    flags = ["--checkpoint", model, "--output", str(tmp_path / "out")]
    main(["predict", str(tmp_path / "a.png"), *flags])
    said = capsys.readouterr().out
    assert "out has NAME.png" in said
    assert ("by the same command with --explain" in said) == explains


def test_what_may_be_left_out_is_not_listed_as_required(capsys: pytest.CaptureFixture[str]) -> None:
    for command, required in (("explore", "checkpoint"), ("predict", "IMAGES")):
        command_parser(command).print_help()
        needed, _ = capsys.readouterr().out.split("\nrequired:\n")[1].split("\noptions:\n")
        assert required in needed
        assert not re.search(r"^ *PHOTO", needed, re.MULTILINE)
