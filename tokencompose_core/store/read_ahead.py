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
    with ThreadPoolExecutor(1) as thread:
        # Threads that PyTorch started from there would outnumber the cores together with those of
        # the models, and OpenMP then puts all of them to sleep between operations.
        own = torch.get_num_threads()
        thread.submit(_take_one_core).result()
        # The last call also decides for threads that begin later: they shall have all cores.
        torch.set_num_threads(own)
        ahead: Future[Result] | None = None
        for item in items:
            following = thread.submit(function, item)
            if ahead is not None:
                yield ahead.result()
            ahead = following
        if ahead is not None:
            yield ahead.result()


def _take_one_core() -> None:
    torch.set_num_threads(1)
    # A thread takes over what was set last when it first asks: now, before others set more.
    torch.get_num_threads()
