"""An image that a source names, and the rows that name it."""

import os
import posixpath
from dataclasses import dataclass
from pathlib import Path

from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.selection.caption_row import STAGE, CaptionRow
from tokencompose_core.selection.sample_key import key_of_name


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that a source names, before its file was looked at.

    Attributes:
        key: Its key, unique in the source.
        image: Path below the image root, normalised, or a URL.
        captions: What all its rows say, each caption once.
    """

    key: str
    image: str
    captions: list[str]


def name_row(row: CaptionRow, roots: tuple[Path, ...]) -> tuple[str, str] | Rejection:
    """Key and image of a row, or a rejection if its path leaves the image root.

    Args:
        row: What a reader gave.
        roots: See `roots_of`.
    """
    image = row.image if is_url(row.image) else path_below(row.image, roots)
    key = key_of_name(row.name or image or row.image)
    if image is None:
        detail = f"{row.place}: {row.image} lies outside the image root"
        return Rejection(
            key=key, stage=STAGE, reason=RejectionReason.IMAGE_OUTSIDE_ROOT, detail=detail
        )
    return key, image


def roots_of(folder: Path) -> tuple[Path, ...]:
    """What absolute paths below a folder may start with: its path as written, and as resolved."""
    return Path(os.path.abspath(folder)), folder.resolve()


def is_url(image: str) -> bool:
    """Whether an image is named by a URL and not by a path."""
    return "://" in image


def path_below(image: str, roots: tuple[Path, ...]) -> str | None:
    """The path relative to the root, or None if it leaves it.

    By its letters: links inside the root were made by whoever owns it, and are followed.
    """
    path = posixpath.normpath(image)
    if posixpath.isabs(path):
        for root in roots:
            if Path(path).is_relative_to(root):
                return Path(path).relative_to(root).as_posix()
        return None
    return None if path == ".." or path.startswith("../") else path
