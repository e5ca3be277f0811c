"""What a message quotes can be read: nothing hidden, nothing endless."""

import pytest

from pointrend_jax.messages import first, first_lines, shown, without_middle


def test_long_list_is_cut():
    assert first(["a", "b"]) == "a, b"
    assert first(list("abcde")) == "a, b, c, d, e"
    assert first(list("abcdefg")) == "a, b, c, d, e and 2 more"
    assert first(list("abc"), 1) == "a and 2 more"


def test_many_lines_end_in_how_many_there_are():
    assert first_lines(["a", "b"], 2) == ["a", "b"]
    assert first_lines(["a", "b", "c", "d"], 2) == ["a", "b", "and 2 more"]


@pytest.mark.parametrize("name", ["\ufeffa.png", "a\u200b.png", "caf\udce9.png", " a", "a\nb"])
def test_what_the_eye_would_miss_is_quoted(name: str):
    assert shown(name) == ascii(name)
    assert first(["a b", name]) == f"a b, {name!a}"


def test_long_text_loses_its_middle():
    assert without_middle("abcdef", 6) == "abcdef"
    assert without_middle("abcdefg", 6) == "abc ... efg"
    # With its quotes, and four characters for each of these, a name is no longer than others.
    assert len(shown("\x01" * 300)) == 305
