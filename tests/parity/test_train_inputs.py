"""The numbers that a kit was made with decide what our training chooses."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from parity import recipe
from parity.kit import KitModel
from parity.train_inputs import PinnedCalls, pinned_noise
from pointrend_jax.models.build import build_model
from pointrend_jax.tasks.instance import instance_task
from tests.tiny import object_batch, on_device, tiny_config, tiny_variables


def test_samples_and_points_are_ranked_and_drawn_by_the_numbers_of_the_kit() -> None:
    config = tiny_config()
    model = build_model(config)
    task = instance_task(model)
    kit = KitModel("tiny", Path(), "tiny", config, model, task, tiny_variables(task))
    # Two images: permutations of positive and negative anchors, then of boxes; then points.
    calls = PinnedCalls("tiny", [("randperm", 0)] * 8 + [("rand", (2, 5, 2)), ("rand", (2, 3, 2))])
    noise, samples = pinned_noise(kit, on_device(object_batch()), calls)
    chosen = (
        (noise.anchor_priority, samples.anchor_labels),
        (noise.roi_priority, samples.roi_labels),
    )
    number = 0
    for priorities, labels in chosen:
        for priority, label in zip(np.asarray(priorities), np.asarray(labels), strict=True):
            for kind in (1, 0):
                ranked = np.argsort(priority[label == kind])
                expected = recipe.permutation("tiny/train", f"randperm{number}", len(ranked))
                np.testing.assert_array_equal(ranked, expected)
                number += 1
    first = np.flatnonzero(samples.regions.valid)[:2]
    for i, (points, shape) in enumerate(zip(noise.candidates, ((2, 5, 2), (2, 3, 2)), strict=True)):
        expected = recipe.uniform("tiny/train", f"rand{i}", shape)
        np.testing.assert_array_equal(jnp.asarray(points)[first], expected[: len(first)])
