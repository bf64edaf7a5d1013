"""Images behind URLs, with real file systems of fsspec that answer, fail, hang and have no end."""

import io
import os
import signal
import threading
import time

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from data_schemas.rejections import RejectionReason
from tokencompose_core.selection.candidates import Candidate
from tokencompose_core.selection.digest_source import digest_candidates
from tokencompose_core.selection.fetch_images import (
    FetchError,
    FetchLimits,
    fetch_images,
    fetched_path,
)

LIMITS = FetchLimits(("memory", "file", "hang", "flaky", "endless"), 1000, 0.3, 1)


class HangingFileSystem(MemoryFileSystem):
    """A server that takes the request and never answers."""

    protocol = "hang"

    def open(self, path, mode="rb", **kwargs):
        time.sleep(60)


class FlakyFileSystem(MemoryFileSystem):
    """A server that fails at the first request for each file."""

    protocol = "flaky"
    cachable = True
    asked: dict[str, int] = {}  # noqa: RUF012

    def open(self, path, mode="rb", **kwargs):
        self.asked[path] = self.asked.get(path, 0) + 1
        if self.asked[path] == 1 or "never" in path:
            raise ConnectionError("reset by peer")
        return io.BytesIO(b"at last")


class EndlessFileSystem(MemoryFileSystem):
    """A server that says no length and sends for ever."""

    protocol = "endless"

    def open(self, path, mode="rb", **kwargs):
        stream = io.BytesIO()
        stream.read = lambda size=-1: b"x" * 600
        return stream


@pytest.fixture(autouse=True)
def file_systems():
    FlakyFileSystem.asked.clear()
    for kind in (HangingFileSystem, FlakyFileSystem, EndlessFileSystem):
        fsspec.register_implementation(kind.protocol, kind, clobber=True)


def fetch(url, folder, limits=LIMITS):
    fetch_images([url], folder, limits)
    return (folder / fetched_path(url, folder)).read_bytes()


def refused(url, folder, limits=LIMITS):
    with pytest.raises(FetchError) as caught:
        fetch(url, folder, limits)
    assert url in str(caught.value)
    return caught.value.reason


def test_file_is_copied_once_and_then_kept(tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/set/a.jpg", b"first")
    assert fetch("memory://set/a.jpg", tmp_path) == b"first"
    memory.pipe_file("/set/a.jpg", b"second")
    assert fetch("memory://set/a.jpg", tmp_path) == b"first"
    (tmp_path / "b c.jpg").write_bytes(b"local")
    assert fetch(f"file://{tmp_path}/b c.jpg", tmp_path) == b"local"


def test_each_failure_has_its_reason(tmp_path):
    fsspec.filesystem("memory").pipe_file("/set/big.jpg", b"x" * 1001)
    reason = RejectionReason
    assert refused("memory://set/none.jpg", tmp_path) == reason.IMAGE_NOT_FETCHED
    assert refused("memory://set/big.jpg", tmp_path) == reason.IMAGE_TOO_MANY_BYTES
    assert refused("endless://a.jpg", tmp_path) == reason.IMAGE_TOO_MANY_BYTES
    assert refused("ftp://set/a.jpg", tmp_path) == reason.IMAGE_URL_REFUSED
    assert refused("memory://a::file:///etc/hostname", tmp_path) == reason.IMAGE_URL_REFUSED
    assert refused("flaky://never.jpg", tmp_path) == reason.IMAGE_NOT_FETCHED
    begin = time.monotonic()
    assert refused("hang://a.jpg", tmp_path) == reason.IMAGE_TIMEOUT
    assert time.monotonic() - begin < 10


def test_failure_is_tried_again_within_a_run_and_in_the_next(tmp_path):
    assert fetch("flaky://a.jpg", tmp_path) == b"at last"
    assert FlakyFileSystem.asked == {"flaky://a.jpg": 2}
    once = FetchLimits(LIMITS.url_schemes, 1000, 0.3, 0)
    assert refused("flaky://b.jpg", tmp_path, once) == RejectionReason.IMAGE_NOT_FETCHED
    assert fetch("flaky://b.jpg", tmp_path, once) == b"at last"


def test_image_that_arrives_changes_the_digest(tmp_path):
    once = FetchLimits(LIMITS.url_schemes, 1000, 0.3, 0)
    candidates = [Candidate("k", "flaky://c.jpg", ["A cat."])]
    fetch_images(["flaky://c.jpg"], tmp_path, once)
    before = digest_candidates(candidates, [], tmp_path)
    fetch_images(["flaky://c.jpg"], tmp_path, once)
    after = digest_candidates(candidates, [], tmp_path)
    assert before != after
    fetch_images(["flaky://c.jpg"], tmp_path, once)
    assert digest_candidates(candidates, [], tmp_path) == after


def test_package_that_a_url_needs_is_named(tmp_path):
    limits = FetchLimits(("https",), 1000, 5.0, 0)
    try:
        import aiohttp  # noqa: F401
    except ImportError:
        with pytest.raises(ValueError, match=r"https://x\.invalid/a\.jpg: fsspec needs a package"):
            fetch("https://x.invalid/a.jpg", tmp_path, limits)
    else:
        assert refused("https://x.invalid/a.jpg", tmp_path, limits)


@pytest.mark.parametrize("url", ["hang://a.jpg", "flaky://never.jpg"])
def test_interrupted_run_waits_for_no_server_and_for_no_next_attempt(tmp_path, url):
    limits = FetchLimits(LIMITS.url_schemes, 1000, timeout_seconds=30.0, num_retries=9)
    interrupt = threading.Timer(2.5, os.kill, (os.getpid(), signal.SIGINT))  # what Ctrl-C does
    # Processes that a shell starts in the background ignore this signal unless they ask for it.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt.start()
    begin = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            fetch_images([f"{url}?{number}" for number in range(200)], tmp_path, limits)
    finally:
        signal.signal(signal.SIGINT, previous)
        interrupt.join()
    assert 2.4 < time.monotonic() - begin < 10
    assert not list((tmp_path / "fetched").iterdir())
