"""Images behind URLs, with real file systems of fsspec that answer, fail, hang and have no end."""

import io
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from data_schemas.rejections import RejectionReason
from tests.too_many_files import too_many_files
from tokencompose_core.selection.candidates import Candidate
from tokencompose_core.selection.digest_source import digest_candidates
from tokencompose_core.selection.fetch_images import (
    FetchError,
    FetchLimits,
    fetch_images,
    fetched_path,
    forget_unusable,
)

LIMITS = FetchLimits(("memory", "file", "hang", "flaky", "endless"), 1000, 2.0, 1)


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
    assert time.monotonic() - begin < 30


def test_failure_is_tried_again_within_a_run_and_in_the_next(tmp_path):
    assert fetch("flaky://a.jpg", tmp_path) == b"at last"
    assert FlakyFileSystem.asked == {"flaky://a.jpg": 2}
    once = FetchLimits(LIMITS.url_schemes, 1000, 10.0, 0)
    assert refused("flaky://b.jpg", tmp_path, once) == RejectionReason.IMAGE_NOT_FETCHED
    assert fetch("flaky://b.jpg", tmp_path, once) == b"at last"


def test_image_that_arrives_changes_the_digest(tmp_path):
    once = FetchLimits(LIMITS.url_schemes, 1000, 10.0, 0)
    candidates = [Candidate("k", "flaky://c.jpg", ["A cat."])]
    fetch_images(["flaky://c.jpg"], tmp_path, once)
    before = digest_candidates(candidates, [], tmp_path)
    fetch_images(["flaky://c.jpg"], tmp_path, once)
    after = digest_candidates(candidates, [], tmp_path)
    assert before != after
    fetch_images(["flaky://c.jpg"], tmp_path, once)
    assert digest_candidates(candidates, [], tmp_path) == after


def test_answer_without_bytes_is_no_image_and_is_asked_for_again(tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/set/empty.jpg", b"")
    assert refused("memory://set/empty.jpg", tmp_path) == RejectionReason.IMAGE_EMPTY
    memory.pipe_file("/set/empty.jpg", b"mended")
    assert fetch("memory://set/empty.jpg", tmp_path) == b"mended"


def test_bytes_are_on_the_disk_before_they_have_their_name(tmp_path, monkeypatch):
    fsync, synced = os.fsync, []

    def note(descriptor):
        named = [name for name in os.listdir(tmp_path / "fetched") if not name.endswith(".part")]
        synced.append((os.fstat(descriptor).st_size, named))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    fsspec.filesystem("memory").pipe_file("/set/synced.jpg", b"seven b")
    fetch("memory://set/synced.jpg", tmp_path)
    assert synced == [(7, [])]
    assert len(os.listdir(tmp_path / "fetched")) == 1


def test_two_that_copy_one_url_at_once_do_not_share_a_file(tmp_path, monkeypatch):
    """Threads stand for processes of one number in two containers."""
    fsync, both_wrote = os.fsync, threading.Barrier(2, timeout=20)

    def wait_for_the_other(descriptor):
        both_wrote.wait()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", wait_for_the_other)
    fsspec.filesystem("memory").pipe_file("/set/shared.jpg", b"shared")
    with ThreadPoolExecutor() as executor:
        copies = [executor.submit(fetch, "memory://set/shared.jpg", tmp_path) for _ in range(2)]
        assert [copy.result() for copy in copies] == [b"shared", b"shared"]
    assert both_wrote.n_waiting == 0
    assert not both_wrote.broken
    assert not list(tmp_path.rglob("*.part"))


def test_only_copies_that_are_no_image_are_forgotten(tmp_path):
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(stream, "JPEG")
    good = stream.getvalue()
    contents = {"page": b"<html>down", "cut": good[:-300], "good": good}
    memory = fsspec.filesystem("memory")
    limits = FetchLimits(("memory",), 10_000, 5.0, 0)
    names = {}
    for name, content in contents.items():
        memory.pipe_file(f"/set/{name}.jpg", content)
        fetch(f"memory://set/{name}.jpg", tmp_path, limits)
        names[name] = fetched_path(f"memory://set/{name}.jpg", tmp_path).removeprefix("fetched/")
    own = tmp_path / "own.jpg"
    own.write_bytes(b"<html>mine")
    others = ["../own.jpg", str(own), "https", "0" * 40, ""]
    with too_many_files():  # what the disk does not give just now may be an image
        assert forget_unusable(names.values(), tmp_path) == []
    forgotten = forget_unusable([*names.values(), *others], tmp_path)
    assert set(forgotten) == {names["page"], names["cut"]}
    assert {path.name for path in tmp_path.rglob("*.*")} == {"own.jpg"}
    assert [path.name for path in (tmp_path / "fetched").iterdir()] == [names["good"]]


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
    begin = time.monotonic()
    interrupt.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            fetch_images([f"{url}?{number}" for number in range(200)], tmp_path, limits)
    finally:
        signal.signal(signal.SIGINT, previous)
        interrupt.join()
    assert 2.4 < time.monotonic() - begin < 10
    assert not list((tmp_path / "fetched").iterdir())
