"""Label maps predicted from the mean probability over scales of an image and its mirror image."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import jax
import jax.numpy as jnp

from pointrend_jax.data.splits import EvalSamples
from pointrend_jax.devices.backend import compiler_options
from pointrend_jax.devices.placement import replicated, split
from pointrend_jax.structures import Config, EvalSample, ImageBatch
from pointrend_jax.tasks.predict_batches import made_ahead, on_parts, original_sizes
from pointrend_jax.tasks.semantic import (
    PredictedLabelMaps,
    class_probabilities,
    upsampled_coarse_logits,
)
from pointrend_jax.tasks.task import Task, Variables, kept
from pointrend_jax.tasks.views import views


def augmented_label_maps(
    task: Task,
    variables: Variables,
    eval_samples: EvalSamples,
    config: Config,
    *,
    process: tuple[int, int],
) -> Iterator[tuple[EvalSample, PredictedLabelMaps]]:
    """This process's evaluation images in one of their views, with rendered and coarse labels.

    Args:
      process: its index, and how many there are.
    """
    of_views = views(config)
    variables, probabilities = replicated(variables), _probabilities_program(task)
    streams = [eval_samples(*process, scale, flip) for scale, flip in of_views]
    # Closed in any case, as in `one_ahead`.
    with closing(made_ahead(zip(*streams, strict=True))) as made:
        for samples in made:
            total: Any = None
            for sample, (_, flip) in zip(samples, of_views, strict=True):
                sizes, canvas = original_sizes(sample)
                batch, sizes = split((sample.batch, sizes))
                of_view = probabilities(variables, batch, sizes, canvas, flip)
                total = of_view if total is None else jax.tree.map(jnp.add, total, of_view)
            yield samples[0], _best(total)


@kept
def _probabilities_program(task: Task) -> Callable[..., PredictedLabelMaps]:
    def probabilities(
        variables: Variables, batch: ImageBatch, sizes: Any, canvas: tuple[int, int], flip: bool
    ) -> PredictedLabelMaps:
        def of_device(variables: Variables, batch: ImageBatch, sizes: Any) -> PredictedLabelMaps:
            predictions = task.predict(variables, batch)
            coarse = upsampled_coarse_logits(predictions, batch)
            return jax.tree.map(
                lambda x: class_probabilities(x, batch, sizes, canvas, flipped=flip),
                PredictedLabelMaps(predictions.logits, coarse),
            )

        return on_parts(of_device, num_whole=1)(variables, batch, sizes)

    return jax.jit(probabilities, static_argnums=(3, 4), compiler_options=compiler_options())


@jax.jit
def _best(probabilities: PredictedLabelMaps) -> PredictedLabelMaps:
    return jax.tree.map(lambda x: jnp.argmax(x, axis=-1).astype(jnp.uint8), probabilities)
