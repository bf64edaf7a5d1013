"""Records to Parquet and back."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

RecordType = TypeVar("RecordType", bound=BaseModel)


def write_table(path: Path, records: Iterable[BaseModel], schema: pa.Schema) -> None:
    """Write records in order; equal records give equal bytes."""
    rows = [record.model_dump(mode="json") for record in records]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")


def write_columns(path: Path, columns: Mapping[str, Sequence[Any]], schema: pa.Schema) -> None:
    """Write columns of equal length: the bytes that records of their rows would give."""
    table = pa.Table.from_pydict(dict(columns), schema=schema)
    pq.write_table(table, path, compression="zstd")


def read_table(path: Path, record_type: type[RecordType]) -> list[RecordType]:
    """Read the records of a Parquet file."""
    return [record_type.model_validate(row) for row in pq.read_table(path).to_pylist()]


def read_rows_of(path: Path, keys: Collection[str]) -> list[dict[str, Any]]:
    """The rows of some samples, by their keys, in the order of the file."""
    if not keys:
        return []
    return pq.read_table(path, filters=[("key", "in", sorted(keys))]).to_pylist()
