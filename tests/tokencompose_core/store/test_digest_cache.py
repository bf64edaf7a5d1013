"""Digests that are remembered; whether a file was read shows in what is noted."""

import hashlib
import multiprocessing
import os
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tokencompose_core.store.digest_cache import DigestCache

HOUR = 3600


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def old(tmp_path):
    """A file that has not changed for longer than the clock of any file system ticks."""
    path = tmp_path / "old.jpg"
    path.write_bytes(b"old content")
    os.utime(path, (time.time() - HOUR,) * 2)
    # The time of the last change of the inode is the system's own, so that it takes a wait.
    time.sleep(2.1)
    return path


def noted(cache_path):
    connection = sqlite3.connect(cache_path)
    with connection:
        rows = connection.execute("SELECT path, sha256 FROM digests").fetchall()
    connection.close()
    return {os.fsdecode(path): digest for path, digest in rows}


def forge(cache_path, digest):
    """Have the cache say something else than the file, to see whether the file is read."""
    connection = sqlite3.connect(cache_path)
    with connection:
        connection.execute("UPDATE digests SET sha256 = ?", (digest,))
    connection.close()


def digest(cache_path, path):
    with DigestCache(cache_path) as cache:
        return cache.digest(path)


def test_old_file_is_read_once(tmp_path, old):
    cache = tmp_path / "digests.sqlite"
    assert digest(cache, old) == sha256(b"old content")
    assert noted(cache) == {str(old): sha256(b"old content")}
    forge(cache, "from the cache")
    assert digest(cache, old) == "from the cache"
    cache.unlink()
    assert digest(cache, old) == sha256(b"old content")


def test_any_change_has_the_file_read_again(tmp_path, old):
    cache = tmp_path / "digests.sqlite"
    digest(cache, old)
    forge(cache, "from the cache")
    status = old.stat()
    # Same size, same time: only inode and time of the inode's change tell.
    old.write_bytes(b"new content")
    os.utime(old, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert old.stat().st_mtime_ns == status.st_mtime_ns
    assert digest(cache, old) == sha256(b"new content")
    replaced = tmp_path / "replaced"
    replaced.write_bytes(b"NEW content")
    os.utime(replaced, ns=(status.st_atime_ns, status.st_mtime_ns))
    replaced.replace(old)
    assert digest(cache, old) == sha256(b"NEW content")


def test_file_that_has_just_changed_is_not_noted(tmp_path):
    path, cache = tmp_path / "new.jpg", tmp_path / "digests.sqlite"
    for content in (b"one", b"two"):
        path.write_bytes(content)
        os.utime(path, (1, 1))
        assert digest(cache, path) == sha256(content)
    assert noted(cache) == {}
    os.utime(path, (time.time() + HOUR,) * 2)
    digest(cache, path)
    assert noted(cache) == {}


@pytest.mark.parametrize("content", [b"", b"no database" * 1000, None])
def test_cache_that_cannot_be_used_costs_nothing_but_time(tmp_path, old, caplog, content):
    cache = tmp_path / "digests.sqlite"
    if content is None:
        cache.mkdir()
    else:
        cache.write_bytes(content)
    assert digest(cache, old) == sha256(b"old content")
    assert bool(caplog.records) == (content != b"")
    assert content == b"" or "may be deleted" in caplog.text


def test_cache_may_be_deleted_while_it_is_open(tmp_path, old, caplog):
    path = tmp_path / "digests.sqlite"
    with DigestCache(path) as cache:
        assert cache.digest(old) == sha256(b"old content")
        path.unlink()
        with DigestCache(path) as other:
            assert other.digest(old) == sha256(b"old content")
    assert noted(path) == {str(old): sha256(b"old content")}
    assert "was replaced" in caplog.text


class FarInode(type(Path())):
    """A file on a file system that numbers its inodes with all of 64 bits."""

    inode = 2**64 - 7

    def stat(self, **options):
        status = super().stat(**options)
        return SimpleNamespace(
            st_size=status.st_size,
            st_mtime_ns=status.st_mtime_ns,
            st_ctime_ns=status.st_ctime_ns,
            st_ino=self.inode,
        )


def test_inode_beyond_the_integers_of_the_cache_is_noted(tmp_path, old, caplog):
    cache, far = tmp_path / "digests.sqlite", FarInode(old)
    assert digest(cache, far) == sha256(b"old content")
    forge(cache, "from the cache")
    assert digest(cache, far) == "from the cache"
    far.inode = 2**63
    assert digest(cache, far) == sha256(b"old content")
    assert not caplog.records


def test_cache_of_an_earlier_release_goes_on_being_used(tmp_path, old):
    cache, status = tmp_path / "digests.sqlite", old.stat()
    connection = sqlite3.connect(cache)
    with connection:
        connection.execute(
            "CREATE TABLE digests (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER,"
            " ctime_ns INTEGER, inode INTEGER, sha256 TEXT) WITHOUT ROWID"
        )
        times = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        noted = (os.fsencode(old), status.st_size, *times, "noted before")
        connection.execute("INSERT INTO digests VALUES (?, ?, ?, ?, ?, ?)", noted)
    connection.close()
    assert digest(cache, old) == "noted before"


def test_missing_file_raises_as_without_a_cache(tmp_path):
    with DigestCache(tmp_path / "digests.sqlite") as cache, pytest.raises(FileNotFoundError):
        cache.digest(tmp_path / "nowhere")


def _digest_all(cache_path, folder, barrier):
    barrier.wait()
    for _ in range(5):
        with DigestCache(cache_path) as cache:
            for path in sorted(folder.iterdir()):
                assert cache.digest(path) == sha256(path.name.encode())


def test_two_processes_share_a_cache(tmp_path):
    folder, cache = tmp_path / "files", tmp_path / "digests.sqlite"
    folder.mkdir()
    for number in range(200):
        (folder / str(number)).write_bytes(str(number).encode())
    time.sleep(2.1)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    processes = [
        context.Process(target=_digest_all, args=(cache, folder, barrier)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        assert process.exitcode == 0
    assert len(noted(cache)) == 200
