"""Read captions from CSV files with a line of column names."""

import io
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.selection.caption_row import (
    CaptionRow,
    Columns,
    check_columns,
    passes,
    read_row,
    reject_row,
)
from tokencompose_core.selection.swallowed_rows import (
    count_breaks,
    describe_swallowed,
    rows_with_breaks,
)

_LAST_LINE = "end of file"


def read_csv(path: Path, columns: Columns, *, delimiter: str) -> Iterator[CaptionRow | Rejection]:
    """The rows of a CSV file, in order; row 1 is the first below the names.

    Quotes that are not closed are found by what they take in: see `describe_swallowed`.

    Args:
        path: The file, in UTF-8.
        columns: Which columns say what.
        delimiter: The character between cells.

    Raises:
        ValueError: If a column is missing, naming those that exist, if the file is no CSV, or if it
            ends inside quotes, naming the row in which they are opened.
    """
    given_names = _column_names(path, delimiter)
    names = [_text(name) for name in given_names]
    check_columns(path, names, columns)
    # Quotes that nothing closes make one row of all that follows, this line included.
    last_line = _LAST_LINE + delimiter * len(names)
    is_closed = False
    uneven: dict[int, Rejection] = {}

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        nonlocal is_closed
        if row.text == last_line:
            is_closed = True
            return "skip"
        number = row.number - 1  # PyArrow counts the line of names
        detail = f"{row.actual_columns} cells instead of {row.expected_columns}"
        if num_breaks := count_breaks(row.text):
            detail += f", lines taken into them: {num_breaks}; is a quote not closed?"
        uneven[number] = reject_row(
            f"{path.name}, row {number}", RejectionReason.ROW_BROKEN, detail
        )
        return "skip"

    number = 0
    try:
        reader = pyarrow.csv.open_csv(
            _LinedFile(path, f"\n{last_line}".encode()),
            # Without threads, PyArrow knows the numbers of the rows that it skips.
            read_options=pyarrow.csv.ReadOptions(use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip
            ),
            # All columns: an open quote in any of them takes in rows.
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=list(dict.fromkeys(given_names)),
                column_types={name: pa.binary() for name in given_names},
            ),
        )
        for batch in reader:
            batch = batch.rename_columns(list(dict.fromkeys(names)))
            suspects = rows_with_breaks(batch)
            for index, cells in enumerate(batch.select(columns.needed).to_pylist()):
                number += 1
                while number in uneven:
                    yield uneven.pop(number)
                    number += 1
                row: dict[str, Any] | Rejection
                swallowed = index in suspects and describe_swallowed(
                    {
                        name: _bytes(cell)
                        for name, cell in batch.slice(index, 1).to_pylist()[0].items()
                    },
                    names,
                    columns,
                    delimiter,
                )
                if swallowed:
                    place = f"{path.name}, row {number}"
                    row = reject_row(place, RejectionReason.ROW_BROKEN, swallowed)
                else:
                    row = _decode(cells, f"{path.name}, row {number}")
                if isinstance(row, Rejection):
                    yield row
                elif passes(row, columns):
                    yield read_row(row, columns, f"{path.name}, row {number}")
    except pa.ArrowInvalid as error:
        last = max([number, *uneven])
        raise ValueError(f"{path}, after row {last}: {error}; is a quote not closed?") from error
    if not is_closed:
        last = max([number, *uneven])
        raise ValueError(
            f"{path}: the file ends inside quotes that row {last} opens; close them, or write a"
            " quote that is text as two"
        )
    yield from uneven.values()


class _LinedFile:
    """A file, uncompressed if its name says how, with a line below its last one.

    Each byte comes as a character of its own. What PyArrow reads is valid UTF-8 thus, and what is
    not costs its row and not the file.
    """

    closed = False

    def __init__(self, path: Path, line: bytes = b"") -> None:
        self._file = io.BufferedReader(pa.input_stream(str(path)))
        if self._file.peek(len(BOM_UTF8)).startswith(BOM_UTF8):
            self._file.read(len(BOM_UTF8))
        self._line = io.BytesIO(line)

    def read(self, size: int) -> bytes:
        """The next bytes; the line follows in the same block, so that rows straddle no other."""
        half = (size + 1) // 2  # a byte may become two
        content = self._file.read(half)
        return (content + self._line.read(half - len(content))).decode("latin-1").encode()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _column_names(path: Path, delimiter: str) -> list[str]:
    """Names as they are read, see `_LinedFile`."""
    try:
        return pyarrow.csv.open_csv(
            _LinedFile(path),
            read_options=pyarrow.csv.ReadOptions(use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=lambda row: "skip"
            ),
        ).schema.names
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: {error}") from error


def _bytes(cell: bytes) -> bytes:
    return cell if cell.isascii() else cell.decode().encode("latin-1")


def _text(read: str) -> str:
    return read.encode("latin-1").decode(errors="backslashreplace")


def _decode(cells: dict[str, bytes], place: str) -> dict[str, Any] | Rejection:
    row = {}
    for name, cell in cells.items():
        try:
            row[name] = _bytes(cell).decode()
        except UnicodeDecodeError as error:
            detail = f"field {name!r} is not UTF-8 at byte {error.start}"
            return reject_row(place, RejectionReason.ROW_NOT_UTF8, detail)
    return row
