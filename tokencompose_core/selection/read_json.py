"""Read captions from JSON: a list of objects, or an object a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.selection.caption_row import (
    CaptionRow,
    Columns,
    check_columns,
    passes,
    read_row,
    reject_row,
)

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_json(path: Path, columns: Columns) -> Iterator[CaptionRow | Rejection]:
    """The rows of a JSON file, in order.

    A file whose first character is "[" is one list of objects, any other has an object a line. A
    line that is no object costs that row; a list that cannot be parsed costs the file.

    Args:
        path: The file, in UTF-8.
        columns: Which fields say what.

    Raises:
        ValueError: If a list cannot be parsed, naming the line, or if no row has one of the fields,
            naming those that exist.
    """
    seen: set[str] = set()
    num_objects = 0
    for place, value in read_objects(path):
        if isinstance(value, Rejection):
            yield value
            continue
        num_objects += 1
        seen.update(value)
        if passes(value, columns):
            yield read_row(value, columns, place)
    if num_objects:
        check_columns(path, sorted(seen), columns)


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any] | Rejection]]:
    """The objects of a JSON file with their places, "c.jsonl, line 3", before any field is checked.

    Args:
        path: The file, as `read_json` takes it.

    Raises:
        ValueError: If a list cannot be parsed, naming the line.
    """
    for place, value in _values(path):
        if isinstance(value, Rejection | dict):
            yield place, value
        else:
            detail = f"expected an object, received {type(value).__name__}"
            yield place, reject_row(place, RejectionReason.ROW_WRONG_TYPE, detail)


def _values(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open("rb") as stream:
        start = stream.read(4096).removeprefix(_BYTE_ORDER_MARK).lstrip()
    if start.startswith(b"["):
        for number, value in enumerate(_read_list(path), start=1):
            yield f"{path.name}, entry {number}", value
        return
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                place = f"{path.name}, line {number}"
                yield place, _read_line(line.removeprefix(_BYTE_ORDER_MARK), place)


def _read_list(path: Path) -> list[Any]:
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from error


def _read_line(line: bytes, place: str) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        detail = f"not UTF-8 at byte {error.start} of the line"
        return reject_row(place, RejectionReason.ROW_NOT_UTF8, detail)
    except (ValueError, RecursionError) as error:
        return reject_row(place, RejectionReason.ROW_BROKEN, f"not JSON ({error})")
