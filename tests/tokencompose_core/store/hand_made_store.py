"""Stores with small entries of chosen ages and inputs."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from data_schemas.manifest import Manifest
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.keys import make_key
from tokencompose_core.store.survey import Entry, survey
from tokencompose_core.store.uses import record_use

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LONG_AGO = date(2020, 1, 1)


def key_of(name: str, stage: str = "mask") -> str:
    return make_key(stage, 1, {"name": name})


def start_notes(store: Store) -> None:
    """Have uses noted since long ago."""
    record_use(store, [], LONG_AGO)


def publish(
    store: Store,
    name: str,
    *,
    days: float = 100,
    stage: str = "mask",
    inputs: Mapping[str, str] | None = None,
) -> Manifest:
    """An entry that was made so many days before `NOW`."""

    def write(folder: Path) -> dict:
        (folder / "a.txt").write_text(f"content of {name}")
        (folder / "model").mkdir()
        (folder / "model/b.bin").write_bytes(name.encode())
        return {"num_in": 2, "num_out": 1}

    created = (NOW - timedelta(days=days)).isoformat()
    return store.publish(
        key_of(name, stage),
        stage,
        write,
        inputs=dict(inputs or {}),
        parts={"name": name},
        provenance={"created": created},
    )


def publish_chain(store: Store, *names: str, days: float = 100) -> list[Manifest]:
    """Entries each of which was made from the one before."""
    made: list[Manifest] = []
    for name in names:
        made.append(publish(store, name, days=days, inputs={m.key: m.digest for m in made[-1:]}))
    return made


def entries_of(store: Store) -> dict[str, Entry]:
    return {entry.key: entry for entry in survey(store)}
