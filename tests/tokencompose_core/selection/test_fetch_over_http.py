"""Images behind http, from a real server here that answers, fails, hangs and has no end."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

import pytest

from data_schemas.rejections import RejectionReason
from tests.local_servers import QuietAnswers, http_server
from tokencompose_core.selection.fetch_images import (
    FetchError,
    FetchLimits,
    fetch_images,
    fetched_path,
)

pytest.importorskip("aiohttp", reason="fsspec reads http with it")

LIMITS = FetchLimits(("http",), 1000, 3.0, num_retries=1, private_hosts=("127.0.0.1",))
IMAGE = b"\x89PNG whatever"


class Handler(QuietAnswers, BaseHTTPRequestHandler):
    """What each path does to whoever asks for it."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[Counter[str]] = Counter()
    stop = threading.Event()

    def do_HEAD(self):
        self.answer(405, b"")

    def do_GET(self):
        self.asked[self.path] += 1
        match self.path.split("?")[0]:
            case "/good.jpg":
                self.answer(200, IMAGE)
            case "/flaky.jpg" if self.asked[self.path] == 1:
                self.answer(503, b"busy")
            case "/flaky.jpg":
                self.answer(200, IMAGE)
            case "/moved.jpg":
                self.answer(302, b"", Location="/good.jpg")
            case "/huge.jpg":
                self.answer(200, bytes(1001))
            case "/cut.jpg":
                self.answer(200, IMAGE, **{"Content-Length": "500"})
                self.close_connection = True
            case "/hang.jpg":
                self.stop.wait(20)
                self.close_connection = True
            case "/drip.jpg" | "/endless.jpg":
                self.send_response(200)
                self.end_headers()
                self.close_connection = True
                pause = 0.2 if "drip" in self.path else 0.0
                while not self.stop.wait(pause):
                    self.wfile.write(b"x" * (1 if pause else 400))
            case "/broken.jpg":
                self.answer(500, b"")
            case "/secret.jpg":
                self.answer(403, b"")
            case _:
                self.answer(404, b"not here")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    Handler.stop.clear()
    with http_server(Handler) as port:
        yield f"http://127.0.0.1:{port}"
        Handler.stop.set()


def fetch(urls, folder, limits=LIMITS):
    """What became of each URL: its bytes, or the reason for which it was left out."""
    counted = []
    fetch_images(iter(urls), folder, limits, counted.append)
    assert sum(counted) == len(urls)
    found = {}
    for url in urls:
        try:
            found[url.rpartition("/")[2]] = (folder / fetched_path(url, folder)).read_bytes()
        except FetchError as error:
            found[url.rpartition("/")[2]] = error.reason
    return found


def test_each_answer_has_its_end(server, tmp_path):
    reason = RejectionReason
    expected = {
        "good.jpg": IMAGE,
        "good.jpg?size=2": IMAGE,
        "moved.jpg": IMAGE,
        "flaky.jpg": IMAGE,
        "huge.jpg": reason.IMAGE_TOO_MANY_BYTES,
        "endless.jpg": reason.IMAGE_TOO_MANY_BYTES,
        "hang.jpg": reason.IMAGE_TIMEOUT,
        "drip.jpg": reason.IMAGE_TIMEOUT,
        "cut.jpg": reason.IMAGE_NOT_FETCHED,
        "broken.jpg": reason.IMAGE_NOT_FETCHED,
        "secret.jpg": reason.IMAGE_NOT_FETCHED,
        "none.jpg": reason.IMAGE_NOT_FETCHED,
    }
    begin = time.monotonic()
    assert fetch([f"{server}/{name}" for name in expected], tmp_path) == expected
    assert time.monotonic() - begin < 40
    asked = {name: Handler.asked[f"/{name}"] for name in expected}
    # Tried again: what may pass. Not: what the server is sure of, and what is too large.
    assert asked["flaky.jpg"] == asked["broken.jpg"] == asked["hang.jpg"] == 2
    assert asked["none.jpg"] == asked["huge.jpg"] == asked["endless.jpg"] == 1
    before = Handler.asked.total()
    assert fetch([f"{server}/good.jpg"], tmp_path) == {"good.jpg": IMAGE}
    assert Handler.asked.total() == before


def test_server_that_is_not_there_costs_its_images_only(server, tmp_path):
    urls = ["http://127.0.0.1:9/a.jpg", f"{server}/good.jpg", "http://no.invalid/b.jpg"]
    found = fetch(urls, tmp_path)
    assert found["good.jpg"] == IMAGE
    assert found["a.jpg"] == RejectionReason.IMAGE_NOT_FETCHED
    # A machine without a network may wait for its name server instead.
    reasons = {RejectionReason.IMAGE_NOT_FETCHED, RejectionReason.IMAGE_TIMEOUT}
    assert found["b.jpg"] in reasons


def test_many_images_are_copied(server, tmp_path):
    urls = [f"{server}/good.jpg?{number}" for number in range(300)]
    assert set(fetch(urls, tmp_path).values()) == {IMAGE}
