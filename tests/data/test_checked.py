"""Checking the items of a set before they are written: all in order, or what is wrong with them."""

import tempfile
from pathlib import Path

import pytest

from pointrend_jax.data.checked import checked
from pointrend_jax.storage import content_key


def _square(n: int) -> int | str:
    return f"{n} is odd" if n % 2 else n * n


def test_every_item_is_checked_in_order():
    items = range(0, 400, 2)
    assert list(checked(items, _square)) == [(i, (2 * i) ** 2) for i in range(200)]


def test_all_that_is_wrong_is_listed_at_the_end():
    found = checked([0, 2, 3, 4, 5], _square)
    # Nothing is given out after the first wrong item: the set cannot be used.
    assert [next(found), next(found)] == [(0, 0), (1, 4)]
    with pytest.raises(ValueError, match=r"2 of 5 images cannot be used:\n  3 is odd\n  5 is odd$"):
        next(found)


def test_long_list_of_what_is_wrong_is_cut_and_whole_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ValueError, match=r"^150 of 150 .*(\n.*){20}\n  and 130 more; all.*\.txt$"):
        list(checked(range(1, 300, 2), _square))
    (file,) = tmp_path.glob("unusable-images-*.txt")
    assert file.read_text().splitlines() == [f"{n} is odd" for n in range(1, 300, 2)]


def test_key_depends_on_every_part():
    keys = {content_key(parts) for parts in (["a", "b"], ["a", b"c"], ["d", "b"], ["a"])}
    assert len(keys) == 4
    assert content_key(["a", "b"]) == content_key([b"a", "b"])
