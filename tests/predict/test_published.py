"""A published model by its name: fetched and converted once, whole or not at all."""

import json
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pointrend_jax.cli import main
from pointrend_jax.config import load_config
from pointrend_jax.convert import CARD
from pointrend_jax.importers.detectron2 import export_detectron2
from pointrend_jax.importers.published import MODELS, PublishedWeights
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.load import load, model_config
from pointrend_jax.predict.published import published_checkpoint
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.saved_variables import load_variables
from pointrend_jax.training.trees import flat
from tests.importers.weight_server import WeightServer, weight_server
from tests.tiny import tiny_variables

# A config that comes with the package, which no published model is of.
NAME = "tiny"


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    variables = tiny_variables(build_task(load_config(NAME)))
    return {path: np.asarray(array) for path, array in flat(variables).items()}


@pytest.fixture
def server(
    arrays: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WeightServer]:
    """A mirror that has a tiny model; the cache and the current folder are empty."""
    published = PublishedWeights(NAME, "PointRend/tiny/model_final.pkl", "", "detector")
    monkeypatch.setitem(MODELS, NAME, published)
    monkeypatch.setenv("POINTREND_JAX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with weight_server() as state:
        state.content = pickle.dumps({"model": export_detectron2(arrays)})
        monkeypatch.setenv("POINTREND_JAX_DETECTRON2", state.url)
        yield state


def _assert_arrays(checkpoint: Path, arrays: dict[str, np.ndarray]) -> None:
    variables, _, _ = load_variables(checkpoint)
    assert flat(variables).keys() == arrays.keys()
    for path, array in flat(variables).items():
        np.testing.assert_array_equal(array, arrays[path], err_msg=path)


def test_a_name_is_fetched_and_converted_once_and_says_so(
    server: WeightServer,
    arrays: dict[str, np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint = published_checkpoint(NAME)
    _assert_arrays(checkpoint, arrays)
    assert checkpoint.parent == tmp_path / "cache" / "models"
    told = capsys.readouterr().err
    assert told.startswith("tiny is fetched and converted, once\n")
    size = len(server.content) / 1e6
    assert f"downloading {size:.1f} MB from {server.url}PointRend/tiny/model_final.pkl" in told
    assert told.endswith(f"tiny is kept in {checkpoint}\n")
    assert published_checkpoint(NAME) == checkpoint
    assert capsys.readouterr().err == ""
    assert server.ranges == [""]
    assert json.loads((checkpoint / CARD).read_text())["weights"] == NAME


def test_predict_takes_a_name(server: WeightServer, tmp_path: Path) -> None:
    Image.new("RGB", (96, 64), "red").save("photo.png")
    arguments = ["predict", "photo.png", "--checkpoint", NAME, "--format", "coco"]
    arguments += ["--score-threshold", "0"]
    main([*arguments, "--output", str(tmp_path / "out")])
    main([*arguments, "--output", str(tmp_path / "again")])
    first, again = (
        json.loads((tmp_path / folder / "instances.json").read_text())["annotations"]
        for folder in ("out", "again")
    )
    assert first
    assert first == again
    assert server.ranges == [""]


def test_nothing_is_downloaded_before_images_and_fields_are_checked(
    server: WeightServer, tmp_path: Path
) -> None:
    assert model_config(NAME).task == "instance"
    with pytest.raises(ValueError, match=r"Did you mean config\.data\.eval_min_size"):
        load(NAME, {"data.eval_minsize": 5})
    with pytest.raises(ValueError, match=r"missing\.png"):
        main(["predict", "missing.png", "--checkpoint", NAME, "--output", str(tmp_path / "out")])
    assert server.ranges == []


def test_fields_of_inference_can_be_changed_of_a_name(server: WeightServer) -> None:
    del server
    loaded = load(NAME, {"model.box.score_threshold": 0.25})
    assert isinstance(loaded, Predictor)
    assert loaded.config.model.box.score_threshold == 0.25


def test_what_a_killed_process_left_is_not_taken_for_a_checkpoint(
    server: WeightServer, arrays: dict[str, np.ndarray]
) -> None:
    checkpoint = published_checkpoint(NAME)
    # As it is when the last array is missing and the move has not come.
    unfinished = checkpoint.with_name(f"{checkpoint.name}.part")
    checkpoint.rename(unfinished)
    next(path for path in (unfinished / "checkpoints").rglob("*") if path.is_file()).unlink()
    assert published_checkpoint(NAME) == checkpoint
    _assert_arrays(checkpoint, arrays)
    assert not unfinished.exists()
    # The file had come whole.
    assert server.ranges == [""]


def test_a_failed_conversion_leaves_no_checkpoint(server: WeightServer, tmp_path: Path) -> None:
    tensors = pickle.loads(server.content)["model"]
    tensors.pop("roi_heads.box_predictor.cls_score.bias")
    server.content = pickle.dumps({"model": tensors})
    with pytest.raises(ValueError, match=r"missing: roi_heads\.box_predictor\.cls_score\.bias"):
        published_checkpoint(NAME)
    left = [path.name for path in (tmp_path / "cache" / "models").iterdir() if path.is_dir()]
    assert all(name.endswith(".part") for name in left)


def test_many_at_once_convert_once(
    server: WeightServer, capsys: pytest.CaptureFixture[str]
) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(published_checkpoint(NAME))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1
    assert server.ranges == [""]
    assert capsys.readouterr().err.count("is kept in") == 1


def test_a_damaged_checkpoint_of_the_cache_says_how_to_make_it_again(
    server: WeightServer, arrays: dict[str, np.ndarray]
) -> None:
    del server
    checkpoint = published_checkpoint(NAME)
    largest = max(
        (path for path in checkpoint.rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
    )
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 255
    largest.write_bytes(content)
    with pytest.raises(ValueError, match=rf"damaged.*delete {checkpoint}"):
        load(NAME)


def test_without_a_network_it_is_said_what_to_do_with_a_file_fetched_by_hand(
    server: WeightServer, arrays: dict[str, np.ndarray]
) -> None:
    server.faults = ["404"]
    with pytest.raises(ValueError, match=r"tiny: http.*404") as caught:
        load(NAME)
    text = str(caught.value)
    assert f"{server.url}PointRend/tiny/model_final.pkl" in text
    assert "pointrend_jax convert --weights FILE --config tiny --output DIR" in text
    assert "$POINTREND_JAX_DETECTRON2" in text
    # The other thing that it says: a place for the file.
    place = Path(text.partition("A file that is put at ")[2].partition(" is taken")[0])
    place.write_bytes(server.content)
    _assert_arrays(published_checkpoint(NAME), arrays)
    assert server.ranges == [""]


def test_a_folder_of_that_name_is_not_the_published_model(server: WeightServer) -> None:
    Path(NAME).mkdir()
    for of in (load, model_config):
        with pytest.raises(ValueError, match="tiny has no checkpoints"):
            of(NAME)
    assert server.ranges == []


@pytest.mark.parametrize("source", ["pointrend_rcnn_r50_fpn_x3_coco", "model_final.pkl"])
def test_an_unknown_name_is_told_what_there_is(source: str) -> None:
    for of in (load, model_config):
        with pytest.raises(ValueError, match=rf"{source} is no .*{', '.join(MODELS)}") as caught:
            of(source)
        close = "Did you mean pointrend_rcnn_r50_fpn_3x_coco or " in str(caught.value)
        assert close == source.startswith("pointrend")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights=a.pkl"], r"a\.pkl is no .* no file .*--weights FILE --config"),
        (["--weights=detectron2://a.pkl"], r"a\.pkl does not say .*--weights FILE --config"),
        (["--weights=a.pkl", "--config=demo"], r"weights must be a file.*a\.pkl"),
        (["--weights=a.pkl", "--config=demmo"], "Did you mean demo"),
        (["--checkpoint=a", "--config=demo"], "--config belongs to --weights"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_that_do_not_say_which_model_are_refused(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        main(["predict", "photo.png", f"--output={tmp_path}", *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments --checkpoint --weights is required"),
        (["--checkpoint=a", "--weights=b"], "not allowed with argument --checkpoint"),
    ],
)
def test_one_model_must_be_given(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["predict", "photo.png", "--output=out", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
