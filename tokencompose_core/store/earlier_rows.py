"""Rows of earlier outputs of a stage that answer what is asked again, with the same settings."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Generic

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from data_schemas.manifest import Manifest
from data_schemas.records import QUESTION_SCHEMA, AnsweredQuestion
from data_schemas.rejections import Rejection
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.explain import settings_of
from tokencompose_core.store.history import History
from tokencompose_core.store.keys import canonical_json, text_digest
from tokencompose_core.store.map_in_threads import map_in_threads
from tokencompose_core.store.rejections import REJECTIONS_NAME
from tokencompose_core.store.store_error import explain_failures
from tokencompose_core.store.tables import RecordType, read_rows_of, read_table, write_table

QUESTIONS_NAME = "questions.parquet"


@dataclass(frozen=True)
class RowTable:
    """The table of a stage each of whose rows follows from one row of its input.

    Attributes:
        name: Its file in an output of the stage.
        decided_by: The columns of the input that decide a row, by their paths in Parquet: all that
            the stage's model sees, beside settings. Neither key nor path of the image is among
            them, so a sample that is called otherwise by now is the same.
    """

    name: str
    decided_by: tuple[str, ...]


@dataclass
class TakenRows(Generic[RecordType]):
    """What a task need not compute, by the keys of the samples that ask.

    Attributes:
        questions: What decides each row, of all samples of the task.
        rows: Rows of earlier outputs; their own keys and paths are those of the samples then.
        left_out: Samples of which earlier outputs have no row.
        rejections: What earlier outputs left out of these samples.
        sources: How many samples were looked up in each earlier output, by its key.
    """

    questions: dict[str, str] = field(default_factory=dict)
    rows: dict[str, RecordType] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    rejections: dict[str, list[Rejection]] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)

    def __contains__(self, sample: str) -> bool:
        return sample in self.rows or sample in self.left_out

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says about it; nothing, if all was computed."""
        if not self.sources:
            return {}
        return {"rows_taken_over": sum(self.sources.values()), "taken_over_from": self.sources}

    def write_questions(self, folder: Path, answered: Collection[str]) -> None:
        """Write which questions an output answers, for runs to come.

        Args:
            folder: Folder of the output.
            answered: Samples that went through the model, now or earlier.
        """
        rows = [
            AnsweredQuestion(key=sample, question=question)
            for sample, question in self.questions.items()
            if sample in answered
        ]
        write_table(folder / QUESTIONS_NAME, rows, QUESTION_SCHEMA)


def read_columns(
    file: BinaryIO, columns: Sequence[str], *, all_or_nothing: bool = True
) -> dict[str, dict[str, Any]]:
    """Some columns of a table of samples, by the samples' keys.

    Args:
        file: The open Parquet file; no other column is read.
        columns: By their paths in Parquet.
        all_or_nothing: Whether a table that lacks one of them gives no row.
    """
    table = pq.ParquetFile(file)
    there = {table.schema.column(number).path for number in range(len(table.schema))}
    # What a file lacks, Parquet passes over: rows would seem equal that are not.
    if "key" not in there or (all_or_nothing and not there.issuperset(columns)):
        return {}
    rows = table.read(columns=["key", *columns]).to_pylist()
    return {row.pop("key"): row for row in rows}


def read_stored_columns(
    store: Store, key: str, name: str, columns: Sequence[str], *, all_or_nothing: bool = True
) -> dict[str, dict[str, Any]]:
    """The same of a file in the store, which is not copied for that.

    Args:
        store: The store.
        key: The output that holds it.
        name: Its file.
        columns: As for `read_columns`.
        all_or_nothing: The same.

    Returns:
        Nothing if the file is gone or damaged.

    Raises:
        StoreError: If the store cannot be read.
    """
    with (
        _passing_over_damage(store),
        store.filesystem.open(f"{store.root}/{key}/{name}", "rb") as file,
    ):
        return read_columns(file, columns, all_or_nothing=all_or_nothing)
    return {}


def digest_questions(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What stands for each sample's question, from the columns that decide its row."""
    return {sample: text_digest(canonical_json(row)) for sample, row in rows.items()}


def read_answered(store: Store, key: str) -> dict[str, str]:
    """Which sample of an output asked each question that it answers.

    Returns:
        Nothing if the file is gone or damaged.

    Raises:
        StoreError: If the store cannot be read.
    """
    with _passing_over_damage(store):
        content = store.filesystem.cat_file(f"{store.root}/{key}/{QUESTIONS_NAME}")
        table = pq.read_table(pa.BufferReader(content), schema=QUESTION_SCHEMA)
        columns = table["question"].to_pylist(), table["key"].to_pylist()
        return dict(zip(*columns, strict=True))
    return {}


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
    newest_first = reversed(history.manifests.values())
    return [m for m in newest_first if QUESTIONS_NAME in m.names() and suits(m)]


def find_answers(store: Store, outputs: Sequence[Manifest], asked: Iterable[str]) -> dict[str, str]:
    """Which output answers each question.

    Of each output one small file is read, once, so the cost is linear in the rows of all of them.

    Args:
        store: Where they lie.
        outputs: Where to look; of several that answer a question the first counts.
        asked: The questions.

    Returns:
        Keys of outputs by questions, without questions that no output answers.
    """
    left = set(asked)
    found: dict[str, str] = {}

    def read(manifest: Manifest) -> tuple[str, Collection[str]]:
        return manifest.key, read_answered(store, manifest.key).keys()

    for key, answered in map_in_threads(read, outputs):
        here = left.intersection(answered)
        found |= dict.fromkeys(here, key)
        left -= here
        if not left:
            break
    return found


def take_rows(
    store: Store,
    table: RowTable,
    keys: Iterable[str],
    questions: Mapping[str, str],
    suits: Callable[[Manifest], bool],
    record_type: type[RecordType],
) -> TakenRows[RecordType]:
    """Read what earlier outputs say to the questions of samples.

    An output that is gone or damaged by now is passed over. Only the files that are read are looked
    at for damage, and those to the last byte.

    Args:
        store: Where they lie.
        table: The table of their stage.
        keys: The outputs.
        questions: Of the samples, see `digest_questions`.
        suits: Whether an output was made with the same settings.
        record_type: Of the rows.

    Raises:
        StoreError: If the store cannot be read.
    """
    taken: TakenRows[RecordType] = TakenRows(dict(questions))
    left = dict(questions)
    for key in keys:
        manifest = store.find(key, "size")
        if manifest is None or not suits(manifest):
            continue
        paths = _undamaged(store, manifest, (QUESTIONS_NAME, table.name, REJECTIONS_NAME))
        if paths is None:
            continue
        questions_path, table_path, rejections_path = paths
        lost: dict[str, list[Rejection]] = {}
        try:
            asked = {row.question: row.key for row in read_table(questions_path, AnsweredQuestion)}
            then = {sample: asked[q] for sample, q in left.items() if q in asked}
            found = read_rows_of(table_path, set(then.values()))
            rows = {row["key"]: record_type.model_validate(row) for row in found}
            for rejection in read_table(rejections_path, Rejection) if manifest.rejected else ():
                lost.setdefault(rejection.key, []).append(rejection)
        except (FileNotFoundError, ValidationError):
            continue  # gone since, or with other rows of an earlier release
        for sample, sample_then in then.items():
            if sample_then in rows:
                taken.rows[sample] = rows[sample_then]
            else:
                taken.left_out.add(sample)
            taken.rejections[sample] = [
                rejection.model_copy(update={"key": sample})
                for rejection in lost.get(sample_then, ())
            ]
            del left[sample]
        if then:
            taken.sources[key] = len(then)
    return taken


def _undamaged(store: Store, manifest: Manifest, names: Sequence[str]) -> list[Path] | None:
    """Local paths of some files of an output, or None if one is not as the manifest says."""
    paths = []
    for name in names:
        if name not in manifest.names():
            return None
        path = store.file(manifest.key, name, manifest.file(name).sha256)
        if path is None:
            return None
        paths.append(path)
    return paths


@contextmanager
def _passing_over_damage(store: Store) -> Iterator[None]:
    """Leave the context where a file of the store is gone or no table.

    Raises:
        StoreError: If something is wrong with the store. For a damaged file Arrow raises an
            `OSError` too, but without a number.
    """
    with explain_failures(store.url, "read"):
        try:
            yield
        except (FileNotFoundError, ValueError, pa.ArrowException):
            return
        except OSError as error:
            if type(error) is not OSError or error.errno is not None:
                raise
