"""Apply a function to a long stream of items in threads, with few of them in memory."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# What `ThreadPoolExecutor` takes by itself for work that waits for disks.
_THREADS = min(32, (os.cpu_count() or 1) + 4)
_ITEMS_A_THREAD = 16


def map_in_threads(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    num_threads: int = _THREADS,
    stopped: threading.Event | None = None,
) -> Iterator[Result]:
    """The function's results, in the order of the items.

    Unlike `Executor.map`, this takes an item only when there is room for it: at most 16 a thread
    are on their way or wait to be taken. Whoever stops early, or meets an error, waits for what has
    begun and for nothing else.

    Args:
        function: Called in several threads at once.
        items: What to apply it to; read in the caller's thread.
        num_threads: Calls at once.
        stopped: Set before that wait, for a function that may take long and looks at it.
    """
    executor = ThreadPoolExecutor(num_threads)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(executor.submit(function, item))
            if len(waiting) >= _ITEMS_A_THREAD * num_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        if stopped is not None:
            stopped.set()
        executor.shutdown(cancel_futures=True)
