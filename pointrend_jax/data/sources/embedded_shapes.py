"""Outlines of the drawn data set: gears, leaves, stars, letters, rings and thin-limbed things.

A shape is a list of closed rings in a unit frame (y down), float64 [P, 2]: the first ring is the
outer border, the others are holes. The shapes are chosen for what coarse masks lose: teeth, tips,
notches, holes and limbs a few pixels wide. Painting them is the job of `embedded`.
"""

from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Outline = list[np.ndarray]

CATEGORIES = ("gear", "leaf", "star", "letter", "ring", "thin")

_LETTERS = "ABEFGHKMRSWXYZ"
# Strokes and glyphs are drawn on this canvas and traced: finer than any image they end up in.
_CANVAS = 1024
_SUPERSAMPLE = 4
# How much of its own size a shape may stick out of the image, at most.
_MAX_OUTSIDE = 0.15


def draw_outline(category: str, rng: np.random.Generator) -> Outline:
    """Draws a random member of one of `CATEGORIES`, randomly rotated.

    Returns: rings centred on the origin, whose longer bounding-box side is 1.
    """
    draw = {
        "gear": _gear,
        "leaf": _leaf,
        "star": _star,
        "letter": _letter,
        "ring": _ring,
        "thin": _thin,
    }[category]
    rings = draw(rng)
    # Upright letters stay readable: a W turned around is an M.
    angle = rng.uniform(-0.6, 0.6) if category == "letter" else rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    rings = [ring @ np.array([[cos, sin], [-sin, cos]]) for ring in rings]
    low, high = rings[0].min(axis=0), rings[0].max(axis=0)
    return [(ring - (low + high) / 2) / (high - low).max() for ring in rings]


def place_outline(rng: np.random.Generator, rings: Outline, image_size: int) -> Outline:
    """Moves an origin-centred outline to a random place, at most a little beyond the border."""
    half = (rings[0].max(axis=0) - rings[0].min(axis=0)) / 2
    margin = half * (1 - 2 * _MAX_OUTSIDE * rng.random())
    centre = rng.uniform(margin, image_size - margin)
    return [ring + centre for ring in rings]


def cover_pixels(rings: Outline, image_size: int) -> tuple[np.ndarray, int]:
    """Draws rings by the even-odd rule.

    Returns: the covered share of each pixel, float32 [S, S], and the area in pixels of the whole
      shape, with what lies outside of the image.
    """
    low = np.floor(rings[0].min(axis=0)).astype(int) - 1
    width, height = (np.ceil(rings[0].max(axis=0)).astype(int) + 1 - low).tolist()
    # fillPoly counts from pixel centres, in 1/256 px for shift=8; ours counts from corners.
    points = [np.round(((r - low) * _SUPERSAMPLE - 0.5) * 256).astype(np.int32) for r in rings]
    fine_hw = (height * _SUPERSAMPLE, width * _SUPERSAMPLE)
    frame = np.array([[-1, -1], [fine_hw[1], -1], fine_hw[::-1], [-1, fine_hw[0]]], np.int32) * 256
    # fillPoly fills the border pixels too, which would fatten the shape. So its complement is
    # filled as well, fattened by as much, and the two are averaged.
    shape = cv2.fillPoly(np.zeros(fine_hw, np.float32), points, 0.5, cv2.LINE_8, 8)
    complement = cv2.fillPoly(np.zeros(fine_hw, np.float32), [frame, *points], 0.5, cv2.LINE_8, 8)
    fine = 0.5 + shape - complement
    local = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    alpha = np.zeros((image_size, image_size), np.float32)
    x0, y0 = np.maximum(low, 0).tolist()
    inside = local[y0 - low[1] : image_size - low[1], x0 - low[0] : image_size - low[0]]
    alpha[y0 : y0 + inside.shape[0], x0 : x0 + inside.shape[1]] = inside
    return alpha, int((local >= 0.5).sum())


def _polar(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _circle(radius: float, num_points: int = 96) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, num_points, endpoint=False)
    return _polar(np.full(num_points, radius), angle)


def _gear(rng: np.random.Generator) -> Outline:
    """Trapezoidal teeth on a disc; two in five have a bore."""
    teeth = int(rng.integers(7, 15))
    root = rng.uniform(0.72, 0.84)
    # Where within one pitch the flank starts to rise, is up, starts to fall, is down.
    phase = np.array([0.12, 0.26, 0.58, 0.72])
    angle = 2 * np.pi * (np.arange(teeth)[:, None] + phase) / teeth
    radius = np.tile([root, 1.0, 1.0, root], teeth)
    rings = [_polar(radius, angle.ravel())]
    if rng.random() < 0.4:
        rings.append(_circle(rng.uniform(0.16, 0.3)))
    return rings


def _leaf(rng: np.random.Generator) -> Outline:
    return _lobed_leaf(rng) if rng.random() < 0.45 else _serrated_leaf(rng)


def _serrated_leaf(rng: np.random.Generator) -> Outline:
    """A pointed blade with saw-toothed, slightly bent sides and a stem."""
    teeth = int(rng.integers(6, 11))
    along = np.linspace(0, 1, 6 * teeth + 1)
    width = rng.uniform(0.34, 0.5) * np.sin(np.pi * along**0.8) ** 0.9
    # Teeth rise slowly towards the tip and fall off at once, as on a real blade.
    saw = (along * teeth) % 1.0
    width = width * (1 + 0.3 * (saw - 0.5))
    bend = rng.uniform(-0.25, 0.25) * along**2
    stem = 0.028
    right = np.stack([2 * along - 1, bend + np.maximum(width, stem * (along < 0.5))], axis=1)
    left = np.stack([2 * along - 1, bend - np.maximum(width, stem * (along < 0.5))], axis=1)
    length = rng.uniform(0.3, 0.5)
    foot = np.array([[-1 - length, -stem], [-1 - length, stem]])
    return [np.concatenate([foot, right, left[::-1][1:]])]


def _lobed_leaf(rng: np.random.Generator) -> Outline:
    """Five or seven pointed lobes with side teeth, as of a maple, and a stem."""
    lobes = int(rng.choice([5, 7]))
    spread = np.deg2rad(rng.uniform(125, 145))
    tips = np.linspace(-spread, spread, lobes)
    reach = 1.0 - 0.42 * (np.abs(tips) / spread) ** 1.6
    half = spread / (lobes - 1)
    points = []
    for i, (tip, r) in enumerate(zip(tips, reach, strict=True)):
        if i:
            points.append((0.36 + 0.06 * rng.random(), tip - half))
        points += [(0.70 * r, tip - 0.5 * half), (0.66 * r, tip - 0.3 * half)]
        points += [(r, tip), (0.66 * r, tip + 0.3 * half), (0.70 * r, tip + 0.5 * half)]
    base, stem = 0.2, 0.03
    points += [(base, np.pi - 0.18), (0.8, np.pi - stem), (0.8, np.pi + stem), (base, np.pi + 0.18)]
    radius, angle = np.array(points).T
    return [_polar(radius, angle)]


def _star(rng: np.random.Generator) -> Outline:
    tips = int(rng.integers(4, 9))
    inner = rng.uniform(0.36, 0.52)
    radius = np.tile([1.0, inner], tips)
    radius[::2] *= rng.uniform(0.85, 1.0, tips)
    return [_polar(radius, np.pi * np.arange(2 * tips) / tips)]


def _ring(rng: np.random.Generator) -> Outline:
    """An annulus that is round, wavy or a nut; the hole may sit off-centre."""
    angle = np.linspace(0, 2 * np.pi, 144, endpoint=False)
    kind = rng.integers(3)
    if kind == 0:
        outer = _polar(np.ones_like(angle), angle)
    elif kind == 1:
        outer = _polar(1 + 0.07 * np.cos(int(rng.integers(6, 11)) * angle), angle)
    else:
        outer = _circle(1.0, 6)
    hole = _circle(rng.uniform(0.45, 0.66)) + rng.uniform(-0.1, 0.1, 2)
    squash = np.array([1.0, rng.uniform(0.72, 1.0)])
    return [outer * squash, hole * squash]


def _letter(rng: np.random.Generator) -> Outline:
    return _glyph(_LETTERS[int(rng.integers(len(_LETTERS)))])


@lru_cache(maxsize=len(_LETTERS))
def _glyph(letter: str) -> Outline:
    """Traces a letter, holes included, of the font that is part of Pillow."""
    canvas = Image.new("L", (_CANVAS, _CANVAS))
    font = ImageFont.load_default(size=0.8 * _CANVAS)
    middle = (_CANVAS / 2, _CANVAS / 2)
    # The font has one light weight; the stroke brings it to about that of a poster face.
    ImageDraw.Draw(canvas).text(
        middle, letter, fill=255, font=font, anchor="mm", stroke_width=_CANVAS // 50
    )
    return _trace(np.asarray(canvas))


def _thin(rng: np.random.Generator) -> Outline:
    """Limbs about a fifteenth of the shape wide, drawn as strokes and traced."""
    draw = (_fork, _branch, _spider, _asterisk)[int(rng.integers(4))]
    canvas = np.zeros((_CANVAS, _CANVAS), np.uint8)
    for stroke, width in draw(rng):
        pixels = np.round((0.5 + 0.45 * stroke) * _CANVAS).astype(np.int32)
        cv2.polylines(canvas, [pixels], False, 255, max(1, round(0.45 * width * _CANVAS)))
    return _trace(canvas)


def _fork(rng: np.random.Generator) -> list[tuple[np.ndarray, float]]:
    """Three or four tines on a shoulder, and a handle."""
    tines = np.linspace(-0.3, 0.3, int(rng.integers(3, 5)))
    width = rng.uniform(0.11, 0.14)
    shoulder = rng.uniform(-0.3, -0.1)
    feet = shoulder + 0.25 * np.sqrt(np.maximum(1 - (tines / 0.3) ** 2, 0))
    strokes = [(np.array([[x, -1.0], [x, y]]), width) for x, y in zip(tines, feet, strict=True)]
    arc = np.linspace(0, np.pi, 16)
    bowl = np.stack([0.3 * np.cos(arc), shoulder + 0.25 * np.sin(arc)], axis=1)
    handle = np.array([[0, shoulder + 0.25], [0, 1.0]])
    return [*strokes, (bowl, width), (handle, 1.3 * width)]


def _branch(rng: np.random.Generator) -> list[tuple[np.ndarray, float]]:
    """A bent twig with alternating side twigs that fork once."""
    along = np.linspace(-1, 1, 24)
    bend = rng.uniform(-0.3, 0.3)
    strokes = [(np.stack([bend * (along**2 - 0.5), along], axis=1), 0.16)]
    for i, y in enumerate(np.linspace(0.5, -0.6, int(rng.integers(4, 7)))):
        side = -1 if i % 2 else 1
        start = np.array([bend * (y**2 - 0.5), y])
        length, rise = rng.uniform(0.5, 0.75) * (1 - 0.3 * i / 6), rng.uniform(0.45, 0.85)
        end = start + length * np.array([side * np.cos(rise), -np.sin(rise)])
        fork = start + 0.5 * (end - start)
        tip = fork + 0.45 * length * np.array([side * np.cos(rise - 0.9), -np.sin(rise - 0.9)])
        strokes += [(np.stack([start, end]), 0.12), (np.stack([fork, tip]), 0.1)]
    return strokes


def _spider(rng: np.random.Generator) -> list[tuple[np.ndarray, float]]:
    """Eight knee-bent legs on a body of two blobs."""
    body = np.array([[0.0, -0.12], [0.0, 0.2]])
    strokes = [(body[:1].repeat(2, axis=0), 0.34), (body[1:].repeat(2, axis=0), 0.52)]
    for side in (-1, 1):
        for angle in np.deg2rad([-62, -22, 20, 58]) + rng.normal(0, 0.06, 4):
            hip = np.array([0.0, 0.02 + 0.1 * np.sin(angle)])
            knee = hip + rng.uniform(0.5, 0.6) * np.array([side * np.cos(angle), np.sin(angle)])
            shin = 1.55 * angle
            foot = knee + rng.uniform(0.4, 0.5) * np.array([side * np.cos(shin), np.sin(shin)])
            strokes.append((np.stack([hip, knee, foot]), 0.11))
    return strokes


def _asterisk(rng: np.random.Generator) -> list[tuple[np.ndarray, float]]:
    """Five to seven spokes; half of them carry barbs, as a snowflake does."""
    spokes = int(rng.integers(5, 8))
    width = rng.uniform(0.12, 0.16)
    barbed = rng.random() < 0.5
    strokes = []
    for angle in 2 * np.pi * np.arange(spokes) / spokes:
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        strokes.append((np.array([[0, 0], [0.95, 0]]) @ turn, width))
        if barbed:
            barb = np.array([[0.82, 0.24], [0.58, 0], [0.82, -0.24]])
            strokes.append((barb @ turn, 0.8 * width))
    return strokes


def _trace(canvas: np.ndarray) -> Outline:
    """The largest connected piece of a drawing as rings, in the units of the canvas."""
    contours, _ = cv2.findContours(
        (canvas > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    outer = max(contours, key=cv2.contourArea)
    filled = cv2.drawContours(np.zeros_like(canvas), [outer], -1, 1, cv2.FILLED)
    inner = ((filled > 0) & (canvas <= 127)).astype(np.uint8)
    holes, _ = cv2.findContours(inner, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    # Slivers between strokes that touch are no holes that anyone could see.
    kept = [hole for hole in holes if cv2.contourArea(hole) > 3e-4 * canvas.size]
    rings = [cv2.approxPolyDP(ring, 0.8, True)[:, 0] for ring in (outer, *kept)]
    return [ring / _CANVAS for ring in rings]
