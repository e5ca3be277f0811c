"""Points in [0, 1]^2 of their region: reading maps at them and writing maps at them.

Everything in `pointrend.py` that touches a pixel goes through here. `point_coords` are (x, y); the
centre of pixel (row i, column j) of an H x W map is ((j + 0.5) / W, (i + 0.5) / H), as in
torch's `grid_sample(align_corners=False)`. Outside the map there is 0.
"""

from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, UInt8

from pointrend_jax.devices.backend import forms
from pointrend_jax.ops.scatter import add_rows

# Indices are int32, as everywhere in jax without 64 bits.
MAX_INDEXABLE = 2**31 - 1


def regular_grid(height: int, width: int | None = None) -> Float[Array, "P 2"]:
    """Centres of the height x width cells of the unit square, row by row.

    Args: width, None for a square grid.
    """
    sides = height, height if width is None else width
    y, x = ((jnp.arange(side, dtype=jnp.float32) + 0.5) / side for side in sides)
    y, x = jnp.meshgrid(y, x, indexing="ij")
    return jnp.stack([x.ravel(), y.ravel()], axis=-1)


def point_sample(
    features: Float[Array, "N H W C"], point_coords: Float[Array, "N P 2"]
) -> Float[Array, "N P C"]:
    """Bilinear values of each map at its points, blended with 0 in the outer half cell.

    Source: Detectron2 projects/PointRend, point_features.point_sample.
    """
    num_maps, height, width, channels = features.shape
    scale = jnp.array([width, height], point_coords.dtype).reshape(1, 1, 2)
    first_row = (jnp.arange(num_maps) * (height * width))[:, None]
    return sample_rows(
        features.reshape(-1, channels), first_row, (height, width), point_coords * scale
    )


def cell_sampler(
    map_hw: tuple[int, int], point_coords: Float[Array, "N P 2"]
) -> Callable[[Float[Array, "N HW C"]], Float[Array, "N P C"]]:
    """`point_sample` of several small maps [N, H * W, C] at the same points.

    On a CPU by reading four cells, which its caches hold; elsewhere by a product with
    `sampling_matrix`.
    """
    if not forms().samples_by_rows:
        matrix = sampling_matrix(map_hw, point_coords)
        # The weights are coordinates: in eight or ten bits a point would lie elsewhere.
        return partial(jnp.matmul, matrix, precision=jax.lax.Precision.HIGHEST)
    num_maps, (height, width) = point_coords.shape[0], map_hw
    first_row = (jnp.arange(num_maps) * (height * width))[:, None]
    scale = jnp.array([width, height], point_coords.dtype).reshape(1, 1, 2)
    places = _places(first_row, map_hw, point_coords * scale)
    return lambda cells: _weighted_rows(cells.reshape(-1, cells.shape[-1]), *places)


def sampling_matrix(
    map_hw: tuple[int, int], point_coords: Float[Array, "N P 2"]
) -> Float[Array, "N P HW"]:
    """`point_sample` as a matrix: its product with the map's [H * W, C] pixels are the samples.

    For small maps, where a product is cheaper than reading four neighbours.
    """
    height, width = map_hw

    def axis_weights(place: Float[Array, "N P 1"], size: int) -> Float[Array, "N P _"]:
        cells = jnp.arange(size, dtype=place.dtype).reshape(1, 1, size)
        return jnp.maximum(1.0 - jnp.abs(place * size - 0.5 - cells), 0.0)

    rows = axis_weights(point_coords[..., 1:], height)
    columns = axis_weights(point_coords[..., :1], width)
    weights = rows[..., :, None] * columns[..., None, :]
    return weights.reshape(*weights.shape[:2], height * width)


def sample_rows(
    rows: Float[Array, "T C"],
    first_row: Int[Array, "N 1"],
    map_hw: tuple[int, int],
    xy: Float[Array, "N P 2"],
) -> Float[Array, "N P C"]:
    """`point_sample` on maps that lie flattened, one after another, in `rows`.

    Args:
      rows: pixels of all maps; a map's pixel (i, j) is `rows[first_row + i * width + j]`.
      first_row: where the map of each region begins; regions may share one.
      xy: in pixels of the map, continuous (the centre of pixel 0 is 0.5). The result has its type,
        whatever that of the maps. Differentiable in `rows` and in `xy`, in reverse mode.
    """
    check_indexable("the pixels of all maps of a device", rows.shape[0])
    return _weighted_rows(rows, *_places(first_row, map_hw, xy))


def _places(
    first_row: Int[Array, "N 1"], map_hw: tuple[int, int], xy: Float[Array, "N P 2"]
) -> tuple[Int[Array, "4 N P"], Float[Array, "4 N P"]]:
    """The rows that a point reads, and their weights: 0 outside the map."""
    places, weights = [], []
    for y, x, inside, weight in _four_pixels(map_hw, xy):
        places.append(first_row + jnp.where(inside, y * map_hw[1] + x, 0))
        weights.append(jnp.where(inside, weight, 0.0))
    return jnp.stack(places), jnp.stack(weights)


@jax.custom_vjp
def _weighted_rows(
    rows: Float[Array, "T C"], places: Int[Array, "4 N P"], weights: Float[Array, "4 N P"]
) -> Float[Array, "N P C"]:
    """Sum of four rows at each point. Its own derivative, in reverse mode: the one that jax derives
    holds all gradients of all points at once, and takes several times as long on CPU."""
    return _sum_of_rows(rows, places, weights)


def _sum_of_rows(
    rows: Float[Array, "T C"], places: Int[Array, "4 ..."], weights: Float[Array, "4 ..."]
) -> Float[Array, "... C"]:
    total = jnp.zeros((), weights.dtype)
    for place, weight in zip(places, weights, strict=True):
        row = rows.at[place].get(mode="promise_in_bounds").astype(weights.dtype)
        total = total + row * weight[..., None]
    return total


def _weighted_rows_forward(rows: Array, places: Array, weights: Array) -> tuple[Array, tuple]:
    if forms().samples_by_rows:
        # In a loop, which keeps the sum as one array: XLA would read the four rows anew in every
        # layer and gradient that uses it, in an order that is not theirs.
        by_region = jnp.swapaxes(places, 0, 1), jnp.swapaxes(weights, 0, 1)
        sampled = jax.lax.map(lambda taps: _sum_of_rows(rows, *taps), by_region)
    elif forms().adds_in_order:
        # The sum is finished in the shape that rows are read in; otherwise the rows of each of the
        # four are laid out as what follows wants the sum.
        flat = _sum_of_rows(rows, places.reshape(4, -1), weights.reshape(4, -1))
        sampled = jax.lax.optimization_barrier(flat).reshape(*places.shape[1:], -1)
    else:
        sampled = _sum_of_rows(rows, places, weights)
    return sampled, (rows, places, weights)


def _weighted_rows_backward(residuals: tuple, cotangent: Array) -> tuple[Array, None, Array]:
    rows, places, weights = residuals
    # Added up in float32, whatever the type of the maps.
    total = jnp.zeros(rows.shape, weights.dtype)

    def add(total: Array, points: tuple[Array, Array, Array]) -> tuple[Array, None]:
        places, weights, cotangent = points
        for place, weight in zip(places, weights, strict=True):
            total = add_rows(total, place, cotangent * weight[..., None], exact=False)
        return total, None

    exact = forms().adds_exactly
    if forms().samples_by_rows and not exact:
        # Region by region, so that what is added is in the cache.
        by_region = jnp.swapaxes(places, 0, 1), jnp.swapaxes(weights, 0, 1), cotangent
        total, _ = jax.lax.scan(add, total, by_region)
    elif forms().adds_in_order and not exact:
        total = _add_in_order(total, places, weights, cotangent)
    else:
        total = add_rows(total, places, weights[..., None] * cotangent[None], exact=exact)
    of_weights = [
        jnp.sum(rows.at[place].get(mode="promise_in_bounds").astype(weights.dtype) * cotangent, -1)
        for place in places
    ]
    return total.astype(rows.dtype), None, jnp.stack(of_weights)


_weighted_rows.defvjp(_weighted_rows_forward, _weighted_rows_backward)


def _add_in_order(
    total: Float[Array, "T C"],
    places: Int[Array, "4 N P"],
    weights: Float[Array, "4 N P"],
    cotangent: Float[Array, "N P C"],
) -> Float[Array, "T C"]:
    """`total` with the gradient of every point added to its four rows, in the order of the rows.

    A TPU's program sorts what it adds by row in any case. Sorted here, a point's gradient is read
    where it is added, and its four products with the weights are stored nowhere.
    """
    of_points = cotangent.reshape(-1, cotangent.shape[-1])
    point = jnp.tile(jnp.arange(of_points.shape[0], dtype=places.dtype), 4)
    place, point, weight = jax.lax.sort(
        (places.reshape(-1), point, weights.reshape(-1)), num_keys=1, is_stable=False
    )
    updates = of_points.at[point].get(mode="promise_in_bounds") * weight[:, None]
    return total.at[place].add(updates, mode="promise_in_bounds", indices_are_sorted=True)


def _four_pixels(
    map_hw: tuple[int, int], xy: Float[Array, "N P 2"]
) -> Iterator[tuple[Array, Array, Array, Array]]:
    """Row, column, whether it lies in the map, and weight of each of `xy`'s four neighbours."""
    height, width = map_hw
    x, y = xy[..., 0] - 0.5, xy[..., 1] - 0.5
    x_floor, y_floor = jnp.floor(x), jnp.floor(y)
    for dy in (0, 1):
        for dx in (0, 1):
            # Compared as floats: a far-away point must not wrap around as an integer.
            xi, yi = x_floor + dx, y_floor + dy
            inside = (xi >= 0) & (xi < width) & (yi >= 0) & (yi < height)
            weight = jnp.abs(x_floor + (1 - dx) - x) * jnp.abs(y_floor + (1 - dy) - y)
            row = jnp.clip(yi, 0, height - 1).astype(jnp.int32)
            yield row, jnp.clip(xi, 0, width - 1).astype(jnp.int32), inside, weight


def point_sample_nearest(
    labels: Num[Array, "N H W"], point_coords: Float[Array, "N P 2"]
) -> Num[Array, "N P"]:
    """The label of the nearest pixel, ties to the even index, 0 outside.

    Round-half-to-even makes x = 1.0 fall outside for an even width and hit the last column for an
    odd one. Source: torch `grid_sample(mode="nearest")`, as Detectron2 reads semantic labels.
    """
    num_maps, height, width = labels.shape
    # The reference goes through [-1, 1]; at exact cell borders its rounding there decides.
    grid = 2.0 * point_coords - 1.0
    x = jnp.round(((grid[..., 0] + 1.0) * width - 1.0) / 2.0)
    y = jnp.round(((grid[..., 1] + 1.0) * height - 1.0) / 2.0)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    row = jnp.clip(y, 0, height - 1).astype(jnp.int32)
    column = jnp.clip(x, 0, width - 1).astype(jnp.int32)
    image = jnp.arange(num_maps)[:, None]
    return jnp.where(inside, labels[image, row, column], 0)


def point_sample_bits(
    mask_bits: UInt8[Array, "M H Wb"],
    mask_index: Int[Array, " N"],
    xy: Float[Array, "N P 2"],
) -> Float[Array, "N P"]:
    """Bilinear values in [0, 1] of bit-packed masks at points, 0 outside.

    Args:
      mask_bits: uint8, eight pixels a byte along x, little-endian (`ObjectBatch.mask_bits`).
      mask_index: the mask that each region reads.
      xy: in pixels of the mask, continuous.
    """
    _, height, width_bytes = mask_bits.shape
    # An index an axis: the masks of a device may be more bytes than an int32 can count.
    mask = mask_index[:, None]
    total = jnp.zeros((), xy.dtype)
    for y, x, inside, weight in _four_pixels((height, width_bytes * 8), xy):
        byte = mask_bits.at[mask, y, x // 8].get(mode="promise_in_bounds")
        bit = (byte >> (x % 8).astype(jnp.uint8)) & 1
        total = total + jnp.where(inside, bit, 0).astype(xy.dtype) * weight
    return total


def point_scatter(
    canvas: Float[Array, "N H W C"],
    point_indices: Int[Array, "N P"],
    values: Float[Array, "N P C"],
) -> Float[Array, "N H W C"]:
    """`canvas` with `values` written at the flat pixel indices y * W + x; the rest is unchanged."""
    num_maps, height, width, channels = canvas.shape
    flat = canvas.reshape(num_maps, height * width, channels)
    region = jnp.arange(num_maps)[:, None]
    return flat.at[region, point_indices].set(values).reshape(canvas.shape)


def points_in_image(
    regions: Float[Array, "N 4"], point_coords: Float[Array, "N P 2"]
) -> Float[Array, "N P 2"]:
    """From [0, 1] of each xyxy region to pixels of the image."""
    origin, side = regions[:, None, :2], regions[:, None, 2:] - regions[:, None, :2]
    return point_coords * side + origin


def check_indexable(what: str, number: int) -> None:
    """Raises ValueError if `number` elements are more than an int32 index can tell apart.

    Shapes are known when a program is traced, so this costs nothing when it runs.
    """
    if number > MAX_INDEXABLE:
        raise ValueError(
            f"{what} must be at most {MAX_INDEXABLE} (2**31 - 1, the largest int32 index), got "
            f"{number}; use smaller images or tiles, or fewer images for each device."
        )
