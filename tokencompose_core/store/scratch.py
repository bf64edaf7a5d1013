"""Folders for work that does not outlive its process, and what is to outlive a power cut."""

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch_dir(parent: Path, prefix: str = "") -> Iterator[Path]:
    """A folder of this process's own while the context lasts.

    What killed processes left there is removed first. A folder is locked while it is in use, and
    the system gives the lock back however its process ends, so several processes, in containers
    too, may work below one parent. On a file system without such locks leftovers stay.

    Args:
        parent: Where to make it; must be there.
        prefix: Of the names of folders that serve the same purpose.
    """
    for left in parent.glob(f"{prefix}locked-*"):
        _remove_unless_locked(left)
    name = uuid.uuid4().hex
    folder = parent / f"{prefix}new-{name}"
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Only now may others look at it.
        if _lock(descriptor):
            folder = folder.rename(parent / f"{prefix}locked-{name}")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def is_abandoned(folder: Path) -> bool:
    """Whether no process works in a `...locked-...` folder any more."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        return _lock(descriptor)
    finally:
        os.close(descriptor)


def _remove_unless_locked(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # whose it was has just removed it
        return
    try:
        if _lock(descriptor):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process has it, or there are no locks here
        return False
    return True


def sync(path: Path) -> None:
    """Flush a file or folder to the disk, so that a power cut cannot undo the rename's promise."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
