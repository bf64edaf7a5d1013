"""Folders that a process has for itself, and what is to outlive a power cut."""

import fcntl
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOGGER = logging.getLogger(__name__)
_SECONDS_BETWEEN_TRIES = 0.5
# A file, open for writing: NFS asks its server about these, and locks folders for itself alone.
_LOCK_NAME = ".lock"


@contextmanager
def scratch_dir(parent: Path, prefix: str = "") -> Iterator[Path]:
    """A folder of this process's own while the context lasts.

    What killed processes left there is removed first. A folder is locked, by a file in it, while it
    is in use, and the system gives the lock back however its process ends, so several processes, in
    containers and on machines that share a disk too, may work below one parent. On a file system
    without such locks leftovers stay.

    Args:
        parent: Where to make it; must be there.
        prefix: Of the names of folders that serve the same purpose.
    """
    for left in parent.glob(f"{prefix}locked-*"):
        _remove_unless_locked(left)
    name = uuid.uuid4().hex
    folder = parent / f"{prefix}new-{name}"
    folder.mkdir()
    descriptor = _open_lock(folder)
    try:
        # Only now may others look at it.
        if _lock(descriptor):
            folder = folder.rename(parent / f"{prefix}locked-{name}")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)
        # NFS keeps an open file under another name until it is closed.
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def alone_in(folder: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Have a folder that outlives its process for oneself while the context lasts.

    Whoever else asks for it meanwhile waits. A file in the folder is locked, and the system gives
    the lock back however its process ends. Whoever has the folder may remove it, and the next one
    makes it anew. On a file system without such locks nobody waits.

    Args:
        folder: Made if it is not there.
        on_wait: Called again and again while another has the folder. What it raises ends the wait.
    """
    descriptor = _open_folder(folder)
    try:
        if not _has_lock(descriptor, folder):
            _LOGGER.info("another run works in %s; this one waits until it has ended", folder)
            while not _has_lock(descriptor, folder):
                on_wait()
                time.sleep(_SECONDS_BETWEEN_TRIES)
                # What was opened may have been removed since.
                previous, descriptor = descriptor, _open_folder(folder)
                os.close(previous)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def alone_at_once(folder: Path) -> Iterator[bool]:
    """Have such a folder too while the context lasts, without waiting for it.

    Args:
        folder: The folder.

    Returns:
        Whether one has it: nobody else does, or there are no locks here. Not if it is gone, or may
        not be written in.
    """
    try:
        descriptor = _open_lock(folder)
    except (FileNotFoundError, PermissionError):
        yield False
        return
    try:
        yield _has_lock(descriptor, folder)
    finally:
        os.close(descriptor)


def _open_folder(folder: Path) -> int:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # whoever had it has just removed it
            return _open_lock(folder)


def _open_lock(folder: Path) -> int:
    return os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o666)


def _has_lock(descriptor: int, folder: Path) -> bool:
    """Lock a folder by its open file, if that is still the one under its name."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # there are no locks here
        return True
    try:
        return os.path.samestat(os.fstat(descriptor), (folder / _LOCK_NAME).stat())
    except FileNotFoundError:
        return False


def is_abandoned(folder: Path) -> bool:
    """Whether no process works in a `...locked-...` folder any more."""
    try:
        descriptor = _open_lock(folder)
    except OSError:
        return False
    try:
        return _lock(descriptor)
    finally:
        os.close(descriptor)


def _remove_unless_locked(folder: Path) -> None:
    try:
        descriptor = _open_lock(folder)
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
