"""Tiles of a TIFF file give a GeoTIFF in the same place, and polygons that are the label map."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.control
import rasterio.transform
from affine import Affine
from rasterio.features import rasterize
from rasterio.rpc import RPC
from rasterio.warp import transform_geom

from pointrend_jax.data.rasters import RasterImage
from pointrend_jax.data.tiff_tags import is_placed
from pointrend_jax.pixel_format import PHOTO, PixelFormat
from pointrend_jax.predict.inputs import NamedFile, check_files
from pointrend_jax.predict.label_files import predict_labels_in_tiles
from pointrend_jax.predict.labels import SemanticPredictor
from pointrend_jax.predict.raster_labels import RasterLabels, write_geojson
from pointrend_jax.predict.sources import ImageSource
from pointrend_jax.predict.tiles import Tiling, predict_tiles
from tests.data.image_files import PLACE, npy, png, tiff
from tests.data.label_sets import blocks
from tests.data.raster_sets import INFRARED, fields

_FIELDS = PixelFormat(4, "uint16", (0.0, 4095.0), (2, 1, 0))
_NAMES = ("soil", "crop")


class _Bright(SemanticPredictor):
    """Says that what is bright in the last channel is a crop: no model is needed."""

    def __init__(self, pixels: PixelFormat = _FIELDS) -> None:
        self.class_names, self.pixel_format = _NAMES, pixels

    def predict_tiles(self, image: Any, **options: Any) -> Any:
        def predict(batch: Any) -> np.ndarray:
            # A copy: numpy 2.0 to 2.2 read beyond the end of strided arrays that they compare.
            return (batch.images[..., -1].copy() > 2 * INFRARED).astype(np.uint8)

        tiling = Tiling.checked((options["tile"],) * 2, options["overlap"])
        out = options["out"]
        return predict_tiles(predict, image, tiling, out, pixels=self.pixel_format, progress=False)


def _check(path: Path, output: Path, formats: tuple[str, ...], **options: Any) -> list[NamedFile]:
    how = {"formats": formats, "task": "semantic", "tiled": True, "pixels": _FIELDS} | options
    return check_files([ImageSource(path)], output, **how)


def _predict(path: Path, output: Path, formats: tuple[str, ...], pixels: Any = _FIELDS) -> None:
    files = _check(path, output, formats, pixels=pixels)
    options = {"formats": formats, "tile": 64, "overlap": 32}
    predict_labels_in_tiles(_Bright(pixels), files, output, **options)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A scene of 100 x 150 pixels whose first rows are missing, and its labels."""
    folder = tmp_path_factory.mktemp("scene")
    labels = blocks((100, 150), 0, side=16)
    labels[:16, :] = 255
    image = fields(labels)
    image[labels == 255] = 0
    tiff(folder / "scene.tif", image, **PLACE, nodata=0, compress="deflate", tiled=True)
    return folder / "scene.tif", labels


def test_labels_lie_where_the_image_lies(scene: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, labels = scene
    _predict(path, tmp_path, ("overlay", "png", "pdf", "geojson"))
    with rasterio.open(tmp_path / "scene_labels.tif") as file, rasterio.open(path) as image:
        assert (file.crs, file.transform, file.nodata) == (image.crs, image.transform, 255)
        np.testing.assert_array_equal(file.read(1), labels)
    names = {"scene_labels.tif", "scene.geojson", "scene.png", "scene.pdf", "classes.json"}
    assert {found.name for found in tmp_path.iterdir()} == names


def test_polygons_are_the_label_map(scene: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, labels = scene
    _predict(path, tmp_path, ("geojson",))
    content = json.loads((tmp_path / "scene.geojson").read_text())
    assert content["type"] == "FeatureCollection"
    drawn, names, holes = [], set(), 0
    for feature in content["features"]:
        for place, ring in enumerate(feature["geometry"]["coordinates"]):
            longitude, latitude = np.asarray(ring).T
            # Zone 33 begins at 12 degrees, and its middle is 15.
            assert (np.abs(longitude - 15) < 1).all()
            assert (np.abs(latitude - 45) < 1).all()
            # From a corner of its own, as areas are small beside degrees.
            x, y = longitude - longitude[0], latitude - latitude[0]
            area = np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])
            # Outlines run against the clock, holes with it.
            assert (area < 0) == (place > 0)
            holes += place > 0
        label, name = feature["properties"]["class_id"], feature["properties"]["class_name"]
        back = transform_geom("OGC:CRS84", PLACE["crs"], feature["geometry"])
        drawn.append((back, label))
        names.add((label, name))
    assert names == {(0, "soil"), (1, "crop")}
    assert holes
    again = rasterize(drawn, labels.shape, fill=255, transform=PLACE["transform"], dtype="uint8")
    np.testing.assert_array_equal(again, labels)


@pytest.mark.parametrize("ending", [".npy", ".tif"])
def test_labels_are_not_replaced_whatever_is_asked_for(ending: str, tmp_path: Path) -> None:
    image, source = fields(blocks((64, 96), 0, side=16)), tmp_path / f"y{ending}"
    source.write_bytes(npy(image) if ending == ".npy" else tiff(source, image, **PLACE))
    out = tmp_path / "out"
    _predict(source, out, ("png",))
    labels = out / f"y_labels{ending}"
    before = labels.read_bytes()
    with pytest.raises(ValueError, match=rf"results of 1 of the 1 images .*y_labels{ending}"):
        _predict(source, out, ("overlay",))
    # An image that is called as the labels of another.
    labels.rename(tmp_path / labels.name)
    with pytest.raises(ValueError, match=rf"y_labels{ending}, .* would overwrite an image"):
        check_files(
            [ImageSource(source), ImageSource(tmp_path / labels.name)], tmp_path,
            formats=("overlay",), task="semantic", pixels=_FIELDS, tiled=True,
        )  # fmt: skip
    assert (tmp_path / labels.name).read_bytes() == before
    # All that is asked for is there: nothing is left to do.
    _predict(source, out, ("overlay",))
    assert not _check(source, out, ("overlay",), resume=True)


def test_a_photo_on_the_earth_is_predicted_in_place_and_another_as_before(tmp_path: Path) -> None:
    labels = blocks((64, 96), 0, side=16)
    photo = np.repeat((labels * 255)[..., None], 3, axis=2)
    pixels = PHOTO
    for name, options in (("placed", PLACE), ("plain", {})):
        tiff(tmp_path / f"{name}.tif", photo, photometric="RGB", **options)
        _predict(tmp_path / f"{name}.tif", tmp_path / name, ("png",), pixels)
    assert (tmp_path / "placed" / "placed_labels.tif").exists()
    assert (tmp_path / "plain" / "plain_labels.png").exists()


def test_an_interrupted_writer_leaves_what_was_there(
    scene: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "labels.tif"
    path.write_bytes(b"before")
    image = RasterImage(scene[0], _FIELDS)
    with pytest.raises(KeyError), RasterLabels(path, image):
        raise KeyError
    assert path.read_bytes() == b"before"
    assert [found.name for found in tmp_path.iterdir()] == ["labels.tif"]
    with pytest.raises(ValueError, match=r"labels\.tif cannot be written"):
        RasterLabels(tmp_path / "absent" / "labels.tif", image)


def _without_crs(path: Path) -> None:
    tiff(path, fields(blocks((64, 64), 0)), transform=PLACE["transform"])


@pytest.mark.parametrize(
    ("name", "make", "match"),
    [
        ("a.tif", _without_crs, r"a\.tif says no coordinate system \(CRS\) itself"),
        ("a.npy", lambda p: p.write_bytes(npy(fields(blocks((64, 64), 0)))), "no place on the"),
        ("a.png", lambda p: p.write_bytes(png(fields(blocks((64, 64), 0)))), "no place on the"),
        ("a.tif", lambda p: tiff(p, fields(blocks((64, 64), 0))[..., :3], **PLACE), "channels is"),
        ("a.tif", lambda p: p.write_bytes(b"II*\0"), "no TIFF file that can be read"),
    ],
    ids=["no CRS", "npy", "png", "channels", "cut"],
)
def test_what_cannot_be_placed_is_refused_before_anything_is_predicted(
    name: str, make: Any, match: str, tmp_path: Path
) -> None:
    make(tmp_path / name)
    with pytest.raises(ValueError, match=match):
        _predict(tmp_path / name, tmp_path / "out", ("geojson",))
    if name == "a.tif" and make is _without_crs:
        # The label map needs no coordinate system.
        _predict(tmp_path / name, tmp_path / "out", ("png",))
        with rasterio.open(tmp_path / "out" / "a_labels.tif") as file:
            assert (file.crs, file.transform) == (None, PLACE["transform"])


def test_geojson_is_of_tiles(scene: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="geojson is of GeoTIFF files, with --tile"):
        check_files(
            [ImageSource(scene[0])], tmp_path, formats=("geojson",), task="semantic",
            pixels=_FIELDS,
        )  # fmt: skip


def test_frames_of_videos_are_photos(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frame 0 has photos, the model takes a uint16"):
        check_files(
            [ImageSource(tmp_path / "clip.mp4", 0)], tmp_path / "out", formats=("overlay",),
            task="semantic", pixels=_FIELDS,
        )  # fmt: skip


def test_memory_is_that_of_a_tile(tmp_path: Path) -> None:
    side = 2048
    options = {"tiled": True, "compress": "deflate"}
    with rasterio.open(
        tmp_path / "large.tif", "w", driver="GTiff", height=side, width=side, count=4,
        dtype="uint16", **PLACE, **options,
    ):  # fmt: skip
        pass
    file = NamedFile("large", ImageSource(tmp_path / "large.tif"), "large.tif")
    tracemalloc.start()
    predict_labels_in_tiles(_Bright(), [file], tmp_path, formats=("geojson",), tile=256, overlap=64)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The image is 32 MiB, a tile half of one.
    assert most < 8 * 2**20
    assert write_geojson(tmp_path / "large_labels.tif", tmp_path / "again.geojson", _NAMES) == 1


class _FullDisk:
    """A file of rasterio whose last bytes are lost when it is closed, without an error."""

    def __init__(self, file: Any, path: Path, left: float) -> None:
        self._file, self._path, self._left = file, path, left

    def write(self, *args: Any, **options: Any) -> None:
        self._file.write(*args, **options)

    def close(self) -> None:
        self._file.close()
        data = self._path.read_bytes()
        self._path.write_bytes(data[: int(self._left * len(data))])


@pytest.mark.parametrize("left", [0.9, 0.0])
def test_labels_that_were_not_written_whole_are_no_labels(
    left: float, scene: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "labels.tif"
    labels = RasterLabels(path, RasterImage(scene[0], _FIELDS))
    labels._file = _FullDisk(labels._file, tmp_path / "labels.tif.unfinished", left)
    noise = np.random.default_rng(0).integers(0, 250, (100, 150), np.uint8)
    with pytest.raises(ValueError, match=r"labels\.tif could not be written whole .* free"), labels:
        labels[0:100, 0:150] = noise
    assert list(tmp_path.iterdir()) == []


_POINTS = [
    rasterio.control.GroundControlPoint(row, column, 15 + column / 1e4, 45 - row / 1e4)
    for row in (0, 64)
    for column in (0, 64)
]


def test_control_points_place_labels_and_no_polygons(tmp_path: Path) -> None:
    image = fields(blocks((64, 64), 0))
    tiff(tmp_path / "scene.tif", image, gcps=_POINTS, crs="EPSG:4326")
    _predict(tmp_path / "scene.tif", tmp_path / "out", ("png",))
    with rasterio.open(tmp_path / "out" / "scene_labels.tif") as file:
        points, crs = file.gcps
    assert [(p.row, p.col, p.x, p.y) for p in points] == [(p.row, p.col, p.x, p.y) for p in _POINTS]
    assert crs.to_epsg() == 4326
    with pytest.raises(ValueError, match=r"placed by control points.*gdalwarp"):
        _predict(tmp_path / "scene.tif", tmp_path / "polygons", ("geojson",))


# Its fields are made by attrs, which type checkers do not see in rasterio.
_MAKE_RPCS: Any = RPC
_RPCS = _MAKE_RPCS(
    height_off=100.0, height_scale=500.0, lat_off=45.0, lat_scale=0.1, long_off=15.0,
    long_scale=0.1, line_off=32.0, line_scale=32.0, samp_off=32.0, samp_scale=32.0,
    line_num_coeff=[0.0, 0.0, -1.0] + [0.0] * 17, line_den_coeff=[1.0] + [0.0] * 19,
    samp_num_coeff=[0.0, 1.0] + [0.0] * 18, samp_den_coeff=[1.0] + [0.0] * 19,
    err_bias=1.0, err_rand=0.5,
)  # fmt: skip


@pytest.mark.parametrize("place", [{}, PLACE], ids=["alone", "with a transform"])
def test_rpcs_place_labels_and_alone_no_polygons(place: dict, tmp_path: Path) -> None:
    tiff(tmp_path / "scene.tif", fields(blocks((64, 64), 0)), rpcs=_RPCS, **place)
    assert is_placed(tmp_path / "scene.tif")
    _predict(tmp_path / "scene.tif", tmp_path / "out", ("png",))
    with rasterio.open(tmp_path / "out" / "scene_labels.tif") as file:
        assert file.rpcs == _RPCS
        assert (file.crs, file.transform) == (
            place.get("crs"),
            place.get("transform", Affine.identity()),
        )
    assert {f.name for f in (tmp_path / "out").iterdir()} == {"scene_labels.tif", "classes.json"}
    if place:
        _predict(tmp_path / "scene.tif", tmp_path / "polygons", ("geojson",))
        assert (tmp_path / "polygons" / "scene.geojson").exists()
        return
    with pytest.raises(ValueError, match=r"placed by RPCs .* alone.*gdalwarp -rpc"):
        _predict(tmp_path / "scene.tif", tmp_path / "polygons", ("geojson",))


@pytest.mark.parametrize(
    ("place", "kept"),
    [(PLACE, "Point"), ({"gcps": _POINTS, "crs": "EPSG:4326"}, "Area"), ({"rpcs": _RPCS}, "Point")],
    ids=["transform", "control points", "RPCs"],
)
def test_labels_of_values_at_points_lie_where_these_lie(
    place: dict, kept: str, tmp_path: Path
) -> None:
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=64, width=64, count=4, dtype="uint16", **place
    ) as file:
        file.update_tags(AREA_OR_POINT="Point")
        file.write(np.moveaxis(fields(blocks((64, 64), 0)), 2, 0))
    _predict(path, tmp_path / "out", ("png",))
    with rasterio.open(path) as image, rasterio.open(tmp_path / "out/scene_labels.tif") as labels:
        assert image.tags()["AREA_OR_POINT"] == "Point"
        assert labels.tags()["AREA_OR_POINT"] == kept
        assert (labels.transform, labels.rpcs) == (image.transform, image.rpcs)
        places = [[(p.row, p.col, p.x, p.y) for p in file.gcps[0]] for file in (image, labels)]
    assert places[0] == places[1]


def test_a_system_without_a_place_in_it_is_refused_for_polygons(tmp_path: Path) -> None:
    tiff(tmp_path / "scene.tif", fields(blocks((64, 64), 0)), crs=PLACE["crs"])
    with pytest.raises(ValueError, match=r"does not say where it lies itself .*gdal_translate"):
        _predict(tmp_path / "scene.tif", tmp_path / "out", ("geojson",))


def test_a_system_without_longitudes_is_refused_before_the_prediction(tmp_path: Path) -> None:
    image = fields(blocks((64, 64), 0))
    local = 'LOCAL_CS["building",UNIT["metre",1]]'
    tiff(tmp_path / "scene.tif", image, crs=local, transform=PLACE["transform"])
    with pytest.raises(ValueError, match=r"building.* no longitude and latitude"):
        _predict(tmp_path / "scene.tif", tmp_path / "out", ("geojson",))
    assert not (tmp_path / "out" / "scene_labels.tif").exists()


def test_polygons_beyond_the_earth_are_refused_and_leave_no_file(tmp_path: Path) -> None:
    # A picture of the earth from afar, of which only a corner is beyond it.
    globe = "+proj=ortho +lat_0=0 +lon_0=0"
    transform = rasterio.transform.from_origin(0, 6_000_000, 1e5, 1e5)
    tiff(tmp_path / "scene.tif", fields(blocks((64, 64), 0)), crs=globe, transform=transform)
    with pytest.raises(ValueError, match=r"no longitude and latitude at a place"):
        _predict(tmp_path / "scene.tif", tmp_path / "out", ("geojson",))
    assert {found.name for found in (tmp_path / "out").iterdir()} == {
        "scene_labels.tif", "classes.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("channels", "dtype", "photometric"),
    [(4, "uint8", "RGB"), (1, "uint8", "MINISBLACK"), (1, "uint16", "MINISBLACK")],
    ids=["rgba", "grey", "16 bits"],
)
def test_photos_on_the_earth_that_are_not_stored_as_rgb_are_decoded_as_others(
    channels: int, dtype: str, photometric: str, tmp_path: Path
) -> None:
    photo = np.full((64, 64, channels), 255 if dtype == "uint8" else 65535).astype(dtype)
    tiff(tmp_path / "photo.tif", photo, photometric=photometric, **PLACE)
    _predict(tmp_path / "photo.tif", tmp_path / "out", ("png",), PHOTO)
    assert (tmp_path / "out" / "photo_labels.png").exists()
    with pytest.raises(ValueError, match="photos among them must have three channels"):
        _predict(tmp_path / "photo.tif", tmp_path / "polygons", ("geojson",), PHOTO)


@pytest.mark.parametrize(
    "ending", [".tfw", ".TFW", ".wld", ".tif.aux.xml", ".rpb", ".RPB", "_RPC.TXT", "_rpc.txt"]
)
def test_a_place_that_another_file_says_is_told_of(
    ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = fields(blocks((64, 64), 0))
    # A coordinate system alone is no place yet.
    for name, options in (("nowhere", {}), ("system", {"crs": PLACE["crs"]}), ("placed", PLACE)):
        tiff(tmp_path / f"{name}.tif", image, **options)
        (tmp_path / f"{name}{ending}").write_text("10\n0\n0\n-10\n500005\n4999995\n")
        _check(tmp_path / f"{name}.tif", tmp_path / "out", ("png",))
    told = capsys.readouterr()
    text = told.out + told.err
    assert f"nowhere{ending} beside it is not read" in text
    assert f"system{ending} beside it is not read" in text
    assert f"placed{ending}" not in text


def test_a_photo_whose_place_another_file_says_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiff(tmp_path / "photo.tif", np.zeros((64, 64, 3), np.uint8), photometric="RGB")
    (tmp_path / "photo.tfw").write_text("10\n0\n0\n-10\n500005\n4999995\n")
    _check(tmp_path / "photo.tif", tmp_path / "out", ("png",), pixels=PHOTO)
    told = capsys.readouterr()
    assert "photo.tfw beside it is not read" in told.out + told.err
