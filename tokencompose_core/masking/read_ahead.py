"""Prepare what comes next in a thread while what is there is worked on."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Apply a function to each item, one item ahead of whoever takes the results.

    No more than two results are in memory: the one that was taken, and the next. An error of the
    function is raised where its result would have come.

    Args:
        function: Called in a thread of its own, in order and for one item at a time.
        items: What to apply it to.
    """
    # Threads that PyTorch started from here would outnumber the cores together with those of the
    # models, and OpenMP then puts all of them to sleep between operations.
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as thread:
        ahead: Future[Result] | None = None
        for item in items:
            following = thread.submit(function, item)
            if ahead is not None:
                yield ahead.result()
            ahead = following
        if ahead is not None:
            yield ahead.result()
