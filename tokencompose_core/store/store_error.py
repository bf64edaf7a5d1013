"""What is said when a store cannot be read or written."""

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)
_FULL_BYTES = 1 << 20
_GOES_ON = "The same run then goes on from what is stored."


class StoreError(OSError):
    """The store did not answer, or its disk is full. What was published stays as it was."""


class StoreRefusedError(StoreError):
    """The store does not let itself be used, which no retry mends."""


@contextmanager
def explain_failures(url: str, done: Literal["read", "written"]) -> Iterator[None]:
    """Name the store and the remedy when its file system raises something.

    Args:
        url: Of the store, or of the folder that belongs to it.
        done: What was tried. To read what is not there is no failure of the store: that error is
            passed on.

    Raises:
        StoreRefusedError: If it has no such place, or lacks rights.
        StoreError: If anything else went wrong, as when a connection is lost: what a remote file
            system raises then is often no `OSError`.
    """
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        if isinstance(error, FileNotFoundError) and done == "read":
            raise
        said = f"{type(error).__name__}: {error}"
        if is_no_space(error):
            raise no_space(url, said) from error
        if isinstance(error, OSError) and (
            error.errno in _REFUSED or isinstance(error, PermissionError | FileNotFoundError)
        ):
            raise StoreRefusedError(
                f"the store {url} cannot be {done} ({said}). Give this user the right to it, or"
                f" name another place in TOKENCOMPOSE_STORE. {_GOES_ON}"
            ) from error
        raise StoreError(
            f"the store {url} cannot be {done} ({said}). See that its server answers, and that"
            f" address and credentials are right. {_GOES_ON}"
        ) from error


def is_no_space(error: BaseException) -> bool:
    """Whether a disk or a quota was full."""
    return isinstance(error, OSError) and error.errno in _NO_SPACE


def no_space(place: str, said: str) -> StoreError:
    """The error of a full disk."""
    return StoreError(
        f"no space is left for {place} ({said}). Make room there, or name another place in"
        f" TOKENCOMPOSE_STORE. {_GOES_ON}"
    )


def write_into(folder: Path, write: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Have an output written, and say so if that failed because its disk is full."""
    try:
        return write(folder)
    except Exception as error:
        # Some libraries tell nothing but that they wrote less than they wanted.
        if is_no_space(error) or shutil.disk_usage(folder).free < _FULL_BYTES:
            place = f"{folder.parent.parent}, or for temporary files,"
            raise no_space(place, f"{type(error).__name__}: {error}") from error
        raise
