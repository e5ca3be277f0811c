"""Work in threads: the results in order, few items ahead, and errors where they belong."""

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from pointrend_jax.workers import WORKERS, ahead, at_once, held_back, in_order


def _counted(number: int, fails_at: int = -1) -> Iterator[int]:
    for item in range(number):
        if item == fails_at:
            raise ValueError(f"item {item} is broken")
        yield item


def _first_after_second() -> Callable[[int], int]:
    """Squares an item; the first waits for the second, if there is another thread."""
    second_is_done = threading.Event()

    def square(item: int) -> int:
        if item == 0 and WORKERS > 1:
            assert second_is_done.wait(60)
        if item == 1:
            second_is_done.set()
        return item * item

    return square


def test_shared_threads_work_at_once_and_keep_the_order() -> None:
    assert at_once(_first_after_second(), range(20)) == [i * i for i in range(20)]
    with pytest.raises(ZeroDivisionError):
        at_once(lambda item: 1 // item, [2, 0, 1])


def test_an_item_is_made_while_the_one_before_is_worked_on() -> None:
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        made.set()
        yield 1

    for _ in ahead(items(), 1):
        assert made.wait(60)


@pytest.mark.parametrize("alone", [False, True])
def test_a_thread_that_works_alone_takes_no_others(alone: bool) -> None:
    def items() -> Iterator[list[int]]:
        # The second by that thread too, and a single item by whoever has it.
        for number in (4, 4, 1):
            yield at_once(lambda _: threading.get_ident(), range(number))
        yield [threading.get_ident()]

    *by, (reader,) = ahead(items(), 2, alone=alone)
    assert by[2] == [reader]
    for thread_of_item in by[:2]:
        assert len(thread_of_item) == 4
        assert (reader in thread_of_item) == alone
        assert not alone or set(thread_of_item) == {reader}
    # What works beside it is not told.
    assert threading.get_ident() not in at_once(lambda _: threading.get_ident(), range(2))


def test_what_a_thread_does_alone_keeps_its_order_and_its_errors() -> None:
    divided: Callable[[tuple[int, ...]], list[int]] = partial(at_once, (6).__floordiv__)
    batches = ahead(map(divided, [(1, 2, 3), (1, 0)]), 2, alone=True)
    assert next(batches) == [6, 3, 2]
    with pytest.raises(ZeroDivisionError):
        next(batches)


def test_no_more_are_made_ahead_than_may_be() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(50):
            taken.append(item)
            yield item

    found = []
    for item in ahead(items(), 3):
        found.append(item)
        assert len(taken) <= len(found) + 3
    assert found == taken == [*range(50)]


@pytest.mark.parametrize(
    "taken_ahead",
    [
        lambda items: ahead(items, 3),
        lambda items: held_back(items, 2),
        lambda items: in_order(lambda item: item, items),
    ],
)
def test_an_item_that_cannot_be_taken_is_told_after_those_before(
    taken_ahead: Callable[[Iterator[int]], Iterator[int]],
) -> None:
    results = taken_ahead(_counted(10, fails_at=3))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="item 3 is broken"):
        next(results)


def test_who_stops_early_leaves_no_thread_and_no_item_is_begun() -> None:
    before, taken = set(threading.enumerate()), []
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            for item in range(1000):
                taken.append(item)
                yield item
        finally:
            closed.set()

    for item in ahead(items(), 2):
        if item == 5:
            break
    assert closed.wait(60)
    assert not set(threading.enumerate()) - before
    assert len(taken) <= 5 + 1 + 2


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(in_order(_first_after_second(), range(200))) == [i * i for i in range(200)]


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
