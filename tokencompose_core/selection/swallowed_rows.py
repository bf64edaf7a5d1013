"""Rows of a CSV file that lie in a cell of another, because a quote before them was not closed."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tokencompose_core.selection.caption_row import Columns

_BREAK = re.compile("\r\n|\r|\n")
_ANY_BREAK = "[\r\n]"
_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".jp2", ".avif"}
)


def rows_with_breaks(batch: pa.RecordBatch) -> set[int]:
    """Places of the rows, from 0, that have a line break in any cell; columns are of bytes."""
    found: set[int] = set()
    for column in batch.columns:
        matches = pc.match_substring_regex(column, _ANY_BREAK)
        found.update(np.flatnonzero(matches.to_numpy(zero_copy_only=False)).tolist())
    return found


def describe_swallowed(
    cells: Mapping[str, bytes], names: Sequence[str], columns: Columns, delimiter: str
) -> str:
    """Say how many lines an open quote took into a cell; nothing if all breaks are a writer's own.

    A path or an id has no line break. In any other cell a line counts as a row if it has the cells
    of one and, where the image stands, something like the image of its own row: a line of a caption
    may well have as many commas. Of the first and the last line only a part lies in the cell.

    Args:
        cells: A row, by the names of the columns.
        names: All columns, in the order of the file.
        columns: Which of them say what.
        delimiter: The character between cells.
    """
    texts = {name: cell.decode("utf-8", errors="replace") for name, cell in cells.items()}
    at_image = names.index(columns.image)
    for name, text in texts.items():
        lines = _BREAK.split(text)
        if len(lines) == 1:
            continue
        said = f"lines taken into field {name!r}: {len(lines) - 1}"
        if name in (columns.image, columns.name):
            return f"{said}; is a quote not closed?"
        before = names.index(name)
        lines[0] = delimiter * before + lines[0]
        lines[-1] += delimiter * (len(names) - 1 - before)
        rows = [line.split(delimiter) for line in lines]
        if any(
            len(row) == len(names) and _is_like(row[at_image], texts[columns.image]) for row in rows
        ):
            return f"{said}, and they look like rows; is a quote not closed?"
    return ""


def count_breaks(text: str) -> int:
    """How many lines a text goes on over, after its first."""
    return len(_BREAK.findall(text))


def _is_like(cell: str, image: str) -> bool:
    """Whether a cell may name an image, since it is written as another one is."""
    if not cell or re.search(r"\s", cell):
        return False
    own, other = (PurePosixPath(re.split("[?#]", name)[0]).suffix.lower() for name in (cell, image))
    # A word is no path, and an id without a suffix has a number in it.
    alike = own == other and (own or re.search(r"[\d/]", cell))
    return bool(alike or {own, other} <= _SUFFIXES)
