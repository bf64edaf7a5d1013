"""Read an image folder with `metadata.jsonl`, as Hugging Face's `imagefolder` does."""

from collections.abc import Iterator
from pathlib import Path

from data_schemas.rejections import Rejection
from tokencompose_core.selection.caption_row import CaptionRow, Columns
from tokencompose_core.selection.read_json import read_json

METADATA_NAME = "metadata.jsonl"


def read_image_folder(folder: Path, columns: Columns) -> Iterator[CaptionRow | Rejection]:
    """The rows of the folder's `metadata.jsonl`, whose images are named relative to the folder.

    Args:
        folder: The folder.
        columns: Which fields say what.

    Raises:
        FileNotFoundError: If it holds no `metadata.jsonl`.
        ValueError: As `read_json`.
    """
    path = folder / METADATA_NAME
    if not path.is_file():
        raise FileNotFoundError(f"the image folder {folder} holds no {METADATA_NAME}")
    return read_json(path, columns)
