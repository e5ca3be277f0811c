"""The files of docs/recipes.md, as they stand there: trained, scored, and used to predict."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from pointrend_jax.cli import main
from pointrend_jax.config import load_config, run_file
from pointrend_jax.data.build_objects import build_datasets
from pointrend_jax.data.sources.known import OBJECT_SETS, Place
from pointrend_jax.extend import MASK_POINT_LOSSES, MASK_SAMPLERS, SEMANTIC_POINT_LOSSES
from pointrend_jax.pointrend import binary_uncertainty, draw_candidate_points
from pointrend_jax.training.own_parts import check_own_parts
from tests.own_parts import only_built_in
from tests.shared import REPOSITORY
from tests.tiny import quick_semantic_config, save_start

_TEXT = (REPOSITORY / "docs" / "recipes.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", _TEXT, re.S))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the files, in a process that has run none of them."""
    folder = tmp_path_factory.mktemp("recipes")
    for name, source in FILES.items():
        (folder / name).write_text(source)
    with only_built_in():
        yield folder


_SQUARE = [[8, 8], [40, 8], [40, 40], [8, 40]]
_TRIANGLE = [[30, 44], [60, 44], [45, 62]]
_CORNER = [[50, 2], [62, 2], [62, 14]]


@pytest.fixture(scope="module")
def labelme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dog, and a cat in two parts, on four images to train on and two to score."""
    root, rng = tmp_path_factory.mktemp("labelme"), np.random.default_rng(0)
    shapes = [
        {"label": "dog", "shape_type": "polygon", "points": _SQUARE, "group_id": None},
        {"label": "cat", "shape_type": "polygon", "points": _TRIANGLE, "group_id": 3},
        {"label": "cat", "shape_type": "polygon", "points": _CORNER, "group_id": 3},
    ]
    for name in ("train/a", "train/b", "train/c", "train/d", "val/e", "val/f"):
        (root / name).parent.mkdir(exist_ok=True)
        pixels = rng.integers(0, 120, (64, 64, 3), np.uint8)
        pixels[8:40, 8:40] += 100
        Image.fromarray(pixels).save(root / f"{name}.png")
        content = {"imagePath": f"{name[-1]}.png", "imageHeight": 64, "imageWidth": 64}
        (root / f"{name}.json").write_text(json.dumps(content | {"shapes": shapes}))
    return root


def _imports(files: Path, *names: str) -> list[str]:
    return [flag for name in names for flag in ("--import", str(files / f"{name}.py"))]


@pytest.fixture(scope="module")
def run(files: Path, labelme: Path) -> Path:
    """One run with all of them: the backbone by the config's import, the others by --import."""
    (files / "mine.py").write_text(
        "import convnext\nfrom pointrend_jax.configs import tiny\n\n\n"
        "def get_config():\n    config = tiny.get_config()\n    config.num_classes = 2\n"
        "    config.model.backbone, config.model.freeze_at = 'convnext', 0\n    return config\n"
    )
    # Random as well, but nothing is compiled to draw them.
    run_file(files / "conv_coarse.py")
    start = load_config(files / "mine.py").unlock()
    start.init.weights, start.model.mask_head = "", "conv_coarse"
    save_start(start, files / "start")
    work = files / "work"
    main(
        [
            *("train", "--config", str(files / "mine.py"), "--workdir", str(work)),
            *_imports(files, "conv_coarse", "stratified", "focal", "labelme"),
            "--config.model.mask_head=conv_coarse",
            "--config.model.mask.sampler=stratified",
            "--config.model.mask.importance_sample_ratio=1.0",
            "--config.model.mask.point_loss=focal",
            "--config.data.source=labelme",
            f"--config.data.dir={labelme}",
            f"--config.data.cache_dir={files / 'cache'}",
            "--config.data.class_names=('cat', 'dog')",
            f"--config.init.weights={files / 'start'}",
            "--config.train.steps=2",
        ]
    )
    return work


def test_there_is_a_file_of_each_kind_and_none_is_long() -> None:
    assert list(FILES) == [
        "convnext.py",
        "conv_coarse.py",
        "stratified.py",
        "focal.py",
        "labelme.py",
    ]
    for name, source in FILES.items():
        assert source.count("\n") < 60, name
        assert max(map(len, source.splitlines())) <= 100, name


def test_a_run_of_all_of_them_trains_and_is_scored(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    assert results["step"] == 2
    assert {"mask_ap", "boundary_ap"} <= set(results["rendered"])
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line for line in lines if "loss_mask_point" in line]
    assert losses
    assert all(np.isfinite(line["loss_mask_point"]) for line in losses)


def test_a_checkpoint_needs_the_files_and_an_import_gives_them(
    run: Path, files: Path, labelme: Path, tmp_path: Path
) -> None:
    predict = [
        "predict",
        str(labelme / "val" / "e.png"),
        "--checkpoint",
        str(run),
        "--output",
        str(tmp_path / "out"),
    ]
    evaluate = ["eval", "--workdir", str(run), "--output", str(tmp_path / "scores")]
    parts = ("convnext", "conv_coarse", "stratified", "focal")
    with only_built_in():
        for command in (predict, evaluate):
            with pytest.raises(ValueError, match=r"backbone must be one of .*'convnext'.*--import"):
                main(command)
        with pytest.raises(ValueError, match=r"mask_head must be one of .*got 'conv_coarse'"):
            main([*predict, *_imports(files, "convnext")])
        main([*predict, *_imports(files, *parts), "--score-threshold", "0"])
        with pytest.raises(ValueError, match=r"data\.source, .*must be one of .*got 'labelme'"):
            main([*evaluate, *_imports(files, *parts)])
        main([*evaluate, *_imports(files, *parts, "labelme")])
    assert (tmp_path / "out" / "instances.json").is_file()
    of_training = json.loads((run / "results.json").read_text())
    assert json.loads((tmp_path / "scores" / "results.json").read_text()) == of_training


def test_a_set_of_ones_own_is_prepared_and_trains_from_its_records_alone(
    files: Path, labelme: Path, tmp_path: Path
) -> None:
    config = load_config("tiny").copy_and_resolve_references()
    config.num_classes = 2
    prepare = ["prepare", "--dataset", "labelme", "--source", str(labelme)]
    prepare += ["--data-dir", str(tmp_path / "records"), "--class-names", "cat,dog"]
    with only_built_in():
        with pytest.raises(ValueError, match=r"--dataset must be one of .*, got 'labelme'"):
            main(prepare)
        main([*prepare, *_imports(files, "labelme")])
        config.data.source, config.data.dir = "labelme", str(labelme)
        config.data.class_names, config.data.cache_dir = ("cat", "dog"), str(tmp_path / "cache")
        direct = build_datasets(config)
    config.data.source, config.data.dir = "tfds", str(tmp_path / "records" / "labelme" / "1.0.0")
    config.data.class_names = ()
    with only_built_in():
        prepared = build_datasets(config)
    assert prepared.class_names == ("cat", "dog")
    assert prepared.eval_ground_truth == direct.eval_ground_truth
    batches = (next(of.train_batches(0, 1)) for of in (prepared, direct))
    for field, again in zip(*batches, strict=True):
        np.testing.assert_array_equal(field, again)


def test_the_labelme_file_reads_polygons_and_the_parts_of_a_group(
    files: Path, labelme: Path, tmp_path: Path
) -> None:
    run_file(files / "labelme.py")
    place = Place(labelme, "train", tmp_path, class_names=("cat", "dog"))
    found = OBJECT_SETS["labelme"].read(place).dataset
    assert (found.class_names, found.skipped) == (("cat", "dog"), {})
    assert [image.file.name for image in found.images] == ["a.png", "b.png", "c.png", "d.png"]
    for image in found.images:
        dog, cat = image.objects
        assert (dog.label, dog.box, dog.area) == (1, (8, 8, 40, 40), 32 * 32)
        assert (cat.label, cat.box) == (0, (30, 2, 62, 62))
        parts = [np.ravel(part).tolist() for part in (_TRIANGLE, _CORNER)]
        assert cat.segmentation == parts


def test_a_labelme_file_of_other_labels_is_named(
    files: Path, labelme: Path, tmp_path: Path
) -> None:
    run_file(files / "labelme.py")
    place = Place(labelme, "train", tmp_path, class_names=("cat",))
    with pytest.raises(ValueError, match=r"train/a\.json is no file of LabelMe with those labels"):
        OBJECT_SETS["labelme"].read(place)


def test_stratified_points_are_the_most_uncertain_candidate_of_each_cell(files: Path) -> None:
    run_file(files / "stratified.py")
    # 2 x 3 cells, each with 4 candidates, on a mask whose logit grows from left to right.
    candidates = draw_candidate_points(
        jnp.array([0, 7], jnp.uint32), 2, num_points=6, oversample_ratio=4.0,
        importance_sample_ratio=1.0,
    )  # fmt: skip
    # So fine that the fall to 0 at the border, half a cell wide, holds no candidate.
    logits = jnp.broadcast_to(jnp.arange(1.0, 513.0).reshape(1, 1, -1, 1), (2, 512, 512, 1))
    choose = jax.jit(MASK_SAMPLERS["stratified"], static_argnums=2, static_argnames="num_points")
    points = choose(candidates, logits, binary_uncertainty, num_points=6)
    assert points.shape == (2, 6, 2)
    cells = np.floor(np.asarray(points) * [3, 2]).astype(int)
    expected = [(column, row) for row in range(2) for column in range(3)]
    assert cells.tolist() == [[list(cell) for cell in expected]] * 2
    # The logit is lowest, and so most uncertain, at the left: of each cell the leftmost candidate.
    drawn = np.asarray(candidates.oversampled).reshape(2, 4, 6, 2)
    within = np.asarray(points) * [3, 2] - cells
    np.testing.assert_allclose(within[..., 0], drawn[..., 0].min(axis=1), atol=1e-5)


def test_focal_loss_is_cross_entropy_times_the_square_of_what_is_missing(files: Path) -> None:
    run_file(files / "focal.py")
    valid = jnp.ones((1, 2), bool)
    # p = 1/2 and 1/4 of the truth: (1/2)^2 ln 2 and (3/4)^2 ln 4.
    expected = [[0.25 * np.log(2), 0.5625 * np.log(4)]]
    of_masks = MASK_POINT_LOSSES["focal"](
        jnp.array([[0.0, np.log(3.0)]]), jnp.array([[1.0, 0.0]]), valid
    )
    np.testing.assert_allclose(of_masks, expected, rtol=1e-5)
    of_label_maps = SEMANTIC_POINT_LOSSES["focal"](
        jnp.array([[[0.0, 0.0], [np.log(3.0), 0.0]]]), jnp.array([[0, 1]]), valid
    )
    np.testing.assert_allclose(of_label_maps, expected, rtol=1e-5)


def test_sampler_and_loss_serve_label_maps_too(files: Path) -> None:
    for file in (files / "stratified.py", files / "focal.py", REPOSITORY / "tests/quick_parts.py"):
        run_file(file)
    config = quick_semantic_config()
    semantic = config.model.semantic
    semantic.sampler, semantic.point_loss = "stratified", "focal"
    semantic.importance_sample_ratio = 1.0
    check_own_parts(config)
    semantic.importance_sample_ratio = 0.75
    with pytest.raises(ValueError, match="stratified needs importance_sample_ratio 1"):
        check_own_parts(config)
