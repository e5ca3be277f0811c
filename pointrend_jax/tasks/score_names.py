"""The names of the scores by which a run may choose its best checkpoint.

What an evaluation gives is known exactly when one is done; what it can give, from the configuration
alone, so that a misspelt name is found before anything is trained.
"""

from collections.abc import Collection, Iterable

from pointrend_jax.config import did_you_mean
from pointrend_jax.evaluation.coco import MAX_DETECTIONS, STAT_NAMES
from pointrend_jax.evaluation.lvis import LVIS_STAT_NAMES
from pointrend_jax.evaluation.refined import SIZES
from pointrend_jax.evaluation.results import AUGMENTED, CITYSCAPES, Results, Statistics
from pointrend_jax.structures import Config
from pointrend_jax.tasks.views import views

# The metric that decides the best checkpoint where `config.train.best_metric` is "", by task.
_BEST_METRICS = {
    "instance": "rendered/mask_ap",
    "semantic": "rendered/miou",
    "refine": "rendered/boundary_iou",
}
_SOURCES = ("rendered", "coarse")


def best_metric(config: Config) -> str:
    """The score that decides the best checkpoint.

    Raises: ValueError if no evaluation of `config` has the score of `config.train.best_metric`.
    """
    name = config.train.best_metric
    if not name:
        return _BEST_METRICS[config.task]
    known, by_class = _possible(config)
    group, _, of_class = name.partition("/")
    if name not in known and not (group in by_class and of_class):
        _refuse(name, [*known, *(f"{group}/CLASS" for group in by_class)])
    return name


def check_has_metric(config: Config, results: Results) -> None:
    """Raises ValueError if an evaluation lacks the score of `config.train.best_metric`.

    One without a value, as of objects that no image has, is there.
    """
    name, known = config.train.best_metric, named_scores(results)
    if name and known and name not in known:
        _refuse(name, known, " The run is saved up to here: the same command with another goes on.")


def named_scores(results: Results) -> Statistics:
    """`rendered/mask_ap` and so on.

    Without AP by class: thousands of curves would bury the others. It is in results.json.
    """
    return {
        f"{group}/{name}": value
        for group, values in results.items()
        if not group.endswith("_by_class")
        for name, value in values.items()
    }


def _possible(config: Config) -> tuple[list[str], list[str]]:
    """The scores of a task, and the groups of those that are named by class."""
    if config.task == "refine":
        names = ("boundary_iou", *(f"boundary_iou_{size}" for size in SIZES))
        return _of_groups(_SOURCES, names), []
    if config.task == "semantic":
        trimaps = (f"trimap_miou_{width}" for width in config.eval.trimap_widths)
        known = _of_groups(_SOURCES, ("miou", "iiou", "pixel_accuracy", "boundary_iou", *trimaps))
        by_class = [f"{s}_{name}" for s in _SOURCES for name in ("iou", "iiou", "boundary_iou")]
    else:
        # Only the annotations tell whether LVIS's rules hold.
        most = config.model.box.detections_per_image
        beyond = (f"ap_max{most}",) if most > MAX_DETECTIONS else ()
        stats = dict.fromkeys((*STAT_NAMES, *beyond, *LVIS_STAT_NAMES))
        kinds = dict.fromkeys(_SOURCES, ("mask", "boundary")) | {"box": ("box",)}
        known = [
            name
            for group, of_group in kinds.items()
            for kind in of_group
            for name in _of_groups((group,), (f"{kind}_{stat}" for stat in stats))
        ]
        groups = [f"{CITYSCAPES}{source}" for source in _SOURCES]
        known += _of_groups(groups, ("mask_ap", "mask_ap50"))
        by_class = [f"{group}_{name}" for group in groups for name in ("ap", "ap50")]
    if views(config):
        known += [f"{AUGMENTED}{name}" for name in known]
        by_class += [f"{AUGMENTED}{group}" for group in by_class]
    return known, by_class


def _of_groups(groups: Iterable[str], names: Iterable[str]) -> list[str]:
    names = [*names]
    return [f"{group}/{name}" for group in groups for name in names]


def _refuse(name: str, known: Collection[str], then: str = "") -> None:
    raise ValueError(
        f"config.train.best_metric {name!r} is no score of this run's evaluations, by which a "
        f"checkpoint could be kept as the best. {did_you_mean(name, known)}There are: "
        f"{', '.join(known)}.{then}"
    )
