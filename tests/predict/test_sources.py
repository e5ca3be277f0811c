"""What a user names to predict: folders, patterns, videos, addresses; each mistake in words."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pointrend_jax.predict.formats import chosen_formats
from pointrend_jax.predict.images import read_one
from pointrend_jax.predict.inputs import check_files, read_inputs
from pointrend_jax.predict.sources import ImageSource, download, find_images
from tests.importers.weight_server import WeightServer, weight_server


@pytest.fixture
def server() -> Iterator[WeightServer]:
    with weight_server() as state:
        yield state


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two photos, a text, a video, a hidden file, and a folder with a photo."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("b.JPG", "a.png", "more/c.png"):
        Image.new("RGB", (8, 6)).save(folder / name)
    for name in ("notes.txt", "clip.mp4", ".hidden.png"):
        (folder / name).touch()
    return folder


def _video(path: Path, number: int = 5) -> Path:
    """Frames of a colour each, whose red value is 40 times the frame's number."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (32, 16))
    for i in range(number):
        writer.write(np.full((16, 32, 3), (0, 90, 40 * i), np.uint8))
    writer.release()
    return path


def _names(*named: Path | str, output: Path = Path("unused"), every: int = 1) -> list[str]:
    return [s.path.name for s in find_images([str(n) for n in named], output, every=every)]


def test_a_folder_gives_its_own_images_by_name_and_says_what_it_leaves(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _names(photos) == ["a.png", "b.JPG"]
    assert "left out 1 .mp4, 1 .txt; name them to predict them" in capsys.readouterr().out


def test_a_pattern_gives_what_it_fits_by_name(photos: Path) -> None:
    assert _names(f"{photos}/**/*.png") == ["a.png", "c.png"]
    assert _names(f"{photos}/[ab].*", photos / "more") == ["a.png", "b.JPG", "c.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "a[1].png")
    assert _names(tmp_path / "a[1].png") == ["a[1].png"]


def test_a_file_is_taken_whatever_it_is_called(photos: Path) -> None:
    assert _names(photos / "notes.txt", photos / "missing") == ["notes.txt", "missing"]


def test_a_folder_without_images_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.txt").touch()
    with pytest.raises(ValueError, match=r"holds no image \(1 \.txt\); .*'FOLDER/\*\*/\*\.jpg'"):
        _names(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("*.gif", "no file is called '.*gif'"), ("*.txt", r"holds no image \(1 \.txt\)")],
)
def test_a_pattern_without_an_image_is_told(pattern: str, message: str, photos: Path) -> None:
    with pytest.raises(ValueError, match=message):
        _names(f"{photos}/{pattern}")


def test_a_video_gives_its_frames_named_by_their_numbers(tmp_path: Path) -> None:
    path = _video(tmp_path / "clip.mp4")
    sources = find_images([str(path)], tmp_path, every=2)
    assert sources == [ImageSource(path, 0), ImageSource(path, 2), ImageSource(path, 4)]
    assert [source.stem for source in sources] == ["clip_000000", "clip_000002", "clip_000004"]
    assert str(sources[1]) == f"{path}, frame 2"


def test_frames_are_those_of_their_numbers_in_rgb_with_photos_in_between(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6), (1, 2, 3)).save(tmp_path / "photo.png")
    clip = _video(tmp_path / "clip.mp4")
    named = [str(clip), str(tmp_path / "photo.png"), str(_video(tmp_path / "other.mp4", 1))]
    formats = chosen_formats((), "instance")
    sources = find_images(named, tmp_path / "out", every=3)
    files = check_files(sources, tmp_path / "out", formats=formats, task="instance")
    assert [file.name for file in files] == ["clip_000000", "clip_000003", "photo", "other_000000"]
    assert [file.file_name for file in files][1:3] == ["clip_000003", "photo.png"]
    images = list(read_inputs(files))
    assert [image.shape for image in images] == [(16, 32, 3)] * 2 + [(6, 8, 3), (16, 32, 3)]
    # MPEG-4 keeps flat colours within a few values.
    for image, red in zip(images[:2], (0, 120), strict=True):
        np.testing.assert_allclose(image.mean((0, 1)), [red, 90, 0], atol=4)


def test_frames_of_two_videos_of_one_stem_have_names_of_their_own(tmp_path: Path) -> None:
    named = [str(_video(tmp_path / name, 1)) for name in ("clip.mp4", "clip.avi")]
    files = check_files(
        find_images(named, tmp_path / "out"), tmp_path / "out",
        formats=chosen_formats((), "instance"), task="instance",
    )  # fmt: skip
    names = ["clip.mp4_000000", "clip.avi_000000"]
    assert [(file.name, file.file_name) for file in files] == [(name, name) for name in names]


def test_a_video_that_cannot_be_read_is_told(photos: Path) -> None:
    with pytest.raises(ValueError, match=r"clip\.mp4 cannot be opened"):
        _names(photos / "clip.mp4")


def test_a_video_that_was_cut_short_gives_what_is_there_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64))
    for i in range(20):
        writer.write(np.random.default_rng(i).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    writer.release()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    number = len(_names(path))
    assert 0 < number < 20
    assert f"{number} frames can be decoded, of 20 that it announces" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("every", "message"), [(0, "at least 1, got 0"), (2, "none is named; leave it out")]
)
def test_every_is_of_videos(every: int, message: str, photos: Path) -> None:
    with pytest.raises(ValueError, match=message):
        _names(photos / "a.png", every=every)


def test_an_address_comes_once_and_stays_with_the_results(
    server: WeightServer, photos: Path, tmp_path: Path
) -> None:
    server.content = (photos / "a.png").read_bytes()
    url = f"{server.url}x/photo%201.png?size=2"
    (source,) = find_images([url], tmp_path / "out")
    assert source.path.name == "photo 1.png"
    assert source.path.parent.parent == tmp_path / "out" / "downloads"
    assert source.path.read_bytes() == server.content
    find_images([url], tmp_path / "out")
    assert len(server.ranges) == 1
    assert {path.name for path in source.path.parent.iterdir()} == {
        "photo 1.png", ".photo 1.png.lock"
    }  # fmt: skip


def test_a_program_may_name_an_address_too(server: WeightServer, photos: Path) -> None:
    server.content = (photos / "a.png").read_bytes()
    assert read_one(f"{server.url}a.png", "the image").shape == (6, 8, 3)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://photos.invalid/a.png", "over https"),
        ("https://photos.invalid/", "must end in the name of a file"),
        ("https://photos.invalid/..%2Fa.png", "must end in the name of a file"),
    ],
)
def test_an_address_that_is_not_taken_is_told(address: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        find_images([address], tmp_path)


def test_an_address_of_a_web_page_or_of_too_much_is_told(
    server: WeightServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.faults = ["html"]
    with pytest.raises(ValueError, match="it is a web page"):
        download(f"{server.url}a.png", tmp_path)
    monkeypatch.setattr("pointrend_jax.predict.sources._MAX_DOWNLOAD_BYTES", 100)
    with pytest.raises(ValueError, match="10240 bytes, and at most 100 are taken"):
        download(f"{server.url}a.png", tmp_path)
