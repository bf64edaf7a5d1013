import threading
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


def test_its_thread_ends_with_it():
    before = threading.active_count()
    results = read_ahead(str, range(9))
    next(results)
    assert threading.active_count() == before + 1
    results.close()
    assert threading.active_count() == before


def test_its_thread_takes_no_other_core_from_the_models():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert list(read_ahead(lambda _: torch.get_num_threads(), range(2))) == [1, 1]
        assert torch.get_num_threads() == 2
        # Nor from threads that begin later, in which Prefect runs the next stages.
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)
