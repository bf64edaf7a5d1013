"""Which entries of a store nothing refers to any more."""

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from tokencompose_core.store.survey import LONGEST_UPLOAD, Condition, Entry


class Why(StrEnum):
    """Why an entry is kept, or goes."""

    YOUNG = "young"
    PINNED = "pinned"
    NEEDED = "needed"
    UNREFERENCED = "unreferenced"
    BROKEN = "broken"


@dataclass(frozen=True)
class Choice:
    """What becomes of the entries of a store.

    Attributes:
        why: Of each entry.
        to_remove: Keys of those that go: each before what it was made from.
    """

    why: Mapping[str, Why]
    to_remove: list[str]


def last_used(
    entries: Iterable[Entry], uses: Mapping[str, datetime], recorded_since: date | None
) -> dict[str, datetime]:
    """When each entry was made or last asked for, whichever is later.

    What is older than the notes of uses counts as used on the day of the first note, and so does
    an entry of which nobody knows when it was made. Where there are no notes, that day is still to
    come.

    Args:
        entries: The entries.
        uses: When they were asked for, as far as that was noted.
        recorded_since: The day of the first note.
    """
    first = datetime.max.replace(tzinfo=UTC)
    if recorded_since is not None:
        first = datetime.combine(recorded_since, time.max, UTC)
    used = {}
    for entry in entries:
        known = entry.made if entry.made is not None and entry.made > first else first
        used[entry.key] = max(known, uses.get(entry.key, known))
    return used


def choose(
    entries: Mapping[str, Entry],
    used: Mapping[str, datetime],
    *,
    now: datetime,
    older_than: timedelta,
    keep_stages: Collection[str] = (),
    keep: Collection[str] = (),
) -> Choice:
    """Say of every entry whether it is kept.

    Kept is what was made or asked for within the age, what is pinned, and whatever any of it was
    made from, directly or not. Broken entries that are not pinned go a day after they were written
    or asked for, whatever refers to them, for no run believes them; what they were made from is
    kept all the same.

    Args:
        entries: All entries, by key.
        used: When each was made or last asked for.
        now: The time.
        older_than: The age.
        keep_stages: Stages whose outputs are pinned.
        keep: Keys that are pinned.
    """
    why: dict[str, Why] = {}
    for key, entry in entries.items():
        if key in keep or entry.stage in keep_stages:
            why[key] = Why.PINNED
        elif used[key] > now - older_than:
            why[key] = Why.YOUNG
    for key in with_inputs(entries, why):
        why.setdefault(key, Why.NEEDED)
    for key, entry in entries.items():
        is_old = used[key] < now - LONGEST_UPLOAD
        if entry.condition is not Condition.WHOLE and is_old and why.get(key) is not Why.PINNED:
            why[key] = Why.BROKEN
        why.setdefault(key, Why.UNREFERENCED)
    going = {key for key, reason in why.items() if reason in (Why.UNREFERENCED, Why.BROKEN)}
    return Choice(why, _dependents_first(entries, going))


def with_inputs(entries: Mapping[str, Entry], keys: Iterable[str]) -> set[str]:
    """Entries and everything that they were made from, as far as it is there."""
    found: set[str] = set()
    waiting = [key for key in keys if key in entries]
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting += [name for name in entries[key].inputs if name in entries]
    return found


def _dependents_first(entries: Mapping[str, Entry], going: Collection[str]) -> list[str]:
    """An order in which each stands before its inputs, so that no lineage breaks half-way."""
    waiting_for = Counter(
        name for key in going for name in entries[key].inputs if name in going and name != key
    )
    ready = deque(sorted(key for key in going if not waiting_for[key]))
    order = []
    while ready:
        key = ready.popleft()
        order.append(key)
        for name in entries[key].inputs:
            if name in waiting_for and name != key:
                waiting_for[name] -= 1
                if waiting_for[name] == 0:
                    ready.append(name)
    return order + sorted(set(going) - set(order))  # a circle, which no run makes
