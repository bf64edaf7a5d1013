"""One row of a source, whatever its shape: an image and what is said about it."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from data_schemas.redact_urls import cut_and_redact
from data_schemas.rejections import Rejection, RejectionReason

STAGE = "select"
# Of values that a filter names instead of those asked for.
_MOST_VALUES = 5
_MOST_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class CaptionRow:
    """What a row says.

    Attributes:
        place: Where it stands: "captions.csv, row 3".
        image: Path below the image root, or a URL, as written.
        captions: Its captions; none if it has the field and nothing in it.
        name: Its own id, or nothing.
    """

    place: str
    image: str
    captions: tuple[str, ...]
    name: str = ""


@dataclass
class Filtered:
    """What filters made of the rows that were read.

    Attributes:
        num_rows: How many there were.
        num_passed: How many passed all filters.
        passed: How many passed the filter of a column.
        others: Some of the values of a column that did not pass.
    """

    num_rows: int = 0
    num_passed: int = 0
    passed: Counter[str] = field(default_factory=Counter)
    others: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


@dataclass(frozen=True)
class Columns:
    """Which columns of a table say what.

    Attributes:
        image: Column of the path or URL of the image.
        caption: Column of the caption, or of a list of captions.
        name: Column of the row's id; nothing if it has none.
        filters: Only rows are taken whose value of each of these columns is among the given ones,
            compared as text.
        filtered: Counts what they let through.
    """

    image: str
    caption: str
    name: str = ""
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    filtered: Filtered = field(default_factory=Filtered, compare=False)

    @property
    def needed(self) -> list[str]:
        """All columns that a table must have, each once."""
        names = [self.image, self.caption, self.name, *self.filters]
        return [name for name in dict.fromkeys(names) if name]


def read_row(values: Mapping[str, Any], columns: Columns, place: str) -> CaptionRow | Rejection:
    """Check the fields of a row.

    Args:
        values: The fields by name.
        columns: Which of them say what.
        place: Where the row stands, for the rejection.
    """
    for column in (columns.image, columns.caption, columns.name):
        if column and column not in values:
            return reject_row(place, RejectionReason.ROW_FIELD_MISSING, f"no field {column!r}")
    image = values[columns.image]
    name = values[columns.name] if columns.name else None
    for column, value in ((columns.image, image), (columns.name, name)):
        if column and (value is None or value == ""):
            return reject_row(
                place, RejectionReason.ROW_FIELD_MISSING, f"field {column!r} is empty"
            )
    if not isinstance(image, str):
        return _wrong_type(place, columns.image, "text", image)
    if isinstance(name, bool) or not isinstance(name, str | int | None):
        return _wrong_type(place, columns.name, "text or a whole number", name)
    captions = values[columns.caption]
    if captions is None:
        captions = []
    elif isinstance(captions, str):
        captions = [captions]
    elif not isinstance(captions, list):
        return _wrong_type(place, columns.caption, "text or a list of texts", captions)
    for number, caption in enumerate(captions):
        if not isinstance(caption, str):
            return _wrong_type(place, f"{columns.caption}[{number}]", "text", caption)
    own_name = "" if name is None else str(name)
    for text in (image, own_name, *captions):
        if not is_unicode(text):
            return reject_row(place, RejectionReason.ROW_NOT_UTF8, f"{text!a} is half a character")
    return CaptionRow(place, image, tuple(captions), own_name)


def passes(values: Mapping[str, Any], columns: Columns) -> bool:
    """Whether a row has, in every column with a filter, one of the values asked for; counts it."""
    if not columns.filters:
        return True
    filtered, missed = columns.filtered, False
    for column, allowed in columns.filters.items():
        text = _as_text(values.get(column))
        if column in values and text in allowed:
            filtered.passed[column] += 1
        else:
            missed = True
            if len(filtered.others[column]) < _MOST_VALUES:
                filtered.others[column].add(cut_and_redact(text)[:_MOST_CHARACTERS])
    filtered.num_rows += 1
    filtered.num_passed += not missed
    return not missed


def check_filtered(columns: Columns) -> None:
    """Refuse filters that let no row through.

    Args:
        columns: With which all rows were read.

    Raises:
        ValueError: Naming how many rows each filter leaves, and values that there are.
    """
    filtered = columns.filtered
    if filtered.num_passed or not filtered.num_rows:
        return
    left = []
    for column, allowed in columns.filters.items():
        there = "" if filtered.passed[column] else f" ({sorted(filtered.others[column])} are there)"
        left.append(f"{column} in {list(allowed)} leaves {filtered.passed[column]}{there}")
    raise ValueError(
        f"source.filters leave none of {filtered.num_rows} rows: {', '.join(left)}. Mend them"
    )


def reject_row(place: str, reason: RejectionReason, detail: str) -> Rejection:
    """A row that is left out; it has no key yet, so its place stands for it."""
    # Names in a tar need not be Unicode, and a rejection is written as UTF-8.
    key, detail = (
        text.encode("utf-8", "backslashreplace").decode("utf-8")
        for text in (place, f"{place}: {detail}")
    )
    return Rejection(key=key, stage=STAGE, reason=reason, detail=detail)


def is_unicode(text: str) -> bool:
    """Whether a text is whole; JSON can spell half of a surrogate pair, which UTF-8 cannot hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def check_columns(path: object, present: Sequence[str], columns: Columns) -> None:
    """Refuse a table that lacks a column.

    Raises:
        ValueError: Naming the file, the columns that are missing and those that exist.
    """
    missing = [name for name in columns.needed if name not in present]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(map(repr, missing))}, but {present}")


def _wrong_type(place: str, column: str, expected: str, value: object) -> Rejection:
    detail = f"field {column!r}: expected {expected}, received {type(value).__name__}"
    return reject_row(place, RejectionReason.ROW_WRONG_TYPE, detail)


def _as_text(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case bytes():
            return value.decode("utf-8", errors="replace")
        case None:
            return ""
    return str(value)
