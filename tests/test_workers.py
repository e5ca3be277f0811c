"""Work in threads: the results in order, few items ahead, and errors where they belong."""

import threading

import pytest

from pointrend_jax.workers import WORKERS, in_order


def test_results_come_in_the_order_of_the_items() -> None:
    later_is_done = threading.Event()

    def work(item: int) -> int:
        # The first waits for the second, if there is another thread.
        if item == 0 and WORKERS > 1:
            assert later_is_done.wait(60)
        if item == 1:
            later_is_done.set()
        return item * item

    assert list(in_order(work, range(200))) == [i * i for i in range(200)]


def test_few_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> list[int]:
        return taken.append(len(taken)) or taken

    results = in_order(len, (items() for _ in range(1000)))
    for given in range(1, 50):
        next(results)
        assert len(taken) <= given + 2 * WORKERS


def test_what_fails_is_raised_after_the_results_before_it() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise ValueError("item 3 is broken")
        return item

    results = in_order(work, range(10))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="item 3 is broken"):
        next(results)
