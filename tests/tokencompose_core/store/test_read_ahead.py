import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tokencompose_core.store.read_ahead import read_ahead


def test_the_next_item_is_prepared_while_one_is_used_and_no_more():
    begun = [threading.Event() for _ in range(5)]

    def prepare(item: int) -> int:
        begun[item].set()
        return item * item

    results = read_ahead(prepare, range(5))
    for item in range(5):
        assert next(results) == item * item
        # Only a thread of its own can have begun the next one: nobody asked for it yet.
        assert item == 4 or begun[item + 1].wait(10)
        assert not any(event.is_set() for event in begun[item + 2 :])
    assert list(results) == []


def test_nothing_comes_of_nothing():
    assert list(read_ahead(str, [])) == []


def test_an_error_comes_where_its_result_would_have():
    def prepare(item: int) -> float:
        return 1 / item

    results = read_ahead(prepare, [2, 1, 0, 4])
    assert [next(results), next(results)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_its_threads_end_with_it(num_threads):
    before = set(threading.enumerate())
    results = read_ahead(str, range(9), num_threads=num_threads)
    next(results)
    begun = set(threading.enumerate()) - before
    assert len(begun) == num_threads
    results.close()
    assert not begun & set(threading.enumerate())


def test_several_threads_work_at_once_and_results_keep_their_order():
    together = threading.Barrier(3)
    taken = []

    def items() -> Iterator[int]:
        for item in range(6):
            taken.append(item)
            yield item

    def work(item: int) -> int:
        # Passes only if three are at work; the one of the first item is the last to end.
        together.wait(10)
        time.sleep(0.1 * (item % 3 == 0))
        return -item

    results = read_ahead(work, items(), num_threads=3)
    assert next(results) == 0
    assert taken == [0, 1, 2, 3]
    assert list(results) == [-1, -2, -3, -4, -5]


@pytest.mark.parametrize(("num_threads", "cores"), [(1, 1), (2, 1), (2, 3)])
def test_a_thread_takes_the_cores_it_is_given(num_threads, cores):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        taken = read_ahead(
            lambda _: torch.get_num_threads(), range(5), num_threads=num_threads, cores=cores
        )
        assert list(taken) == [cores] * 5
        assert torch.get_num_threads() == 2
        # Nor from threads that begin later, in which Prefect runs the next stages.
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)


def test_several_that_begin_at_once_leave_all_cores_to_others():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in range(20):
            with ThreadPoolExecutor(3) as callers:
                list(callers.map(lambda _: list(read_ahead(str, range(2))), range(3)))
            with ThreadPoolExecutor(1) as later:
                assert later.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)


def test_a_system_without_more_threads_is_an_error_and_no_wait(monkeypatch):
    start = threading.Thread.start
    started = []

    def start_one(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_one)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        list(read_ahead(str, range(3), num_threads=3))
