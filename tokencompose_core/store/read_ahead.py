"""Prepare what comes next in threads while what is there is worked on."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier, Lock
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


# More batches ahead would take more memory than they save time.
_MOST_LOADERS = 4
# One thread's number of cores is decided by what was set last anywhere.
_SETTING = Lock()


def loaders_beside(device: torch.device | str) -> int:
    """How many threads shall prepare batches for what computes on a device.

    One beside a CPU, which has work for all its cores. Beside a GPU the cores are free, and one is
    too slow for it: it opens and resizes some 35 photographs a second for Grounding DINO and
    SAM-HQ.
    """
    if torch.device(device).type == "cpu":
        return 1
    return min(_MOST_LOADERS, os.cpu_count() or 1)


def read_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    num_threads: int = 1,
    cores: int = 1,
) -> Iterator[Result]:
    """Apply a function to each item, as many items ahead of whoever takes the results as threads.

    No more results are in memory than these, and the one that was taken. An error of the function
    is raised where its result would have come.

    Args:
        function: Called in threads of its own, for an item at a time in each.
        items: What to apply it to; taken one by one, in the caller's thread.
        num_threads: How many threads.
        cores: How many of them PyTorch may use in each of the threads. More in all than there are
            would put all of them to sleep between operations, as OpenMP does.
    """
    with ThreadPoolExecutor(num_threads) as threads:
        _share_cores(threads, num_threads, cores)
        ahead: deque[Future[Result]] = deque()
        for item in items:
            ahead.append(threads.submit(function, item))
            if len(ahead) > num_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _share_cores(threads: ThreadPoolExecutor, num_threads: int, cores: int) -> None:
    begun = Barrier(num_threads)

    def take() -> None:
        torch.set_num_threads(cores)
        # A thread takes over what was set last when it first asks: now, before others set more.
        torch.get_num_threads()
        # Else one thread might do this for several.
        begun.wait()

    with _SETTING:
        own = torch.get_num_threads()
        try:
            for future in [threads.submit(take) for _ in range(num_threads)]:
                future.result()
        except RuntimeError:  # the system gives no more threads
            begun.abort()
            raise
        finally:
            # The last call also decides for threads that begin later: they shall have all cores.
            torch.set_num_threads(own)
