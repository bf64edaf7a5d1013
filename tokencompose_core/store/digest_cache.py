"""Digests of files, remembered from run to run."""

import logging
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Self

from tokencompose_core.store.keys import file_digest

_LOGGER = logging.getLogger(__name__)
_TABLE = """
CREATE TABLE IF NOT EXISTS digests (
    path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER,
    sha256 TEXT
) WITHOUT ROWID
"""
# Of two changes within one tick of a file system's clock, the second leaves no trace in the file's
# times; FAT's ticks are the longest.
_TICK_NS = 2_000_000_000
_PENDING = 2000
_LOCK_SECONDS = 30.0
_SIGN = 1 << 63


class DigestCache:
    """Digests by path, size, times of change and inode, as git's index has them.

    A file is read if any of these differs from what was noted, or if it changed within the two
    seconds before it was read; then its digest is not noted either. The file of the cache may be
    deleted at any time, and several processes may have it open. What goes wrong with it costs time
    and is logged, and the digests are right.

    Args:
        path: A SQLite file, made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._pending: list[tuple[bytes, int, int, int, int, str]] = []
        self._connection: sqlite3.Connection | None = None
        self._inode = 0

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self.path, timeout=_LOCK_SECONDS, check_same_thread=False
            )
            with self._connection:
                self._connection.execute(_TABLE)
            self._inode = self.path.stat().st_ino
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._write()
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def digest(self, path: Path) -> str:
        """SHA-256 of a file's content, in hexadecimal; may be called from any thread."""
        name = os.fsencode(os.path.abspath(path))
        before = _identity(path)
        known = self._find(name, before)
        if known is not None:
            return known
        now = time.time_ns()
        digest = file_digest(path)
        _, mtime_ns, ctime_ns, _ = before
        if max(mtime_ns, ctime_ns) + _TICK_NS < now and _identity(path) == before:
            with self._lock:
                self._pending.append((name, *before, digest))
                if len(self._pending) >= _PENDING:
                    self._write()
        return digest

    def _find(self, name: bytes, identity: tuple[int, ...]) -> str | None:
        with self._lock:
            if self._connection is None:
                return None
            try:
                found = self._connection.execute(
                    "SELECT size, mtime_ns, ctime_ns, inode, sha256 FROM digests WHERE path = ?",
                    (name,),
                ).fetchone()
            except sqlite3.Error as error:
                self._give_up(error)
                return None
        return found[-1] if found is not None and found[:-1] == identity else None

    def _write(self) -> None:
        entries, self._pending = self._pending, []
        if self._connection is None or not entries:
            return
        try:
            # A file that was deleted must not be written to: its journal would stand beside the
            # new one that another process may have made in its place.
            if self.path.stat().st_ino != self._inode:
                raise FileNotFoundError(f"{self.path} was replaced")
            with self._connection:
                self._connection.executemany(
                    "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?)", entries
                )
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        _LOGGER.warning(
            "%s cannot be used, so that files are read again (%s); it may be deleted",
            self.path,
            error,
        )
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _identity(path: Path) -> tuple[int, int, int, int]:
    status = path.stat()
    # SQLite's integers have a sign, and some file systems number inodes beyond 2^63.
    inode = (status.st_ino + _SIGN) % (2 * _SIGN) - _SIGN
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, inode
