"""A machine that opens no more files, as one that has too many open."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def too_many_files() -> Iterator[None]:
    """Open no file within."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    number = os.open(os.devnull, os.O_RDONLY)  # the lowest that was free
    resource.setrlimit(resource.RLIMIT_NOFILE, (number + 1, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.close(number)
