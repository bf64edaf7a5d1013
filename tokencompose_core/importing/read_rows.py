"""Read captions whose nouns come with masks, as TokenCompose released them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.selection.candidates import name_row, roots_of
from tokencompose_core.selection.caption_row import CaptionRow, Columns, is_unicode, read_row
from tokencompose_core.selection.read_json import read_objects

STAGE = "import"
IMAGE_COLUMN = "file_name"
CAPTION_COLUMN = "text"
NOUNS_COLUMN = "attn_list"


@dataclass(frozen=True, slots=True)
class ListedNoun:
    """A noun and the path of its mask, as written; None if none was found."""

    text: str
    mask: str | None


@dataclass(frozen=True, slots=True)
class ListedRow:
    """A caption and its nouns, whose order says nothing."""

    caption: str
    nouns: tuple[ListedNoun, ...]


def read_listed_rows(path: Path, images_dir: Path) -> dict[str, list[ListedRow | Rejection]]:
    """The rows of each image.

    A row is `{"file_name": "1.jpg", "text": "A cat on a roof.", "attn_list": [["cat",
    "seg/1/mask_1_cat.png"], ["roof", null]]}`.

    Args:
        path: `metadata.jsonl`, or a list of such objects.
        images_dir: The image root.

    Returns:
        By the key that `join_rows` gives the image, its rows in order. A row without nouns that can
        be read is a rejection; rows that `join_rows` leaves out are not among them.

    Raises:
        ValueError: If a list cannot be parsed, or no row has a field `attn_list`.
    """
    columns = Columns(IMAGE_COLUMN, CAPTION_COLUMN)
    seen: set[str] = set()
    is_empty = True
    rows: dict[str, list[ListedRow | Rejection]] = {}
    taken: dict[str, str] = {}
    roots = roots_of(images_dir)
    for place, value in read_objects(path):
        if isinstance(value, Rejection):
            continue
        is_empty = False
        seen.update(value)
        row = read_row(value, columns, place)
        named = row if isinstance(row, Rejection) else name_row(row, roots)
        if isinstance(row, Rejection) or isinstance(named, Rejection):
            continue
        key, image = named
        if taken.setdefault(key, image) == image:
            rows.setdefault(key, []).append(_read_nouns(value, row, key))
    if not is_empty and NOUNS_COLUMN not in seen:
        raise ValueError(f"{path} has no column {NOUNS_COLUMN!r}, but {sorted(seen)}")
    return rows


def _read_nouns(values: dict[str, Any], row: CaptionRow, key: str) -> ListedRow | Rejection:
    def reject(reason: RejectionReason, detail: str) -> Rejection:
        return Rejection(key=key, stage=STAGE, reason=reason, detail=f"{row.place}: {detail}")

    if len(row.captions) > 1:
        detail = f"field {CAPTION_COLUMN!r}: expected one text, received {len(row.captions)}"
        return reject(RejectionReason.ROW_WRONG_TYPE, detail)
    listed = values.get(NOUNS_COLUMN)
    if listed is None:
        return reject(RejectionReason.ROW_FIELD_MISSING, f"field {NOUNS_COLUMN!r} is empty")
    if not isinstance(listed, list):
        detail = f"field {NOUNS_COLUMN!r}: expected a list, received {type(listed).__name__}"
        return reject(RejectionReason.ROW_WRONG_TYPE, detail)
    nouns = []
    for number, entry in enumerate(listed):
        if not _is_noun_and_path(entry):
            detail = f"field '{NOUNS_COLUMN}[{number}]': expected [noun, path or null]"
            return reject(RejectionReason.ROW_WRONG_TYPE, f"{detail}, received {entry!a}")
        if not all(is_unicode(text) for text in entry if text is not None):
            return reject(RejectionReason.ROW_NOT_UTF8, f"{entry!a} has half a character")
        nouns.append(ListedNoun(*entry))
    return ListedRow(caption="".join(row.captions), nouns=tuple(nouns))


def _is_noun_and_path(entry: object) -> bool:
    match entry:
        case [str(), str() | None]:
            return True
    return False
