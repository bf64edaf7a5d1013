"""Copy images from URLs to the image root, each once."""

import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

from data_schemas.redact_urls import redact_urls
from data_schemas.rejections import RejectionReason
from tokencompose_core.store.keys import text_digest
from tokencompose_core.store.map_in_threads import map_in_threads
from tokencompose_core.store.open_image import BadImageError, open_image
from tokencompose_core.store.scratch import sync

FETCHED_NAME = "fetched"
_THREADS = 8
_BLOCK = 1 << 20
_SECONDS_BETWEEN_LOOKS = 0.2
# Of a bucket, or of an access point (arn:aws:s3:...), and a key in it.
_OBJECT = re.compile(r"[\w.:-]+/.+", re.DOTALL)
_NAME = re.compile(r"[0-9a-f]{40}")
UNUSABLE = frozenset(
    {
        RejectionReason.IMAGE_EMPTY,
        RejectionReason.IMAGE_UNKNOWN_FORMAT,
        RejectionReason.IMAGE_UNREADABLE,
    }
)
"""Reasons for which a file is left out that another answer of its server may mend."""


@dataclass(frozen=True)
class FetchLimits:
    """What may be read from a URL.

    Attributes:
        url_schemes: Kinds of URL: "https", "s3".
        max_bytes: Most bytes of an image.
        timeout_seconds: Longest time that one attempt may take.
        num_retries: Attempts after the first.
        private_hosts: Hosts that may be asked whatever their addresses are; see `GuardedClient`.
    """

    url_schemes: tuple[str, ...]
    max_bytes: int
    timeout_seconds: float
    num_retries: int
    private_hosts: tuple[str, ...] = ()


class FetchError(ValueError):
    """A URL that gave no image, and the reason under which it is left out."""

    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(redact_urls(detail))
        self.reason = reason


def fetch_images(
    urls: Iterable[str],
    images_dir: Path,
    limits: FetchLimits,
    on_image: Callable[[int], None] = lambda count: None,
) -> None:
    """Copy what is not there yet to `fetched/` below the image root.

    A URL stands for one content: what was copied is not asked for again. One that failed leaves a
    note beside it, which `fetched_path` reads, and is tried again the next time. Whoever is
    interrupted waits for no server: attempts that have begun are given up.

    Args:
        urls: URLs of images, each once.
        images_dir: The image root.
        limits: What may be read.
        on_image: Told of every URL that was copied, was there already or failed.

    Raises:
        ValueError: If a package that fsspec needs for a URL is not installed.
    """
    stopped = threading.Event()

    def fetch(url: str) -> None:
        path = images_dir / _place(url)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            _fetch(url, path, limits, stopped)

    for _ in map_in_threads(fetch, urls, _THREADS, stopped):
        on_image(1)


def fetched_path(url: str, images_dir: Path) -> str:
    """Where the image behind a URL lies, relative to the image root.

    Raises:
        FetchError: If it could not be copied, with the reason.
    """
    place = _place(url)
    if (images_dir / place).is_file():
        return place
    try:
        note = json.loads(_note(images_dir / place).read_text("utf-8"))
    except FileNotFoundError:
        note = {"reason": RejectionReason.IMAGE_NOT_FETCHED, "detail": f"{url}: was not copied"}
    raise FetchError(RejectionReason(note["reason"]), note["detail"])


def forget_unusable(names: Iterable[str], images_dir: Path) -> list[str]:
    """Remove copies that are no image, so that their URLs are asked again.

    What was fetched is kept for ever otherwise, and a server may have answered with a page that
    said it was down. Copies stay that can be decoded, or that the disk does not give just now.

    Args:
        names: Names of files; what is no copy is passed over.
        images_dir: The image root.

    Returns:
        The names of what was removed.
    """
    forgotten = []
    for name in sorted(set(names)):
        path = images_dir / FETCHED_NAME / name
        if not _NAME.fullmatch(name) or not path.is_file():
            continue
        try:
            open_image(path)
        except BadImageError as error:
            if error.reason in UNUSABLE:
                path.unlink(missing_ok=True)
                forgotten.append(name)
        except OSError:
            continue
    return forgotten


def _place(url: str) -> str:
    return f"{FETCHED_NAME}/{text_digest(url)[:40]}"


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.failed.json")


def _fetch(url: str, path: Path, limits: FetchLimits, stopped: threading.Event) -> None:
    try:
        content = _read_again_and_again(url, limits, stopped)
    except FetchError as error:
        note = {"reason": error.reason, "detail": redact_urls(f"{url}: {error}")}
        _write_whole(_note(path), json.dumps(note).encode("utf-8"))
        return
    _write_whole(path, content)
    _note(path).unlink(missing_ok=True)


def _write_whole(path: Path, content: bytes) -> None:
    # Processes in two containers may have one number, and write below one image root.
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(content)
        sync(part)  # or a power cut may leave the name without the bytes, for ever
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _read_again_and_again(url: str, limits: FetchLimits, stopped: threading.Event) -> bytes:
    scheme = url.partition("://")[0].lower()
    schemes = f"url_schemes = {list(limits.url_schemes)}"
    if scheme not in limits.url_schemes:
        raise FetchError(RejectionReason.IMAGE_URL_REFUSED, f"{scheme} is not among {schemes}")
    # "::" chains file systems in fsspec, and the first one named is not the one that is read.
    if "::" in url:
        detail = f"'::' in it may lead fsspec to others than {schemes}; give a URL without"
        raise FetchError(RejectionReason.IMAGE_URL_REFUSED, detail)
    attempt = 0
    while True:
        try:
            return _within(url, scheme, limits, stopped)
        except (FetchError, FileNotFoundError, PermissionError) as error:
            if isinstance(error, FetchError):
                raise
            raise FetchError(RejectionReason.IMAGE_NOT_FETCHED, _say(error)) from error
        except ImportError as error:
            raise ValueError(
                f"{redact_urls(url)}: fsspec needs a package for {scheme} ({error})"
            ) from error
        except Exception as error:  # every file system of fsspec raises errors of its own
            if attempt == limits.num_retries:
                timed_out = isinstance(error, TimeoutError)
                reason = (
                    RejectionReason.IMAGE_TIMEOUT
                    if timed_out
                    else RejectionReason.IMAGE_NOT_FETCHED
                )
                detail = f"no answer in {limits.timeout_seconds:g} s" if timed_out else _say(error)
                raise FetchError(reason, f"{detail}, tried {attempt + 1} times") from error
        if stopped.wait(min(2.0**attempt, 30.0) * 0.5):
            raise KeyboardInterrupt
        attempt += 1


def _within(url: str, scheme: str, limits: FetchLimits, stopped: threading.Event) -> bytes:
    """Read in a thread that nobody waits for: not every file system has a timeout of its own."""
    result: Future[bytes] = Future()

    def work() -> None:
        try:
            result.set_result(_read(url, scheme, limits))
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    deadline = time.monotonic() + limits.timeout_seconds
    while not result.done() and (left := deadline - time.monotonic()) > 0:
        if stopped.is_set():
            raise KeyboardInterrupt
        wait([result], timeout=min(left, _SECONDS_BETWEEN_LOOKS))
    return result.result(timeout=0)


def _read(url: str, scheme: str, limits: FetchLimits) -> bytes:
    if scheme in ("http", "https"):
        return _read_http(url, scheme, limits)
    if scheme in ("s3", "gs") and not _OBJECT.fullmatch(url.partition("://")[2]):
        detail = f"{scheme}:// needs a bucket and a key, {scheme}://photos/a.jpg; mend it"
        raise FetchError(RejectionReason.IMAGE_URL_REFUSED, detail)
    with fsspec.filesystem(scheme).open(url, "rb") as stream:
        return _read_stream(stream, limits.max_bytes)


def _read_http(url: str, scheme: str, limits: FetchLimits) -> bytes:
    # Imported here: fsspec needs the package for these schemes alone.
    import aiohttp

    from tokencompose_core.selection.guarded_client import AddressError, GuardedClient

    client = GuardedClient(limits.url_schemes, limits.private_hosts, limits.timeout_seconds)
    # http is read as it comes: a server need not know ranges or say a length. fsspec would ask for
    # the size first, unless there is one, and then takes a busy server's answer for a missing file.
    try:
        filesystem = fsspec.filesystem(scheme, get_client=client)
        _check_url(filesystem, url)
        with filesystem.open(url, "rb", block_size=0, size=1) as stream:
            return _read_stream(stream, limits.max_bytes)
    except AddressError as error:
        raise FetchError(RejectionReason.IMAGE_URL_REFUSED, str(error)) from error
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        # Such as 2130706433, which would mean 127.0.0.1, or a redirect to a file.
        detail = f"{_say(error)}; give a plain URL of url_schemes = {list(limits.url_schemes)}"
        raise FetchError(RejectionReason.IMAGE_URL_REFUSED, detail) from error


def _check_url(filesystem: Any, url: str) -> None:
    """Refuse what is no URL, such as `https://[cdn/a.jpg`, before it is asked again and again."""
    try:
        filesystem.encode_url(url)
    except ValueError as error:
        detail = f"it cannot be read as a URL ({error}); mend it"
        raise FetchError(RejectionReason.IMAGE_URL_REFUSED, detail) from error


def _read_stream(stream: BinaryIO, max_bytes: int) -> bytes:
    content = bytearray()
    while block := stream.read(_BLOCK):
        content += block
        if len(content) > max_bytes:
            raise FetchError(
                RejectionReason.IMAGE_TOO_MANY_BYTES, f"more than max_bytes = {max_bytes}"
            )
    if not content:  # some servers answer so while something behind them is down
        raise FetchError(RejectionReason.IMAGE_EMPTY, "no bytes")
    return bytes(content)


def _say(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
