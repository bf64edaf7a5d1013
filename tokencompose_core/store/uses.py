"""When outputs were last asked for, so that what is reused every night is not taken for old."""

import json
import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, time

from tokencompose_core.store.content_store import Store
from tokencompose_core.store.keys import canonical_json, text_digest

_LOGGER = logging.getLogger(__name__)
_FOLDER = "used"
_SINCE = "since.txt"


def record_use(store: Store, keys: Sequence[str], today: date | None = None) -> None:
    """Note that a run asks for outputs, before it looks for them.

    A note is `used/<day>/<digest of the keys>.json`, so that the same keys on the same day are one
    file: a stage of a nightly run costs one small object a day. A store that takes none is read
    nevertheless, and that is logged.

    Args:
        store: The store.
        keys: What is asked for, whether it is there or not.
        today: The day, in UTC; today, unless it is given.
    """
    today = today or datetime.now(UTC).date()
    text = canonical_json(sorted(keys))
    filesystem = store.filesystem
    day = f"{store.root}/{_FOLDER}/{today.isoformat()}"
    path = f"{day}/{text_digest(text)[:32]}.json"
    since = f"{store.root}/{_FOLDER}/{_SINCE}"
    try:
        if filesystem.exists(path):
            return
        filesystem.makedirs(day, exist_ok=True)
        if not filesystem.exists(since):
            filesystem.pipe_file(since, today.isoformat().encode())
        filesystem.pipe_file(path, text.encode())
    except OSError as error:
        _LOGGER.warning("%s cannot be written, so that uses are not noted (%s)", store.root, error)


def first_recorded(store: Store) -> date | None:
    """The day on which uses were first noted; None if none ever was."""
    try:
        text = store.filesystem.cat_file(f"{store.root}/{_FOLDER}/{_SINCE}")
        return date.fromisoformat(text.decode())
    except (FileNotFoundError, ValueError):
        return None


def last_uses(store: Store, since: date) -> dict[str, datetime]:
    """When each output was last asked for, as far as notes say: the end of that day.

    Args:
        store: The store.
        since: Earlier days are not looked at.
    """
    filesystem = store.filesystem
    uses: dict[str, datetime] = {}
    for day in sorted(_days(store)):
        if day < since:
            continue
        end = datetime.combine(day, time.max, UTC)
        for path in filesystem.ls(f"{store.root}/{_FOLDER}/{day.isoformat()}", detail=False):
            try:
                keys = json.loads(filesystem.cat_file(path))
            except (OSError, ValueError):  # just being written
                continue
            uses.update(dict.fromkeys(keys, end))
    return uses


def forget_uses(store: Store, before: date) -> None:
    """Remove the notes of earlier days."""
    for day in _days(store):
        if day < before:
            store.filesystem.rm(f"{store.root}/{_FOLDER}/{day.isoformat()}", recursive=True)


def _days(store: Store) -> list[date]:
    store.filesystem.invalidate_cache()  # of listings, which some file systems keep
    try:
        paths = store.filesystem.ls(f"{store.root}/{_FOLDER}", detail=False)
    except FileNotFoundError:
        return []
    days = []
    for path in paths:
        try:
            days.append(date.fromisoformat(path.rstrip("/").rpartition("/")[2]))
        except ValueError:
            continue
    return days
