"""Which store a process works on."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from tokencompose_core.store.content_store import Store
from tokencompose_core.store.digest_cache import DigestCache
from tokencompose_core.store.keys import file_digest
from tokencompose_core.store.store_error import StoreError
from tokencompose_core.store.uses import record_use

__all__ = ["StoreError", "note_use", "open_digests", "open_store", "store_of_flow", "store_url"]

_URL_OF_FLOW: ContextVar[str] = ContextVar("url_of_flow", default="")


def store_url() -> str:
    """Where outputs lie: `TOKENCOMPOSE_STORE`, by default `.tokencompose` in the working directory.

    In a task it is the store of the flow that submitted it, which may run on another machine.
    """
    url = _URL_OF_FLOW.get() or os.environ.get("TOKENCOMPOSE_STORE") or ".tokencompose"
    # A worker's working directory is another one, and no shell reads the settings of one.
    return url if "://" in url else str(Path(url).expanduser().absolute())


@contextmanager
def store_of_flow(url: str) -> Iterator[None]:
    """Work on the store of the flow, if it has said which."""
    token = _URL_OF_FLOW.set(url)
    try:
        yield
    finally:
        _URL_OF_FLOW.reset(token)


def open_store() -> Store:
    """The store of this process, or in a task that of its flow.

    `TOKENCOMPOSE_STORE_CHECK` says how outputs are checked before they are believed: `digest`, the
    default, reads every file, and `size` looks at lengths only. `TOKENCOMPOSE_CACHE` is the folder
    on this machine where a remote store keeps copies and checkpoints.

    Raises:
        ValueError: If the check is neither.
    """
    check = os.environ.get("TOKENCOMPOSE_STORE_CHECK", "digest")
    if check not in ("digest", "size"):
        raise ValueError(f"TOKENCOMPOSE_STORE_CHECK is {check!r}, but it takes digest or size")
    cache = os.environ.get("TOKENCOMPOSE_CACHE")
    return Store(
        store_url(),
        check="digest" if check == "digest" else "size",
        cache_dir=Path(cache).expanduser().absolute() if cache else None,
    )


def note_use(keys: Sequence[str]) -> None:
    """Say that a run asks for outputs, before it looks for them; `gc` then leaves them alone."""
    record_use(open_store(), keys)


@contextmanager
def open_digests() -> Iterator[Callable[[Path], str]]:
    """Digests of files outside the store, remembered from run to run.

    `TOKENCOMPOSE_DIGEST_CACHE=off` has every file read every time.

    Raises:
        ValueError: If the setting is neither `on`, the default, nor `off`.
    """
    setting = os.environ.get("TOKENCOMPOSE_DIGEST_CACHE", "on")
    if setting not in ("on", "off"):
        raise ValueError(f"TOKENCOMPOSE_DIGEST_CACHE is {setting!r}, but it takes on or off")
    if setting == "off":
        yield file_digest
        return
    with DigestCache(open_store().digests_path) as cache:
        yield cache.digest
