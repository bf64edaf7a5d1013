import threading
import time

import pytest

from tokencompose_core.store.map_in_threads import map_in_threads


def test_results_come_in_order_though_later_ones_are_done_first():
    def work(number):
        time.sleep(0.02 if number % 7 == 0 else 0)
        return number * number

    assert list(map_in_threads(work, iter(range(300)), 4)) == [n * n for n in range(300)]
    assert list(map_in_threads(work, [])) == []


def test_only_few_items_are_taken_ahead_of_whoever_takes_the_results():
    taken = []

    def items():
        for number in range(10_000):
            taken.append(number)
            yield number

    results = map_in_threads(lambda number: number, items(), 2)
    for expected in range(100):
        assert next(results) == expected
    assert len(taken) <= 100 + 16 * 2
    results.close()


def test_error_comes_in_its_place_and_ends_the_work():
    others = threading.active_count()
    begun = []

    def work(number):
        begun.append(number)
        if number == 5:
            raise ValueError("five")
        return number

    results = map_in_threads(work, iter(range(10_000)), 2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(results)
    assert len(begun) <= 5 + 16 * 2 + 1
    assert threading.active_count() < others + 19
