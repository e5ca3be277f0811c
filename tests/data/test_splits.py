"""The splits that a config names: what is read for them, and how often."""

from pathlib import Path

import pytest

from pointrend_jax.configs import base
from pointrend_jax.data.sources.folders import StoredFile
from pointrend_jax.data.sources.known import Place, Source
from pointrend_jax.data.sources.label_set import SemanticImage, SemanticSet
from pointrend_jax.data.splits import split_finder
from pointrend_jax.registry import Registry
from pointrend_jax.structures import Config


@pytest.mark.parametrize(
    ("held_out", "read", "numbers"),
    [(0.25, ["train"], (3, 1)), (0.0, ["train", "val"], (4, 4))],
    ids=["both splits of one file", "a file each"],
)
def test_a_file_is_read_once_for_both_splits(
    held_out: float, read: list[str], numbers: tuple[int, int]
) -> None:
    reads = []

    def reader(place: Place) -> SemanticSet:
        reads.append(place.split)
        file = StoredFile(Path("x"))
        images = tuple(SemanticImage(name, file, file, None, 4, 4) for name in "abcd")
        return SemanticSet(images, ("sky",), {0: 0}, ())

    config: Config = base.get_config()
    config.data.source, config.data.held_out = "own", held_out
    find = split_finder(config, Registry("config.data.source", {"own": Source(reader)}))
    train, held = find("train"), find("eval")
    assert (len(train.images), len(held.images)) == numbers
    assert find("train") == train
    assert reads == read
