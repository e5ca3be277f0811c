"""Whether a run may go on: what differs between a checkpoint and the run that wants to resume it.

Resuming gives the same numbers bit for bit only if nothing that decides them has changed, so a
change is refused unless it is accepted by name.
"""

from collections.abc import Mapping
from typing import Any

from pointrend_jax.config_rules import groups_of_other_tasks
from pointrend_jax.configs import base
from pointrend_jax.console import tell
from pointrend_jax.training.checkpoints import CheckpointMeta
from pointrend_jax.training.trees import WrongCheckpointError

# Fields that a resumed run may have otherwise: they say how long, how often, where and how fast.
_FREE = (
    "name", "eval", "init", "data.dir", "data.class_names", "data.cache_dir", "data.num_threads",
    "data.eval_images", "data.eval_annotations", "data.eval_min_size", "data.max_broken_share",
    "train.log_every", "train.eval_every", "train.checkpoint_every",
    "train.keep_checkpoints", "train.keep_every", "train.best_metric", "train.watchdog_minutes",
    "train.strategy",
)  # fmt: skip
# Free as well unless the schedule is one that ends at the last step: there it decides every rate.
_LENGTH = ("train.steps",)
# Free as well where the checkpoint knows the set by its digest.
_WHERE = ("data.source", "data.train_images", "data.train_annotations")


def check_same_run(saved: CheckpointMeta, now: CheckpointMeta, *, accept_changes: bool) -> None:
    """Prints what differs.

    Raises: WrongCheckpointError, listing them, for changes that would make the resumed run another
      one, unless `accept_changes`.
    """
    changed = differences(saved.config, now.config)
    # Where both know the set itself, it does not matter where and in which form it lies.
    known = bool(saved.train_digest and now.train_digest)
    may_change = (
        *_FREE,
        *(_WHERE if known else ()),
        *(() if _is_poly(now) else _LENGTH),
        *groups_of_other_tasks(str(now.config.get("task", ""))),
    )
    free = [text for field, text in changed.items() if _is_one_of(field, may_change)]
    refused = [text for field, text in changed.items() if not _is_one_of(field, may_change)]
    if known and saved.train_digest != now.train_digest:
        refused.append("training images: others, or their sizes or classes have changed")
    if saved.class_names != now.class_names:
        refused.append(f"classes: {_short(saved.class_names)}, now {_short(now.class_names)}")
    if saved.num_train_images not in (0, now.num_train_images):
        refused.append(f"training images: {saved.num_train_images}, now {now.num_train_images}")
    free += [
        f"version of {name}: {version}, now {now.versions[name]}"
        for name, version in saved.versions.items()
        if now.versions.get(name, version) != version
    ]
    if refused and not accept_changes:
        raise WrongCheckpointError(
            "the run was begun with other settings, so it would not go on as it began:\n  "
            + "\n  ".join(refused)
            + "\nUse the settings of then, or another --workdir; --accept-changes goes on with "
            "those of now."
        )
    for text in [*refused, *free]:
        tell(f"changed since the checkpoint: {text}")


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """In words, by field ("train.learning_rate"), what differs between two configurations."""
    before, after = _fields(saved), _fields(now)
    # What a field that is newer than the checkpoint would have had then: base says "as before".
    newer = {
        name: one for name, one in _fields(base.get_config().to_dict()).items() if name in after
    }
    before = newer | before
    texts = {}
    for field in sorted(before.keys() | after.keys()):
        one, other = before.get(field, "not there"), after.get(field, "not there")
        if field in before and one != other:
            texts[field] = f"config.{field}: {_short(one)}, now {_short(other)}"
    return texts


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 300 else f"{text[:300]} ..."


def _is_poly(meta: CheckpointMeta) -> bool:
    return meta.config.get("train", {}).get("schedule") == "poly"


def _fields(config: Any, path: str = "") -> dict[str, Any]:
    """The leaves by dotted path; sequences as tuples, since JSON knows lists only."""
    if isinstance(config, Mapping):
        children = (_fields(v, f"{path}.{k}" if path else str(k)) for k, v in config.items())
        return {name: leaf for child in children for name, leaf in child.items()}
    return {path: _plain(config)}


def _plain(value: Any) -> Any:
    return tuple(_plain(v) for v in value) if isinstance(value, list | tuple) else value


def _is_one_of(field: str, fields: tuple[str, ...]) -> bool:
    """Whether a field is one of `fields`, or in a group of fields that is."""
    return any(field == free or field.startswith(f"{free}.") for free in fields)
