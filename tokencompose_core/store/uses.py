"""When outputs were last asked for, so that what is reused every night is not taken for old."""

import json
import logging
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TypeVar

from tokencompose_core.store.content_store import Store
from tokencompose_core.store.keys import canonical_json, text_digest
from tokencompose_core.store.object_stores import has_folders
from tokencompose_core.store.store_error import StoreError, explain_failures

Parsed = TypeVar("Parsed")

_LOGGER = logging.getLogger(__name__)
_FOLDER = "used"
_SINCE = "since.txt"
_NOTE = ".json"


def record_use(store: Store, keys: Sequence[str], today: date | None = None) -> None:
    """Note that a run asks for outputs, before it looks for them.

    A note is `used/<day>/<digest of the keys>.json`, so that the same keys on the same day are one
    file: a stage of a nightly run costs one small object a day. A store that takes none is read
    nevertheless, and that is logged. What a full disk left of a note is written again.

    Args:
        store: The store.
        keys: What is asked for, whether it is there or not.
        today: The day, in UTC; today, unless it is given.
    """
    today = today or datetime.now(UTC).date()
    text = canonical_json(sorted(keys))
    path = f"{store.root}/{_FOLDER}/{today.isoformat()}/{text_digest(text)[:32]}{_NOTE}"
    since = f"{store.root}/{_FOLDER}/{_SINCE}"
    try:
        with explain_failures(store.url, "written"):
            if _read(store, since, date.fromisoformat) is None:
                _write(store, since, min([today, *_days(store)]).isoformat())
            if _read(store, path, _keys) is None:
                _write(store, path, text)
    except StoreError as error:
        _LOGGER.warning("uses are not noted: %s", error)


def first_recorded(store: Store) -> date | None:
    """The day on which uses were first noted; None if none ever was.

    Raises:
        StoreError: If the store cannot be read.
    """
    with explain_failures(store.url, "read"):
        since = _read(store, f"{store.root}/{_FOLDER}/{_SINCE}", date.fromisoformat)
        # If that file was lost or left empty, the days that have notes tell it too.
        return since or min(_days(store), default=None)


def last_uses(
    store: Store, since: date, known: dict[str, list[str]] | None = None
) -> dict[str, datetime]:
    """When each output was last asked for, as far as notes say: the end of that day.

    Args:
        store: The store.
        since: Earlier days are not looked at.
        known: Notes that were read before, by path, for whoever asks many times; it grows.

    Raises:
        StoreError: If the store cannot be read.
    """
    known = {} if known is None else known
    uses: dict[str, datetime] = {}
    with explain_failures(store.url, "read"):
        for day in sorted(_days(store)):
            if day < since:
                continue
            end = datetime.combine(day, time.max, UTC)
            for path in _list(store, f"{_FOLDER}/{day.isoformat()}"):
                if path not in known and path.endswith(_NOTE):
                    keys = _read(store, path, _keys)
                    if keys is None:  # a full disk left it; it is written again
                        continue
                    known[path] = keys
                uses.update(dict.fromkeys(known.get(path, ()), end))
    return uses


def forget_uses(store: Store, before: date) -> None:
    """Remove the notes of earlier days.

    Raises:
        StoreError: If the store cannot be written.
    """
    with explain_failures(store.url, "written"):
        for day in _days(store):
            if day < before:
                with suppress(FileNotFoundError):  # somebody has just removed it
                    store.filesystem.rm(f"{store.root}/{_FOLDER}/{day.isoformat()}", recursive=True)


def _days(store: Store) -> list[date]:
    store.filesystem.invalidate_cache()  # of listings, which some file systems keep
    days = []
    for path in _list(store, _FOLDER):
        with suppress(ValueError):
            days.append(date.fromisoformat(path.rstrip("/").rpartition("/")[2]))
    return days


def _list(store: Store, folder: str) -> list[str]:
    try:
        return list(store.filesystem.ls(f"{store.root}/{folder}", detail=False))
    except FileNotFoundError:
        return []


def _keys(text: str) -> list[str]:
    keys = json.loads(text)
    if not isinstance(keys, list):
        raise ValueError(f"a note holds keys, and no {type(keys).__name__}")
    return [str(key) for key in keys]


def _read(store: Store, path: str, parse: Callable[[str], Parsed]) -> Parsed | None:
    """What a file says; None if there is no such file, or if it says nothing that can be read."""
    try:
        return parse(store.filesystem.cat_file(path).decode("utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _write(store: Store, path: str, text: str) -> None:
    """Write a file whole or not at all, as an object store does by itself."""
    if store.is_local:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
        try:
            part.write_text(text, "utf-8")
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return
    if has_folders(store.filesystem):
        store.filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
    store.filesystem.pipe_file(path, text.encode("utf-8"))
