"""The pictures of README and of the gallery, of models that were trained on other photos.

    make demo
    python -m benchmarks.zoom --write-label-maps data/drawn
    python train.py --data data/drawn --workdir runs/drawn --config.train.steps=400 \
        --config.train.warmup_steps=50
    make pictures        (or: python -m benchmarks.pictures --demo runs/demo --labels runs/drawn)

Scenes are drawn that no run has seen, onto the photos for evaluation. Which of them are shown is
decided by scores: the object that rendering improves most, and the scene whose objects are all
found best, some of them of one class. The pictures of pages need chromium and playwright, and the
extra `plot`.
"""

import argparse
import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

import pointrend_jax
from benchmarks.screenshots import Browser, opened_browser
from benchmarks.zoom import UNSEEN, boundary_iou, drawn_scene, iou, true_labels
from pointrend_jax.data.sources.embedded import DrawnObject
from pointrend_jax.data.sources.embedded_shapes import CATEGORIES
from pointrend_jax.explore.static import write_static
from pointrend_jax.results.instances import ExplainedInstance
from pointrend_jax.storage import write_whole
from pointrend_jax.visualize import (
    OverlayStyle,
    colorize,
    drawing,
    explain_labels_picture,
    explain_picture,
    overlay_labels,
    overlay_masks,
    palette,
)
from pointrend_jax.visualize.explain import (
    COARSE_COLOR,
    RENDERED_COLOR,
    MaskPanels,
    window_around,
)
from pointrend_jax.visualize.figure import Figure
from pointrend_jax.visualize.labels import legend

_SCENES, _SIDE = 160, 192
# Of a mask that shows what rendering can do: its IoU; the band of Boundary IoU, in pixels.
_SHARP, _BAND = 0.85, 2.0
_PANEL, _TEXT = 300, 24  # px; legible where a page shows the picture at half of its size
_MOST_BYTES = 300_000
_WIDEST = 1600  # px


class Found(NamedTuple):
    """An object that a model finds on a scene.

    Attributes:
      image: uint8 [H, W, 3], RGB. truth: bool [H, W].
      instance: the one that is found. number: its place among those of the scene.
    """

    image: np.ndarray
    truth: np.ndarray
    instance: pointrend_jax.PredictedInstances
    number: int

    def score(self) -> float:
        """IoU of the rendered mask."""
        return iou(self.truth, self.instance.masks.boolean()[0])

    def gain(self) -> float:
        """How much larger Boundary IoU of the rendered mask is than of the coarse one."""
        masks = (self.instance.masks.boolean()[0], self.instance.coarse_masks.boolean()[0])
        rendered, coarse = (boundary_iou(self.truth, mask, _BAND) for mask in masks)
        return rendered - coarse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"))
    parser.add_argument("--labels", type=Path, default=Path("runs/drawn"))
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    predictor = pointrend_jax.load(args.demo)
    labelling = pointrend_jax.load(args.labels)
    if not isinstance(predictor, pointrend_jax.Predictor):
        raise ValueError(f"--demo must be a run of the demonstration, got {args.demo}.")
    if not isinstance(labelling, pointrend_jax.SemanticPredictor):
        raise ValueError(f"--labels must be a run of label maps, got {args.labels}.")
    save(args.output / "crowded.png", crowded())
    scenes = [drawn_scene(UNSEEN, i, _SIDE) for i in range(_SCENES)]
    save_of_objects(predictor, scenes, args.demo, args.output)
    for name, picture in of_labels(labelling, scenes).items():
        save(args.output / name, picture)


def save_of_objects(
    predictor: pointrend_jax.Predictor,
    scenes: list[tuple[np.ndarray, list[DrawnObject]]],
    run: Path,
    output: Path,
) -> None:
    """Writes what is drawn of the demonstration's model, and of its pages."""
    instances = [predictor(image) for image, _ in scenes]
    sure = [some[some.scores >= 0.5] for some in instances]
    found = [found_objects(*scene, some) for scene, some in zip(scenes, sure, strict=True)]
    best = max((one for scene in found for one in scene if one.score() >= _SHARP), key=Found.gain)
    name = best.instance.class_names[0]
    print(f"rendering.png: {name}, IoU {best.score():.2f}, Boundary IoU +{best.gain():.2f}")
    (how,) = predictor.explain(best.image, best.instance.boxes, best.instance.classes)
    save(output / "rendering.png", beside_coarse(best, how))
    label = f"{name} {best.instance.scores[0]:.2f}"
    picture = explain_picture(
        best.image, best.instance.boxes[0], how.coarse_probs, how.steps, label, truth=best.truth
    )
    save(output / "explain.png", picture)

    whole = [
        i for i, (_, drawn) in enumerate(scenes)
        if len(drawn) == len(found[i]) == len(sure[i]) > len(set(sure[i].class_names))
    ]  # fmt: skip
    clear = max(whole, key=lambda i: min(one.score() for one in found[i]))
    save(output / "overlay.png", colored_by(scenes[clear][0], sure[clear]))
    with opened_browser() as browser:
        if browser is not None:
            save(output / "report.png", browser.page_part(run / "report.html", "Precision"))
            save_pages(browser, predictor, best, output)


def save_pages(
    browser: Browser, predictor: pointrend_jax.Predictor, best: Found, output: Path
) -> None:
    """The page that is zoomed into, and an enlarged overlay as pixels and as paths."""
    folder = browser.folder
    write_static(predictor, best.image, folder / "scene.html", score_threshold=0.5)
    save(output / "explore.png", browser.points(folder / "scene.html", best.number))
    save(output / "explore_slide.png", browser.slid(folder / "scene.html", best.number))
    style = OverlayStyle(boxes=False)
    for ending in ("png", "svg"):
        best.instance.save(folder / f"overlay.{ending}", best.image, style=style)
    # The right part, where its name is not.
    x0, y0, x1, y1 = (float(v) for v in best.instance.boxes[0])
    window = ((x0 + 1.2 * x1) / 2.2, y0 + 0.35 * (y1 - y0), (x1 - x0) / 2)
    pictures = [
        (browser.enlarged(folder / f"overlay.{ending}", _SIDE, window), f"{ending.upper()}, zoomed")
        for ending in ("png", "svg")
    ]
    save(output / "svg.png", drawing.framed(drawing.captioned_row(pictures, _TEXT)))


def found_objects(
    image: np.ndarray, objects: list[DrawnObject], instances: pointrend_jax.PredictedInstances
) -> list[Found]:
    """What is found of a scene with an IoU of at least 0.5, each object once."""
    masks = instances.masks.boolean()
    found = []
    for item in objects:
        ious = [iou(item.visible, mask) for mask in masks]
        if max(ious, default=0) >= 0.5:
            k = int(np.argmax(ious))
            found.append(Found(image, item.visible, instances[k : k + 1], k))
    return found


def beside_coarse(found: Found, how: ExplainedInstance) -> np.ndarray:
    """The photo, the coarse mask, the points of a step and the rendered mask of an object."""
    x0, y0, x1, y1 = (float(v) for v in found.instance.boxes[0])
    box = (x0, y0, x1, y1)
    panels = MaskPanels(Figure(found.image, box, window_around(box), _PANEL))
    step, last = how.steps[2], how.steps[-1]
    pictures = [
        (panels.figure.photo(), "photo"),
        (panels.outlined(how.coarse_probs, COARSE_COLOR, 4), "coarse mask, 7x7"),
        (panels.step(step, 2), f"{len(step.point_coords)} points, 56x56"),
        (panels.outlined(last.mask_probs, RENDERED_COLOR, 4), "rendered, 224x224"),
    ]
    return drawing.framed(drawing.captioned_row(pictures, _TEXT))


def colored_by(image: np.ndarray, instances: pointrend_jax.PredictedInstances) -> np.ndarray:
    """The overlay with a colour for each object, and with one for each class."""
    styles = [OverlayStyle(kind, scale=3) for kind in ("instance", "class")]
    pictures = [(instances.plot(image, style=s), f"--color-by {s.color_by}") for s in styles]
    return drawing.framed(drawing.captioned_row(pictures, _TEXT))


def crowded() -> np.ndarray:
    """True masks of many small scenes side by side, with their names."""
    number, side = 5, 128
    image = np.zeros((number * side, number * side, 3), np.uint8)
    masks, names = [], []
    for i in range(number**2):
        y, x = (side * (i // number), side * (i % number))
        pixels, objects = drawn_scene(UNSEEN, i, side)
        image[y : y + side, x : x + side] = pixels
        for item in objects:
            mask = np.zeros(image.shape[:2], np.bool_)
            mask[y : y + side, x : x + side] = item.visible
            masks.append(mask)
            names.append(CATEGORIES[item.category_id - 1])
    return overlay_masks(image, None, masks, names, None, style=OverlayStyle(scale=1.5))


def of_labels(
    predictor: pointrend_jax.SemanticPredictor,
    scenes: list[tuple[np.ndarray, list[DrawnObject]]],
) -> dict[str, np.ndarray]:
    """A label map beside the truth and over the photo, and how it is rendered."""

    def quality(i: int) -> float:
        truth, labels = true_labels(scenes[i][1], _SIDE), predictor(scenes[i][0]).labels
        return float(np.mean([iou(truth == k, labels == k) for k in np.unique(truth)]))

    many = [i for i, (_, objects) in enumerate(scenes) if len(objects) > 1]
    best = max(many, key=quality)
    print(f"label_map.png: scene {best}, mean IoU {quality(best):.2f}")
    image, truth = scenes[best][0], true_labels(scenes[best][1], _SIDE)
    prediction, how = predictor(image), predictor.explain(image)
    names, labels = prediction.class_names, prediction.labels
    figure = Figure(image, (0.0, 0.0, _SIDE, _SIDE), (0.0, 0.0, _SIDE, _SIDE), _PANEL)
    panels = [(figure.photo(), "photo")]
    panels += [
        (figure.spread(colorize(field, palette(names))), f"{caption}, {len(field)}x{len(field)}")
        for field, caption in ((how.coarse_labels, "coarse"), (labels, "rendered"))
    ]
    over = overlay_labels(image, labels, names, scale=_PANEL / _SIDE)
    panels.append((over[:_PANEL], "over the photo"))
    row = drawing.captioned_row(panels, _TEXT)
    names_row = legend(labels, names, row.shape[1], size=_TEXT)
    return {
        "label_map.png": drawing.framed(np.concatenate([row, names_row])),
        "explain_labels.png": explain_labels_picture(
            image, how.coarse_labels, how.steps, labels, names, truth=truth
        ),
    }


def save(path: Path, picture: np.ndarray) -> None:
    """Writes a PNG of few bytes: as it is, of 256 colours, or of these and four fifths of its size.

    Raises: ValueError if it is still too large for a page.
    """
    whole = Image.fromarray(picture)
    whole = _narrowed(whole, min(whole.width, _WIDEST))
    small = _narrowed(whole, round(0.8 * whole.width))
    content = io.BytesIO()
    for candidate in (whole, whole.quantize(256, kmeans=3), small.quantize(256, kmeans=3)):
        content = io.BytesIO()
        candidate.save(content, "PNG", optimize=True)
        if content.tell() <= _MOST_BYTES:
            write_whole(path, content.getvalue())
            print(json.dumps({"file": str(path), "size": candidate.size, "bytes": content.tell()}))
            return
    raise ValueError(f"{path} would have {content.tell()} bytes, and has at most {_MOST_BYTES}.")


def _narrowed(picture: Image.Image, width: int) -> Image.Image:
    return picture.resize((width, round(picture.height * width / picture.width)))


if __name__ == "__main__":
    main()
