"""Read COCO caption files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokencompose_core.selection.caption_row import is_unicode


def read_coco_captions(paths: Sequence[Path]) -> dict[str, list[str]]:
    """Captions of every image, by file name, in the order of the annotations.

    Args:
        paths: `captions_*.json` files in COCO's format.

    Raises:
        ValueError: If a file is not of that format, naming file, entry and field.
    """
    captions: dict[str, list[str]] = {}
    for path in paths:
        try:
            content = json.loads(path.read_bytes().decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 at byte {error.start}") from error
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not JSON ({error})") from error
        for field in ("images", "annotations"):
            if not isinstance(content, dict) or not isinstance(content.get(field), list):
                raise ValueError(f"{path}: COCO captions need a list under {field!r}")
        names: dict[int | str, str] = {}
        for number, image in enumerate(content["images"]):
            image_id = _id(path, "images", number, image, "id")
            names[image_id] = _text(path, "images", number, image, "file_name")
            captions.setdefault(names[image_id], [])
        for number, annotation in enumerate(content["annotations"]):
            image_id = _id(path, "annotations", number, annotation, "image_id")
            caption = _text(path, "annotations", number, annotation, "caption")
            if image_id not in names:
                raise ValueError(
                    f"{path}: annotations[{number}] belongs to image {image_id}, which is not there"
                )
            captions[names[image_id]].append(caption)
    return captions


def _id(path: Path, table: str, number: int, entry: Any, field: str) -> int | str:
    value = _field(path, table, number, entry, field)
    if not isinstance(value, int | str):
        raise _wrong_type(path, table, number, field, "a number or text", value)
    return value


def _text(path: Path, table: str, number: int, entry: Any, field: str) -> str:
    value = _field(path, table, number, entry, field)
    if not isinstance(value, str):
        raise _wrong_type(path, table, number, field, "text", value)
    if not is_unicode(value):
        raise ValueError(f"{path}: {table}[{number}], field {field!r}: {value!a} is no Unicode")
    return value


def _field(path: Path, table: str, number: int, entry: Any, field: str) -> Any:
    if not isinstance(entry, dict) or field not in entry:
        raise ValueError(f"{path}: {table}[{number}] has no field {field!r}")
    return entry[field]


def _wrong_type(
    path: Path, table: str, number: int, field: str, expected: str, value: object
) -> ValueError:
    return ValueError(
        f"{path}: {table}[{number}], field {field!r}: expected {expected}, received"
        f" {type(value).__name__}"
    )
