"""URLs that aim at this machine and its network, with a real server here that counts who asks."""

import gzip
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
from tokencompose_core.selection.guarded_client import AddressError, GuardedClient

pytest.importorskip("aiohttp", reason="fsspec reads http with it")

LIMITS = FetchLimits(("http",), max_bytes=1000, timeout_seconds=10.0, num_retries=0)
BOMB = gzip.compress(bytes(200_000_000), compresslevel=1)


class Handler(QuietAnswers, BaseHTTPRequestHandler):
    """Sends whoever asks to the place that the query names, or bytes."""

    asked: ClassVar[list[str]] = []

    def do_GET(self):
        self.asked.append(self.path)
        path, _, target = self.path.partition("?to=")
        if path == "/redirect":
            self.answer(302, b"", Location=target.replace("PORT", str(self.server.server_port)))
        elif path == "/loop":
            self.answer(302, b"", Location="/loop")
        elif path == "/bomb":
            self.answer(200, BOMB, **{"Content-Encoding": "gzip"})
        elif path == "/says-less":
            self.answer(200, bytes(50_000_000), **{"Content-Length": "70000"})
        elif path == "/says-more":
            self.answer(200, bytes(500), **{"Content-Length": "99999999999"})
        else:
            self.answer(200, b"secret of this machine")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with http_server(Handler) as port:
        yield port


@pytest.fixture(autouse=True)
def forget():
    Handler.asked.clear()


def reason_and_detail(url, folder, **changes):
    """Why a URL is left out, and what is said of it."""
    limits = FetchLimits(**{**vars(LIMITS), **changes})
    fetch_images([url], folder, limits)
    with pytest.raises(FetchError) as caught:
        fetched_path(url, folder)
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:PORT/a.jpg",
        "http://127.255.255.254:PORT/a.jpg",
        "http://localhost:PORT/a.jpg",
        "http://LocalHost:PORT/a.jpg",
        "http://user:word@127.0.0.1:PORT/a.jpg",
        "http://0.0.0.0:PORT/a.jpg",
        "http://2130706433:PORT/a.jpg",
        "http://0x7f000001:PORT/a.jpg",
        "http://0x7f.0.0.1:PORT/a.jpg",
        "http://0177.0.0.1:PORT/a.jpg",
        "http://127.1:PORT/a.jpg",
        "http://[::1]:PORT/a.jpg",
        "http://[::]:PORT/a.jpg",
        "http://[::ffff:127.0.0.1]:PORT/a.jpg",
        "http://[::ffff:7f00:1]:PORT/a.jpg",
        "http://[64:ff9b::7f00:1]:PORT/a.jpg",
        "http://[2002:7f00:1::]:PORT/a.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/latest/meta-data/",
        "http://[fe80::1]/a.jpg",
        "http://10.0.0.1/a.jpg",
        "http://172.16.0.1/a.jpg",
        "http://192.168.1.1/a.jpg",
        "http://100.64.0.1/a.jpg",
        "http://224.0.1.1/a.jpg",
        "http://255.255.255.255/a.jpg",
    ],
)
def test_no_request_goes_to_a_private_address(port, tmp_path, url):
    reason, detail = reason_and_detail(url.replace("PORT", str(port)), tmp_path)
    assert reason == RejectionReason.IMAGE_URL_REFUSED, detail
    assert "private_hosts" in detail or "url_schemes" in detail
    assert not Handler.asked


@pytest.mark.parametrize(
    "target",
    [
        "http://localhost:PORT/a.jpg",
        "http://2130706433:PORT/a.jpg",
        "//localhost:PORT/a.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "https://127.0.0.1:PORT/a.jpg",
        "file:///etc/hostname",
        "ftp://127.0.0.1/a.jpg",
        "data:image/png;base64,AAAA",
        "gopher://127.0.0.1:6379/_FLUSHALL",
    ],
)
def test_no_redirect_leads_to_a_private_address_or_to_another_scheme(port, tmp_path, target):
    url = f"http://127.0.0.1:{port}/redirect?to={target}"
    reason, detail = reason_and_detail(url, tmp_path, private_hosts=("127.0.0.1",))
    assert reason == RejectionReason.IMAGE_URL_REFUSED, detail
    assert len(Handler.asked) == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://[cdn/b.jpg", "Invalid IPv6 URL"),
        ("http://exam\u2100ple.com/a.jpg", "invalid characters"),
        ("http://images.example:port/a.jpg", "port"),
        ("http://images.example:99999/a.jpg", "Port out of range"),
    ],
)
def test_what_is_no_url_is_refused_by_name_and_asked_once(tmp_path, url, message):
    reason, detail = reason_and_detail(url, tmp_path, num_retries=9)
    assert reason == RejectionReason.IMAGE_URL_REFUSED
    assert detail.startswith(f"{url}: it cannot be read as a URL (")
    assert message in detail


@pytest.mark.parametrize("place", ["", "photos", "photos/", "/a.jpg", "[photos/a.jpg", "a b/c.jpg"])
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_what_names_no_object_is_refused_without_asking(tmp_path, scheme, place):
    url = f"{scheme}://{place}"
    reason, detail = reason_and_detail(url, tmp_path, url_schemes=("s3", "gs"), num_retries=9)
    assert reason == RejectionReason.IMAGE_URL_REFUSED
    assert detail.startswith(f"{url}: {scheme}:// needs a bucket and a key")


def test_chained_url_is_told_from_one_of_another_scheme(tmp_path):
    assert "http is not among" not in reason_and_detail("http://a::file:///b", tmp_path)[1]
    assert "file is not among" in reason_and_detail("file:///b", tmp_path)[1]


@pytest.mark.parametrize("hosts", [("localhost",), ("127.0.0.1", "*")])
def test_named_host_may_be_asked(port, tmp_path, hosts):
    limits = FetchLimits(**{**vars(LIMITS), "private_hosts": hosts})
    url = f"http://localhost:{port}/a.jpg"
    fetch_images([url], tmp_path, limits)
    assert (tmp_path / fetched_path(url, tmp_path)).read_bytes() == b"secret of this machine"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("bomb", RejectionReason.IMAGE_TOO_MANY_BYTES),
        ("says-more", RejectionReason.IMAGE_NOT_FETCHED),
        ("loop", RejectionReason.IMAGE_NOT_FETCHED),
    ],
)
def test_bytes_are_counted_as_they_arrive(port, tmp_path, path, expected):
    url = f"http://127.0.0.1:{port}/{path}"
    assert reason_and_detail(url, tmp_path, private_hosts=("127.0.0.1",))[0] == expected
    assert not [name for name in (tmp_path / "fetched").iterdir() if name.suffix != ".json"]


def test_bytes_beyond_those_announced_are_not_taken(port, tmp_path):
    url = f"http://127.0.0.1:{port}/says-less"
    reason, _ = reason_and_detail(url, tmp_path, private_hosts=("127.0.0.1",))
    # Which one is a race between what was announced and the noise behind it.
    assert reason in (RejectionReason.IMAGE_TOO_MANY_BYTES, RejectionReason.IMAGE_NOT_FETCHED)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_asked(address):
    GuardedClient(("http",), (), 1.0).check_address("images.example", address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "fec0::1",
        "feff::a00:1",
        "ff02::1",
        "not an address",
        "",
    ],
)
def test_addresses_that_names_may_have_are_refused(address):
    with pytest.raises(AddressError, match=r"images\.example is at .*image_limits\.private_hosts"):
        GuardedClient(("http",), (), 1.0).check_address("images.example", address)
