"""One voice for what all processes know, and a name for what one of them knows."""

from collections.abc import Iterator

import pytest

from pointrend_jax.console import set_process, tell, tell_here


@pytest.fixture(autouse=True)
def alone_again() -> Iterator[None]:
    yield
    set_process(0, 1)


@pytest.mark.parametrize(
    ("index", "count", "said"),
    [
        (0, 1, "all know\nI know\n"),
        (0, 3, "all know\nprocess 0: I know\n"),
        (2, 3, "process 2: I know\n"),
    ],
)
def test_what_all_know_is_said_once(
    index: int, count: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_process(index, count)
    tell("all know")
    tell_here("I know")
    assert capsys.readouterr().out == said
