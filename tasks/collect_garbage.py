"""Remove from the store what nothing refers to, or say what that would be."""

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from prefect.artifacts import create_markdown_artifact
from pydantic import BaseModel, ConfigDict

from data_schemas.configs.operate_config import GcConfig
from data_schemas.stages import STAGES
from tasks.progress import STOP, Progress
from tasks.sizes import format_bytes
from tasks.stage import open_store
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.leftovers import find_leftovers, remove_leftover
from tokencompose_core.store.removal import remove_entries
from tokencompose_core.store.survey import Condition, Entry, list_keys, look_at, survey
from tokencompose_core.store.unreferenced import Choice, Why, choose, last_used, with_inputs
from tokencompose_core.store.uses import first_recorded, forget_uses, last_uses

COLUMNS = ("stage", "kept", "size", "unreferenced", "broken", "size")
_REMOVED_AT_ONCE = 64
_MOST_KEYS_SHOWN = 200


class StageGarbage(BaseModel):
    """The outputs of a stage, by what becomes of them.

    Attributes:
        stage: Its name; of leftovers, what they were.
        kept: How many stay.
        kept_bytes: How large these are.
        unreferenced: How many go because nothing refers to them.
        broken: How many go because no run would believe them.
        num_bytes: How large those that go are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    kept: int
    kept_bytes: int
    unreferenced: int
    broken: int
    num_bytes: int


class Garbage(BaseModel):
    """What `gc` found, and removed if it was told to.

    Attributes:
        deleted: Whether it was removed.
        older_than_days: The age.
        stages: Entries, by stage.
        leftovers: What killed and finished runs left beside the entries, by kind.
        kept_because: How many entries are kept as young, pinned, or needed by such.
        going: The first keys of those that go, or went.
        spared: How many a run asked for while they were about to be removed; they stayed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    deleted: bool
    older_than_days: int
    stages: list[StageGarbage]
    leftovers: list[StageGarbage]
    kept_because: dict[str, int]
    going: list[str]
    spared: int = 0


def collect_garbage(config: GcConfig, now: datetime | None = None) -> Garbage:
    """Find what nothing refers to, and remove it if the config says so.

    Args:
        config: The age, what is pinned, and whether to remove.
        now: The time, if it is not now.

    Raises:
        ValueError: If a key that is to be kept is not in the store, or a stage is not there and no
            stage of the project either.
        StoreError: If the store does not answer, so that nobody knows what is in it.
    """
    STOP.clear()  # of a flow that was interrupted before, in the same process
    store, now = open_store(), now or datetime.now(UTC)
    older_than = timedelta(days=config.older_than_days)
    with Progress("gc", len(list_keys(store)), "entries") as progress:
        entries = {entry.key: entry for entry in survey(store, on_entry=progress.advance)}
    unknown = [key for key in config.keep if key not in entries]
    if unknown:
        raise ValueError(f"keep: the store {store.root} has no {', '.join(unknown)}")
    stages = {entry.stage for entry in entries.values()} | {*STAGES}
    unknown = [stage for stage in config.keep_stages if stage not in stages]
    if unknown:
        raise ValueError(
            f"keep_stages: there is no stage {', '.join(unknown)}, but {', '.join(sorted(stages))}"
        )
    # A day more, since the notes of a day count until its end.
    uses = last_uses(store, (now - older_than).date())
    choice = choose(
        entries,
        last_used(entries.values(), uses, first_recorded(store)),
        now=now,
        older_than=older_than,
        keep_stages=config.keep_stages,
        keep=config.keep,
    )
    whole = {key for key, entry in entries.items() if entry.condition is Condition.WHOLE}
    leftovers = find_leftovers(store, whole - set(choice.to_remove), now=now, older_than=older_than)
    spared = 0
    if config.delete:
        spared = len(choice.to_remove) - _remove(store, entries, choice, now)
        for leftover in leftovers:
            remove_leftover(leftover)
        forget_uses(store, (now - older_than).date())
    kinds: dict[str, list[int]] = {}
    for leftover in leftovers:
        kinds.setdefault(leftover.what, []).append(leftover.num_bytes)
    return Garbage(
        deleted=config.delete,
        older_than_days=config.older_than_days,
        stages=_count(entries, choice),
        leftovers=[
            StageGarbage(
                stage=what,
                kept=0,
                kept_bytes=0,
                unreferenced=len(sizes),
                broken=0,
                num_bytes=sum(sizes),
            )
            for what, sizes in sorted(kinds.items())
        ],
        kept_because=dict(
            Counter(str(w) for w in choice.why.values() if w not in (Why.UNREFERENCED, Why.BROKEN))
        ),
        going=choice.to_remove[:_MOST_KEYS_SHOWN],
        spared=spared,
    )


def _remove(store: Store, entries: Mapping[str, Entry], choice: Choice, now: datetime) -> int:
    """Remove entries in their order, some at a time; those that a run asks for meanwhile stay.

    Returns:
        How many were removed.
    """
    broken = {key for key, why in choice.why.items() if why is Why.BROKEN}

    notes: dict[str, list[str]] = {}

    def in_use() -> Collection[str]:
        asked_for = last_uses(store, now.date(), notes)
        return (with_inputs(entries, asked_for) - broken) | asked_for.keys()

    removed = 0
    with Progress("remove", len(choice.to_remove), "entries") as progress:
        for start in range(0, len(choice.to_remove), _REMOVED_AT_ONCE):
            batch = [
                key
                for key in choice.to_remove[start : start + _REMOVED_AT_ONCE]
                if key not in broken or not _is_whole(store, key)
            ]
            removed += len(remove_entries(store, batch, in_use))
            progress.advance(min(_REMOVED_AT_ONCE, len(choice.to_remove) - start))
    return removed


def _is_whole(store: Store, key: str) -> bool:
    """Whether a broken entry has been made anew meanwhile, or looked broken but is not."""
    entry = look_at(store, key)
    return entry is not None and entry.condition is Condition.WHOLE


def _count(entries: Mapping[str, Entry], choice: Choice) -> list[StageGarbage]:
    stages = []
    for stage in sorted({entry.stage for entry in entries.values()}):
        own = [(entry, choice.why[key]) for key, entry in entries.items() if entry.stage == stage]
        kept = [e for e, why in own if why not in (Why.UNREFERENCED, Why.BROKEN)]
        stages.append(
            StageGarbage(
                stage=stage,
                kept=len(kept),
                kept_bytes=sum(entry.num_bytes for entry in kept),
                unreferenced=sum(why is Why.UNREFERENCED for _, why in own),
                broken=sum(why is Why.BROKEN for _, why in own),
                num_bytes=sum(e.num_bytes for e, _ in own) - sum(e.num_bytes for e in kept),
            )
        )
    return stages


def garbage_rows(found: Garbage) -> list[tuple[str, ...]]:
    """The cells of the table, one row for every stage and kind of leftover."""
    return [
        (
            row.stage,
            str(row.kept),
            format_bytes(row.kept_bytes),
            str(row.unreferenced),
            str(row.broken),
            format_bytes(row.num_bytes),
        )
        for row in [*found.stages, *found.leftovers]
    ]


def garbage_line(found: Garbage) -> str:
    """All of it in one sentence."""
    rows = [*found.stages, *found.leftovers]
    count = sum(row.unreferenced + row.broken for row in rows) - found.spared
    size = format_bytes(sum(row.num_bytes for row in rows))
    kept = ", ".join(f"{number} {why}" for why, number in sorted(found.kept_because.items()))
    spared = (
        f" {found.spared} were asked for by a run meanwhile, and stayed." if found.spared else ""
    )
    verb = "Removed" if found.deleted else "Would remove"
    return (
        f"{verb} {count} outputs and leftovers, {size}, older than {found.older_than_days} days."
        f" Kept: {kept or 'nothing'}.{spared}"
        + ("" if found.deleted else ' Nothing was changed; {"delete": true} removes them.')
    )


def publish_garbage(found: Garbage) -> Garbage:
    """Publish what was found as one artifact of the flow run.

    Returns:
        The same.
    """
    lines = ["# gc", "", garbage_line(found), "", f"| {' | '.join(COLUMNS)} |"]
    lines += ["|---" * len(COLUMNS) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in garbage_rows(found)]
    lines += ["", *(f"- `{key}`" for key in found.going)]
    create_markdown_artifact(key="gc", markdown="\n".join(lines), description="gc")
    return found
