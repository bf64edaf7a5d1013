"""Prepare what comes next in threads while what is there is worked on."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, num_threads: int = 1
) -> Iterator[Result]:
    """Apply a function to each item, as many items ahead of whoever takes the results as threads.

    No more results are in memory than these, and the one that was taken. An error of the function
    is raised where its result would have come.

    Args:
        function: Called in threads of its own, for an item at a time in each, with one core.
        items: What to apply it to; taken one by one, in the caller's thread.
        num_threads: How many threads.
    """
    with ThreadPoolExecutor(num_threads) as threads:
        own = torch.get_num_threads()
        _take_one_core_each(threads, num_threads)
        # The last call also decides for threads that begin later: they shall have all cores.
        torch.set_num_threads(own)
        ahead: deque[Future[Result]] = deque()
        for item in items:
            ahead.append(threads.submit(function, item))
            if len(ahead) > num_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _take_one_core_each(threads: ThreadPoolExecutor, num_threads: int) -> None:
    # Threads that PyTorch started from there would outnumber the cores together with those of the
    # models, and OpenMP then puts all of them to sleep between operations.
    begun = Barrier(num_threads)

    def take() -> None:
        torch.set_num_threads(1)
        # A thread takes over what was set last when it first asks: now, before others set more.
        torch.get_num_threads()
        # Else one thread might do this for several.
        begun.wait()

    for future in [threads.submit(take) for _ in range(num_threads)]:
        future.result()
