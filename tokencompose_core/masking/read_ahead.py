"""Prepare what comes next in a thread while what is there is worked on."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

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
    with ThreadPoolExecutor(max_workers=1) as thread:
        ahead: Future[Result] | None = None
        for item in items:
            following = thread.submit(function, item)
            if ahead is not None:
                yield ahead.result()
            ahead = following
        if ahead is not None:
            yield ahead.result()
