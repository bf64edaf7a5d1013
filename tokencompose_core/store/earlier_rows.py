"""Rows of earlier outputs of a stage, for the same samples and settings."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from data_schemas.manifest import Manifest
from data_schemas.rejections import Rejection
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.explain import settings_of
from tokencompose_core.store.history import History
from tokencompose_core.store.keys import canonical_json, text_digest
from tokencompose_core.store.left_out import read_left_out
from tokencompose_core.store.map_in_threads import map_in_threads
from tokencompose_core.store.store_error import StoreError, explain_failures
from tokencompose_core.store.tables import RecordType, read_rows_of


@dataclass(frozen=True)
class RowTable:
    """The table of a stage each of whose rows follows from one row of its input.

    Attributes:
        name: Its file in an output of the stage.
        decided_by: The columns that the stage reads, by their paths in Parquet: all that decides a
            row, beside settings. The input has them, and the output repeats them.
    """

    name: str
    decided_by: tuple[str, ...]


@dataclass
class TakenRows(Generic[RecordType]):
    """What a task need not compute.

    Attributes:
        rows: Rows of earlier outputs, by sample key.
        sources: How many of them come from each earlier output, by its key.
        rejections: What the earlier outputs left out of these samples.
    """

    rows: dict[str, RecordType] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says about it; nothing, if all was computed."""
        if not self.sources:
            return {}
        return {"rows_taken_over": len(self.rows), "taken_over_from": self.sources}


def read_questions(store: Store, key: str, name: str, table: RowTable) -> dict[str, str]:
    """What decides each row of a table, as a digest by sample key.

    Args:
        store: Where the table lies; only the columns in question are read.
        key: The output that holds it, of the stage or of the one before.
        name: Its file.
        table: Which columns.

    Returns:
        Nothing if the file is gone, cannot be read, or lacks a column.
    """
    columns = ["key", *table.decided_by]
    with explain_failures(store.url, "read"):
        try:
            with store.filesystem.open(f"{store.root}/{key}/{name}", "rb") as stream:
                file = pq.ParquetFile(stream)
                paths = {file.schema.column(number).path for number in range(len(file.schema))}
                # What a file lacks, Parquet passes over: rows would seem equal that are not.
                if not paths.issuperset(columns):
                    return {}
                rows = file.read(columns=columns).to_pylist()
        except (OSError, pa.ArrowException):
            return {}
    return {row.pop("key"): text_digest(canonical_json(row)) for row in rows}


def has_settings(manifest: Manifest, parts: Mapping[str, Any], digests: Iterable[str]) -> bool:
    """Whether an output of the same stage and version differs in its input at most.

    Args:
        manifest: The earlier output.
        parts: What decides the new one.
        digests: Of the new one's inputs.
    """
    ours = settings_of(manifest.stage, parts, set(digests), {})
    theirs = settings_of(manifest.stage, manifest.parts, set(manifest.inputs.values()), {})
    return bool(manifest.parts) and canonical_json(ours) == canonical_json(theirs)


def earlier_outputs(
    store: Store, prefix: str, keys: Iterable[str], suits: Callable[[Manifest], bool]
) -> list[Manifest]:
    """Outputs that may hold rows of a set, the newest first.

    Args:
        store: Where they lie.
        prefix: What their keys begin with: stage and version.
        keys: Of all outputs of the set. Those that are there are taken as they are, so the others
            lack none of their samples.
        suits: Whether an output was made with the same settings.
    """
    own = set(keys)
    history = History(store, lambda key: key.startswith(prefix) and key not in own)
    with explain_failures(store.url, "read"):
        newest_first = reversed(history.manifests.values())
    return [manifest for manifest in newest_first if suits(manifest)]


def find_rows(
    store: Store, table: RowTable, outputs: Sequence[Manifest], wanted: Mapping[str, str]
) -> dict[str, str]:
    """Which output holds the row of each sample.

    Each output is read once, so the cost is linear in the rows of all of them.

    Args:
        store: Where they lie.
        table: The table of their stage.
        outputs: Where to look; of several that hold a row the first counts.
        wanted: What decides each sample's row, see `read_questions`.

    Returns:
        Keys of outputs by those of samples, without samples that no output holds.
    """
    left = dict(wanted)
    found: dict[str, str] = {}

    def read(manifest: Manifest) -> tuple[str, dict[str, str]]:
        return manifest.key, read_questions(store, manifest.key, table.name, table)

    for key, questions in map_in_threads(read, outputs):
        for sample, question in questions.items():
            if left.get(sample) == question:
                found[sample] = key
                del left[sample]
        if not left:
            break
    return found


def take_rows(
    store: Store,
    table: RowTable,
    keys: Iterable[str],
    wanted: Mapping[str, str],
    suits: Callable[[Manifest], bool],
    record_type: type[RecordType],
) -> TakenRows[RecordType]:
    """Read the rows of samples from earlier outputs.

    An output that is gone or damaged by now is passed over.

    Args:
        store: Where they lie.
        table: The table of their stage.
        keys: The outputs.
        wanted: What decides each sample's row, see `read_questions`.
        suits: Whether an output was made with the same settings.
        record_type: Of the rows.
    """
    taken: TakenRows[RecordType] = TakenRows()
    for key in keys:
        manifest = store.find(key)
        if manifest is None or table.name not in manifest.names() or not suits(manifest):
            continue
        questions = read_questions(store, key, table.name, table)
        same = {
            sample
            for sample, question in wanted.items()
            if sample not in taken.rows and questions.get(sample) == question
        }
        try:
            found = read_rows_of(store.path(manifest, table.name), same)
            rows = {row["key"]: record_type.model_validate(row) for row in found}
            lost = read_left_out(store, [manifest])
        except StoreError:
            raise
        except (OSError, pa.ArrowException, ValidationError):
            continue
        taken.rows |= rows
        if rows:
            taken.sources[key] = len(rows)
        taken.rejections += [rejection for rejection in lost if rejection.key in rows]
    return taken
