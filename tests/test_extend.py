"""Parts of a user's own: what is wrong with one is told before data is read; their weights."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax import extend
from pointrend_jax.convert import export
from pointrend_jax.data.sources.known import known_releases
from pointrend_jax.layers.conv_mask_head import ConvMaskHead
from pointrend_jax.layers.regions import MaskLogits
from pointrend_jax.layers.semantic_fpn import SemanticFPNHead
from pointrend_jax.models.own_parts import has_own_parts
from pointrend_jax.ops.losses import LossTerm, sigmoid_cross_entropy
from pointrend_jax.pointrend import choose_training_points
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.load import load
from pointrend_jax.structures import Array, Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.checkpoints import CheckpointMeta
from pointrend_jax.training.own_parts import check_own_parts
from pointrend_jax.training.saved_variables import load_variables, save_variables
from pointrend_jax.training.trees import flat
from pointrend_jax.weights import import_file, starting_variables, starting_weights
from tests.own_parts import Levels, Patches, only_built_in, spec
from tests.tiny import tiny_config, tiny_semantic_config, tiny_variables
from tests.tiny_parts import tiny_head


@pytest.fixture(autouse=True)
def _empty_tables() -> Iterator[None]:
    with only_built_in():
        yield


def _instances() -> Config:
    """A model on the smallest of backbones."""
    config = tiny_config()
    config.model.backbone, config.model.freeze_at = "mine", 0
    config.data.buckets = ((64, 64),)
    return config


def _with_backbone(module: Any) -> Config:
    extend.BACKBONES.add("mine", spec(module))
    return _instances()


def _with_head(make: Callable[[Config], Any]) -> Config:
    extend.MASK_HEADS.add("mine", make)
    config = _with_backbone(Patches())
    config.model.mask_head = "mine"
    return config


class NotHashed(Patches):
    """Has an attribute that may be a set."""

    extra: Any = None


class WithStatistics(Patches):
    """Statistics in a collection that a training does not keep."""

    @nn.compact
    def __call__(self, x: Array, padded_hw: Array) -> dict[str, Array]:
        return super().__call__(nn.BatchNorm(True, name="bn")(x), padded_hw)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda x, padded_hw: {}, "'mine' gives function, which must be .*flax.linen.Module"),
        (nn.Dense(3), "'mine' gives Dense, which must have frozen_modules, as .*extend.Backbone"),
        (NotHashed(extra={1}), "gives NotHashed, which must .*tuples instead of lists"),
        (
            Patches(names=("c2", "c3", "c4", "c5")),
            r"Patches must give a dict of \['res2', .*, got \['c2', 'c3', 'c4', 'c5'\]",
        ),
        (
            Patches(strides=(4, 2, 2, 1)),
            r"res5 as float32 .*= \[1, 2, 2, 'C'\], of stride 32, got float32 \[1, 4, 4, 8\]",
        ),
        (
            Patches(dtype=jnp.bfloat16),
            r"res2 as float32 \[B, H, W, C\] .*got bfloat16 \[1, 16, 16, 8\]",
        ),
        (WithStatistics(), "the collection batch_stats, but only 'params' and 'buffers'"),
    ],
    ids=["no module", "no frozen_modules", "no hash", "names", "strides", "type", "collection"],
)
def test_a_wrong_backbone_is_told_with_what_it_must_be(module: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_own_parts(_with_backbone(module))


class TooCoarse(nn.Module):
    """A coarse mask head that leaves out a class."""

    num_classes: int
    resolution: int = 7

    @nn.compact
    def __call__(self, p2: Array, boxes: Array, image_index: Array) -> Array:
        return jnp.zeros((boxes.shape[0], self.resolution, self.resolution, self.num_classes - 1))


class Unsummed(ConvMaskHead):
    """A mask head that gives the loss of every region."""

    def losses(self, pyramid: Any, regions: Any, batch: Any, candidates: Any) -> Any:
        return {"loss_mask": jnp.ones(regions.valid.shape)}


class Finer(ConvMaskHead):
    """A mask head whose masks have another side than it says."""

    def predict(self, pyramid: Any, encoded: Any, regions: Any, padded_hw: Any) -> MaskLogits:
        masks = super().predict(pyramid, encoded, regions, padded_hw)
        return MaskLogits(masks.rendered[:, :7], masks.coarse)


def _pointrend(config: Config) -> Any:
    return extend.MASK_HEADS["pointrend"](config)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: nn.Dense(3), "'mine' gives Dense, which must have .*losses.*extend.MaskHead"),
        (
            lambda config: _pointrend(config).clone(coarse_head=TooCoarse(3)),
            r"TooCoarse must give coarse logits .*= \[6, 7, 7, 3\] .*got float32 \[6, 7, 7, 2\]",
        ),
        (lambda _: Unsummed(3), "losses of Unsummed must be a dict .*LossTerm"),
        (lambda _: Finer(3), r"Finer must give masks .*= \[\d+, 28, 28\] .*\[\d+, 7, 28\]"),
    ],
    ids=["no head", "coarse logits", "losses", "masks"],
)
def test_a_wrong_mask_head_is_told_with_what_it_must_be(
    make: Callable[[Config], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_own_parts(_with_head(make))


def _one_point(candidates: Any, logits: Any, uncertainty_fn: Any, *, num_points: int) -> Any:
    return choose_training_points(candidates, logits, uncertainty_fn, num_points=num_points)[:, :1]


def _mean(logits: Any, labels: Any, valid: Any) -> Any:
    return jnp.mean(sigmoid_cross_entropy(logits, labels, valid))


def _term(logits: Any, labels: Any, valid: Any) -> Any:
    return LossTerm(jnp.sum(logits), jnp.sum(valid))


@pytest.mark.parametrize(
    ("field", "part", "message"),
    [
        (
            "sampler", _one_point,
            r"the sampler _one_point must give points \[N, P, 2\] = \[\d+, 49, 2\] in float32, got "
            r"float32 \[\d+, 1, 2\]",
        ),
        ("point_loss", _mean, r"_mean must give the loss of every point .*, 49\] .*float32 \[\]"),
        ("point_loss", _term, r"_term must give the loss of every point .*, 49\] .*LossTerm"),
    ],
)  # fmt: skip
def test_a_wrong_sampler_or_loss_is_told_with_what_it_must_give(
    field: str, part: Any, message: str
) -> None:
    tables: Any = {"sampler": extend.MASK_SAMPLERS, "point_loss": extend.MASK_POINT_LOSSES}
    tables[field].add("mine", part)
    config = tiny_config()
    config.model.mask[field] = "mine"
    assert has_own_parts(config)
    # What traces a whole training step traces this.
    with pytest.raises(ValueError, match=message):
        tiny_head(config)


@pytest.mark.parametrize(
    ("mask_head", "field", "message"),
    [
        ("conv", "sampler", "mask.sampler must be 'importance' for .*'conv'.*at every cell"),
        ("conv", "point_loss", "mask.point_loss must be 'cross_entropy' for .*'conv'"),
        ("implicit", "sampler", "mask.sampler must be 'importance' for .*at uniform points"),
    ],
)
def test_what_a_head_does_not_read_is_refused(mask_head: str, field: str, message: str) -> None:
    config = tiny_config(mask_head=mask_head)
    config.model.mask[field] = "mine"
    with pytest.raises(ValueError, match=message):
        build_task(config)


def test_a_sampler_is_refused_where_labelled_points_supervise() -> None:
    config = tiny_config()
    config.data.supervision = "points"
    build_task(config)
    config.model.mask.sampler = "mine"
    with pytest.raises(
        ValueError, match=r"sampler must be .* for config.data.supervision 'points'"
    ):
        build_task(config)


def _semantic(head: Any, *, reads_fpn: bool = True) -> Config:
    extend.BACKBONES.add("mine", spec(Patches()))
    extend.SEMANTIC_HEADS.add("mine", extend.SemanticHeadSpec(lambda _: head, reads_fpn))
    config = tiny_semantic_config()
    config.model.backbone, config.model.semantic.coarse_head = "mine", "mine"
    return config


def test_a_semantic_head_of_ones_own_is_rendered_from_its_stride() -> None:
    config = _semantic(Levels(3))
    config.model.semantic.subdivision_steps = 3
    check_own_parts(config)
    config.model.semantic.subdivision_steps = 4
    with pytest.raises(ValueError, match="at most 3 from coarse logits of stride 8, got 4"):
        build_task(config)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (SemanticFPNHead, "'mine' gives type, which must be an instance of a flax.linen.Module"),
        (Levels(3, stride=12), r"coarse_head must be .*stride is one of .*, not 12, got 'mine'"),
        (Levels(2), r"Levels must give logits .*= \[1, 8, 8, 3\] .*got float32 \[1, 8, 8, 2\]"),
        (Levels(3, level="p4"), r"= \[1, 8, 8, 3\] .*got float32 \[1, 4, 4, 3\]"),
    ],
    ids=["no module", "stride", "classes", "size"],
)
def test_a_wrong_semantic_head_is_told_with_what_it_must_be(head: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_own_parts(_semantic(head))


def test_built_in_parts_are_not_traced_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointrend_jax.training.own_parts.build_task", None)
    check_own_parts(tiny_config())
    check_own_parts(tiny_semantic_config())


def test_equal_parts_of_ones_own_share_a_task() -> None:
    assert build_task(_with_backbone(Patches())) is build_task(_with_backbone(Patches()))
    assert build_task(_with_backbone(Patches())) is not build_task(
        _with_backbone(Patches(frozen=("res2_conv",)))
    )


def test_frozen_modules_of_a_backbone_of_ones_own_are_not_trained() -> None:
    task = build_task(_with_backbone(Patches(frozen=("res2_conv",))))
    assert not task.is_trainable(("backbone", "res2_conv", "kernel"))
    assert task.is_trainable(("backbone", "res3_conv", "kernel"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A checkpoint of a model with a backbone of one's own, and its variables."""
    folder = tmp_path_factory.mktemp("own") / "run"
    with only_built_in():
        config = _with_backbone(Patches())
        config.data.eval_min_size = config.data.max_size = 64
        variables = tiny_variables(build_task(config))
    save_variables(folder, variables, CheckpointMeta(config.to_dict(), ("a", "b", "c")))
    return folder, flat(variables)


@pytest.fixture
def checkpoint(saved: tuple[Path, dict[str, Any]]) -> Path:
    """`saved`, whose backbone is known."""
    extend.BACKBONES.add("mine", spec(Patches()))
    return saved[0]


def test_a_run_of_the_same_backbone_gives_its_weights_to_start_from(
    checkpoint: Path, saved: tuple[Path, dict[str, Any]]
) -> None:
    config = _instances()
    config.init.weights, config.seed = str(checkpoint), 7
    started = starting_variables(config, build_task(config))[0]
    # A training state is made of both, where there are no buffers too.
    assert (started.keys(), started["buffers"]) == ({"params", "buffers"}, {})
    ours, theirs = flat(started), saved[1]
    assert ours.keys() == theirs.keys()
    for path, array in theirs.items():
        np.testing.assert_array_equal(ours[path], array, err_msg=path)


def test_a_file_of_weights_has_the_arrays_of_ones_own_part_under_their_paths(
    checkpoint: Path, tmp_path: Path
) -> None:
    file = tmp_path / "model.safetensors"
    export(checkpoint, file)
    config = _instances()
    ours = import_file(file, config, build_task(config))
    theirs = flat(load_variables(checkpoint)[0])
    assert "params/backbone/res2_conv/kernel" in ours.report.loaded
    assert "backbone.fpn_lateral2.weight" in ours.report.loaded
    assert ours.arrays.keys() == theirs.keys()
    for path, array in theirs.items():
        np.testing.assert_array_equal(ours.arrays[path], array, err_msg=path)
    assert isinstance(load(file), Predictor)


def test_a_head_of_ones_own_starts_beside_a_published_backbone() -> None:
    extend.MASK_HEADS.add("mine", _pointrend)
    config = tiny_config("efficientnet_lite0", "mine")
    config.init.weights = "efficientnet_lite0"
    weights = starting_weights(config, build_task(config))
    assert weights is not None
    assert {path.split("/")[1] for path in weights.arrays} == {"backbone"}
    assert "params/mask_head/coarse_head/fc1/kernel" in weights.report.left


def test_a_checkpoint_of_a_part_that_was_not_added_says_how_to_add_it(checkpoint: Path) -> None:
    with only_built_in(), pytest.raises(ValueError, match=r"got 'mine'\. .*--import"):
        load(checkpoint)


def test_two_data_sets_of_one_name_are_not_prepared_one_for_the_other() -> None:
    def read(place: extend.Place) -> Any:
        raise AssertionError(place)

    extend.OBJECT_SETS.add("mine", extend.Source(read, releases={"coco": extend.Release("mine")}))
    with pytest.raises(ValueError, match="two data sets are called 'coco' for prepare"):
        known_releases()
