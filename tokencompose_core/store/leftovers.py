"""What killed and finished runs left beside the entries, on this machine."""

import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tokencompose_core.store.content_store import LOGS, UNFINISHED, WRITING, Store
from tokencompose_core.store.removal import REMOVING
from tokencompose_core.store.scratch import alone_at_once, is_abandoned

_ROWS = "rows"
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Leftover:
    """A file or folder that nobody needs.

    Attributes:
        path: Where it lies.
        what: What it was.
        num_bytes: How large it is.
    """

    path: Path
    what: str
    num_bytes: int


def find_leftovers(
    store: Store, published: Collection[str], *, now: datetime, older_than: timedelta
) -> list[Leftover]:
    """Find what is left of work that has ended.

    That is: folders in which a process that has died wrote or removed; checkpoints of work that is
    published, after a day, or that nobody has gone on with within the age, unless a run works in
    their folder; rows of a caption set that have waited for a day; logs of trackers for outputs
    that are not there, after the age. Folders without a lock, which a file system without locks
    has, go by age too.

    Args:
        store: The store.
        published: Keys of the entries that are whole.
        now: The time.
        older_than: The age.
    """
    found = []
    for path, what in _candidates(store, published, now, older_than):
        own = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        sizes = []
        for file in own:
            with suppress(FileNotFoundError):  # whose it is has just removed it
                sizes.append(file.stat().st_size)
        found.append(Leftover(path, what, sum(sizes)))
    return found


def remove_leftover(leftover: Leftover) -> None:
    """Remove it; one that is gone already, or that a run has taken up since, is no error."""
    if leftover.path.is_dir():
        with alone_at_once(leftover.path) as alone:
            if alone:
                shutil.rmtree(leftover.path, ignore_errors=True)
    else:
        leftover.path.unlink(missing_ok=True)


def _candidates(
    store: Store, published: Collection[str], now: datetime, older_than: timedelta
) -> Iterator[tuple[Path, str]]:
    root = store.local_dir
    for prefix, what in ((WRITING, "a killed writer's"), (REMOVING, "a killed removal's")):
        for path in sorted(root.glob(f"{prefix}*")):
            if _is_abandoned(path, now, older_than):
                yield path, what
    for path in sorted(path for path in (root / UNFINISHED).glob("*") if path.is_dir()):
        if path.name == _ROWS:
            for rows in sorted(path.iterdir()):
                if rows.suffix == ".sqlite" and now - _changed(rows) > _DAY:
                    yield rows, "rows that wait for a run"
                elif rows.is_dir() and _is_abandoned(rows, now, older_than):
                    yield rows, "a killed reader's rows"
            continue
        is_published = path.name in published
        if now - _changed(path) > (_DAY if is_published else older_than) and _is_free(path):
            what = "what is published" if is_published else "work that was given up"
            yield path, f"checkpoints of {what}"
    for path in sorted((root / LOGS).glob("*")):
        if path.name not in published and now - _changed(path) > older_than:
            yield path, "logs of an output that is not there"


def _is_free(folder: Path) -> bool:
    # A run that goes on from old checkpoints changes nothing there until its own first.
    with alone_at_once(folder) as alone:
        return alone


def _is_abandoned(path: Path, now: datetime, older_than: timedelta) -> bool:
    if "locked-" in path.name:
        return is_abandoned(path)
    return now - _changed(path) > older_than


def _changed(path: Path) -> datetime:
    """When a file, or anything in a folder, last changed."""
    newest = 0.0
    for file in [path, *(path.rglob("*") if path.is_dir() else ())]:
        with suppress(FileNotFoundError):
            newest = max(newest, file.stat().st_mtime)
    return datetime.fromtimestamp(newest, UTC)
