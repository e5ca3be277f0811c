"""What every predictor can do beside predicting: leave itself as one file."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pointrend_jax.config import with_newer_fields
from pointrend_jax.export.artefact import ExportedModel
from pointrend_jax.export.make import ExportOptions, check_export_options, export_model
from pointrend_jax.export.program import PLATFORMS
from pointrend_jax.pixel_format import PHOTO, PixelFormat
from pointrend_jax.predict.images import ImageLike, read_images
from pointrend_jax.predict.loaded_model import LoadedModel
from pointrend_jax.storage import local_path
from pointrend_jax.tasks.predict_batches import program_bytes


class Exportable(ABC):
    """A predictor as `export` sees it."""

    _model: LoadedModel
    # What images must have.
    pixel_format: PixelFormat = PHOTO
    # Of the data set, where the model knows them.
    category_ids: tuple[int, ...] = ()

    @abstractmethod
    def predict(self, images: Any) -> Any:
        """What a user gets of images, and an export is compared with."""

    def export(
        self,
        file: Path | str,
        *,
        photos: Sequence[ImageLike] | None = None,
        num_photos: int = 8,
        largest: Sequence[tuple[int, int]] | None = None,
        canvases: Sequence[tuple[int, int]] | None = None,
        platforms: Sequence[str] = tuple(PLATFORMS),
        weights: str = "float32",
        format: str = "jax",
    ) -> dict[str, Any]:
        """Writes a file that predicts with jax and numpy alone, and compares it at once.

        docs/export.md has the reader of the file, and what is in it. A report is written beside it
        and printed. `load` takes the file too.

        Args:
          file: is called .zip (.onnx for ONNX) and not there yet.
          photos: that the export is compared on, as `predict` takes them; None for the first
            `num_photos` evaluation images of `config`.
          largest: sizes (height, width) in pixels up to which original images are taken, each by
            programs of its own; None for a square as long as the longest canvas, 1024 at least.
          canvases: (height, width) of the network's input; None for `config.data.buckets`.
          platforms: of "cpu", "cuda" and "tpu", that of this machine among them.
          weights: "float32"; or "float16" or "bfloat16" for a file of half the size, of which the
            report says what it costs, and which is kept whatever that is.
          format: "jax"; or "onnx" for a file of onnxruntime, of semantic models and one canvas.
        Returns: the report.
        Raises: ValueError for a wrong argument, or if the export does not give what `predict` does;
          then no file is left.
        """
        model = self._model
        if model.pixels != PHOTO:
            raise ValueError(
                "an export takes photos, uint8 [H, W, 3] in RGB order; this model takes a "
                f"{model.pixels} (config.data), and is predicted with by the package alone."
            )
        file, options = (
            local_path(file),
            ExportOptions(largest, canvases, platforms, weights, format),
        )
        check_export_options(file, options, model.config.task)
        images = self._held_out(num_photos) if photos is None else read_images(photos)
        return export_model(
            file,
            ExportedModel(
                model.task, model.variables, model.config, model.class_names, self.category_ids
            ),
            self.predict,
            images,
            options,
            lambda photo: program_bytes(model.task, model.variables, model.sample(photo)),
        )

    def _held_out(self, number: int) -> list[np.ndarray]:
        """The first evaluation images of the config. Raises ValueError if they cannot be had."""
        try:
            # What reads data sets is an extra.
            from pointrend_jax.tasks.scoring import build_task_eval_set

            evaluation: Any = build_task_eval_set(with_newer_fields(self._model.config.to_dict()))
            images = evaluation.eval_images()
        except (ValueError, ImportError) as error:
            raise ValueError(
                "an export is compared with predict(), but the evaluation images of the model's "
                "config cannot be had; give photos that it finds objects on: --photos FOLDER (in "
                f"Python photos=[...]). {error}"
            ) from error
        return list(islice(images, number))
