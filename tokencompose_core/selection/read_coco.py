"""Read COCO caption files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.selection.caption_row import is_unicode, reject_row


class _BadEntryError(ValueError):
    """An entry of a file that cannot be used, and the reason."""

    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def read_coco_captions(paths: Sequence[Path]) -> tuple[dict[str, list[str]], list[Rejection]]:
    """Captions of every image, by file name, in the order of the annotations.

    Args:
        paths: `captions_*.json` files in COCO's format.

    Returns:
        The captions, and annotations that are left out.

    Raises:
        ValueError: If a file or one of its images is not of that format, naming file, entry and
            field, or if two images of a file have one id.
    """
    captions: dict[str, list[str]] = {}
    rejected: list[Rejection] = []
    for path in paths:
        content = _read_tables(path)
        names: dict[int | str, str] = {}
        for number, image in enumerate(content["images"]):
            place = f"images[{number}]"
            try:
                image_id, name = _id(image, "id"), _text(image, "file_name")
            except _BadEntryError as error:
                raise ValueError(f"{path}: {place}: {error}") from error
            if names.setdefault(image_id, name) != name:
                raise ValueError(
                    f"{path}: {place}: id {image_id!r} is that of {names[image_id]!r} and of"
                    f" {name!r}, so that nothing says whose captions are whose"
                )
            captions.setdefault(name, [])
        for number, annotation in enumerate(content["annotations"]):
            try:
                image_id, caption = _id(annotation, "image_id"), _text(annotation, "caption")
                if image_id not in names:
                    raise _BadEntryError(
                        RejectionReason.ROW_BROKEN,
                        f"belongs to image {image_id!r}, which is not there",
                    )
            except _BadEntryError as error:
                place = f"{path.name}, annotations[{number}]"
                rejected.append(reject_row(place, error.reason, str(error)))
                continue
            captions[names[image_id]].append(caption)
    return captions, rejected


def _read_tables(path: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    for field in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(field), list):
            raise ValueError(f"{path}: COCO captions need a list under {field!r}")
    return content


def _id(entry: Any, field: str) -> int | str:
    value = _field(entry, field)
    if not isinstance(value, int | str):
        raise _wrong_type(field, "a number or text", value)
    return value


def _text(entry: Any, field: str) -> str:
    value = _field(entry, field)
    if not isinstance(value, str):
        raise _wrong_type(field, "text", value)
    if not is_unicode(value):
        raise _BadEntryError(
            RejectionReason.ROW_NOT_UTF8, f"field {field!r}: {value!a} is no Unicode"
        )
    return value


def _field(entry: Any, field: str) -> Any:
    if not isinstance(entry, dict) or field not in entry:
        raise _BadEntryError(RejectionReason.ROW_FIELD_MISSING, f"no field {field!r}")
    return entry[field]


def _wrong_type(field: str, expected: str, value: object) -> _BadEntryError:
    detail = f"field {field!r}: expected {expected}, received {type(value).__name__}"
    return _BadEntryError(RejectionReason.ROW_WRONG_TYPE, detail)
