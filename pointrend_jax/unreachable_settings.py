"""Settings that are allowed and cannot come true together: told before a run, and no errors."""

from pointrend_jax.messages import first
from pointrend_jax.structures import Config


def unreachable_settings(config: Config) -> list[str]:
    """In words, which settings cannot come true in a run of so many steps; no errors, since a trial
    of a few steps is what many begin with."""
    train, texts = config.train, []
    steps = train.steps
    if train.warmup_steps >= steps:
        texts.append(
            f"config.train.warmup_steps {train.warmup_steps} is not over after {steps} steps: the "
            f"rate never reaches config.train.learning_rate {train.learning_rate:g}"
        )
    late = [milestone for milestone in train.milestones if milestone >= steps]
    if late and train.schedule == "multistep":
        texts.append(
            f"config.train.milestones {first([*map(str, late)])} are never reached in {steps} "
            "steps: the rate is not lowered there"
        )
    early = [milestone for milestone in train.milestones if milestone <= train.warmup_steps]
    if early and train.schedule == "multistep" and train.warmup_steps < steps:
        texts.append(
            f"config.train.milestones {first([*map(str, early)])} are not behind "
            f"config.train.warmup_steps {train.warmup_steps}: the rate never reaches "
            f"config.train.learning_rate {train.learning_rate:g}"
        )
    for name, instead in (
        ("log_every", "losses are told with checkpoints only"),
        ("eval_every", "the run is evaluated at its end only"),
        ("checkpoint_every", "a checkpoint is written at the end, and before evaluations, only"),
        ("keep_every", "no checkpoint is kept for it"),
    ):
        if train[name] > steps:
            texts.append(f"config.train.{name} {train[name]} is beyond {steps} steps: {instead}")
    every = [n for n in (train.checkpoint_every, train.eval_every) if n]
    if train.keep_every and every and all(train.keep_every % n for n in every):
        texts.append(
            f"config.train.keep_every {train.keep_every} is no multiple of checkpoint_every "
            f"{train.checkpoint_every} or eval_every {train.eval_every}: few of its checkpoints "
            "are ever written"
        )
    return [*texts, *_unreachable_sizes(config), *_unread_settings(config)]


def _unreachable_sizes(config: Config) -> list[str]:
    """Shorter edges that the limit of the longer edge never lets an image have."""
    data = config.data
    name = "train_max_size" if config.task == "semantic" else "max_size"
    return [
        f"config.data.{field} {size} is above config.data.{limit} {data[limit]}: no image gets it"
        for field, size, limit in (
            ("train_min_sizes", max(data.train_min_sizes), name),
            ("eval_min_size", data.eval_min_size, "max_size"),
        )
        if size > data[limit]
    ]


def _unread_settings(config: Config) -> list[str]:
    """What this kind of task does not read."""
    texts = []
    if config.task == "refine" and (config.eval.tta_scales or config.eval.tta_flip):
        texts.append(
            "config.eval.tta_scales and config.eval.tta_flip are not read for a refiner: it is "
            "scored on each crop as it is"
        )
    if config.task != "instance" and config.data.supervision != "masks":
        texts.append(
            f"config.data.supervision {config.data.supervision!r} is read for instances only: what "
            "is trained learns from whole masks or label maps"
        )
    if config.task != "semantic" and config.data.color_augmentation:
        texts.append(
            "config.data.color_augmentation is read for label maps only, as in Detectron2: the "
            "colours of what is trained on stay as they are"
        )
    return texts
