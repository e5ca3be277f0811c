"""The tables of parts: what is built in stays, a user's own is added, and an error lists both."""

import pytest

from pointrend_jax.registry import Registry


def _table() -> Registry[int]:
    return Registry("config.shade", {"light": 1, "dark": 2}, besides=("none",))


def test_a_part_of_ones_own_stands_behind_those_that_are_built_in() -> None:
    table = _table()
    table.add("mine", 3)
    assert {name: table[name] for name in table} == {"light": 1, "dark": 2, "mine": 3}
    assert [table.is_own(name) for name in table] == [False, False, True]
    assert "mine" in table
    assert "none" not in table


def test_a_file_that_runs_twice_replaces_its_own_part() -> None:
    table = _table()
    table.add("mine", 3)
    table.add("mine", 4)
    assert table["mine"] == 4


def test_an_unknown_name_is_told_with_all_that_there_are_and_how_to_add_one() -> None:
    table = _table()
    table.add("mine", 3)
    with pytest.raises(
        ValueError,
        match=r"^config\.shade must be one of \['light', 'dark', 'mine', 'none'\], got 'grey'\. "
        r".*import it in the config, or give the file with --import",
    ):
        table["grey"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dark", r"^config\.shade 'dark' is built in; give yours another name"),
        ("none", r"^config\.shade 'none' is built in"),
        ("", "letters, digits and underscores, got ''"),
        ("my part", "got 'my part'"),
    ],
)
def test_a_name_that_cannot_be_given_is_refused(name: str, message: str) -> None:
    table = _table()
    with pytest.raises(ValueError, match=message):
        table.add(name, 3)
    assert list(table) == ["light", "dark"]
