"""Read COCO caption files."""

import json
from collections.abc import Sequence
from pathlib import Path


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
            content = json.loads(path.read_text("utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}: not JSON ({error})") from error
        for field in ("images", "annotations"):
            if not isinstance(content, dict) or not isinstance(content.get(field), list):
                raise ValueError(f"{path}: COCO captions need a list under {field!r}")
        names: dict[int, str] = {}
        for number, image in enumerate(content["images"]):
            names[_field(path, "images", number, image, "id")] = _field(
                path, "images", number, image, "file_name"
            )
            captions.setdefault(image["file_name"], [])
        for number, annotation in enumerate(content["annotations"]):
            image_id = _field(path, "annotations", number, annotation, "image_id")
            caption = _field(path, "annotations", number, annotation, "caption")
            if image_id not in names:
                raise ValueError(
                    f"{path}: annotations[{number}] belongs to image {image_id}, which is not there"
                )
            captions[names[image_id]].append(caption)
    return captions


def _field(path: Path, table: str, number: int, entry: dict, field: str):
    if not isinstance(entry, dict) or field not in entry:
        raise ValueError(f"{path}: {table}[{number}] has no field {field!r}")
    return entry[field]
