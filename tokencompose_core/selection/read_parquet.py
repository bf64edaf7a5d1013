"""Read captions from Parquet files."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.selection.caption_row import (
    CaptionRow,
    Columns,
    check_columns,
    passes,
    read_row,
    reject_row,
)


def read_parquet(path: Path, columns: Columns) -> Iterator[CaptionRow | Rejection]:
    """The rows of a Parquet file, in order; the first is row 1.

    Args:
        path: The file.
        columns: Which columns say what; captions may be text or a list of texts.

    Raises:
        ValueError: If it is no Parquet file, or lacks a column, naming those that exist.
    """
    try:
        with pq.ParquetFile(path) as file:
            check_columns(path, file.schema_arrow.names, columns)
            number = 0
            for batch in file.iter_batches(columns=columns.needed):
                for index in range(batch.num_rows):
                    number += 1
                    place = f"{path.name}, row {number}"
                    try:
                        row = {
                            name: batch.column(name)[index].as_py() for name in batch.schema.names
                        }
                    except UnicodeDecodeError as error:
                        detail = f"not UTF-8 at byte {error.start} of a cell"
                        yield reject_row(place, RejectionReason.ROW_NOT_UTF8, detail)
                        continue
                    if passes(row, columns):
                        yield read_row(row, columns, place)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: {error}") from error
