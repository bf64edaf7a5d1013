"""From rows to images, each once, with all captions that any row has for it."""

import os
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.selection.caption_row import STAGE, CaptionRow
from tokencompose_core.selection.sample_key import key_of_name


@dataclass(frozen=True)
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


def join_rows(
    rows: Iterable[CaptionRow | Rejection], images_dir: Path
) -> tuple[list[Candidate], list[Rejection]]:
    """Join the rows of each image.

    Args:
        rows: What a reader gave.
        images_dir: The image root.

    Returns:
        Images in order of first mention, and rows that are left out: those that were not readable,
        whose path leaves the image root, or whose id an earlier row gave to another image.
    """
    candidates: dict[str, Candidate] = {}
    rejected = []
    for named in name_rows(rows, images_dir):
        if isinstance(named, Rejection):
            rejected.append(named)
            continue
        row, key, image = named
        known = candidates.setdefault(key, Candidate(key, image, []))
        known.captions.extend(c for c in dict.fromkeys(row.captions) if c not in known.captions)
    return list(candidates.values()), rejected


def name_rows(
    rows: Iterable[CaptionRow | Rejection], images_dir: Path
) -> Iterator[tuple[CaptionRow, str, str] | Rejection]:
    """Give each row the key of its sample.

    Args:
        rows: What a reader gave.
        images_dir: The image root.

    Yields:
        A row with its key and its image, a normalised path below the image root or a URL; or what
        `join_rows` leaves out.
    """
    taken: dict[str, str] = {}
    roots = roots_of(images_dir)
    for row in rows:
        if isinstance(row, Rejection):
            yield row
            continue
        image = row.image if is_url(row.image) else path_below(row.image, roots)
        key = key_of_name(row.name or image or row.image)
        if image is None:
            detail = f"{row.place}: {row.image} lies outside the image root"
            yield _rejection(key, RejectionReason.IMAGE_OUTSIDE_ROOT, detail)
        elif taken.setdefault(key, image) != image:
            detail = f"{row.place}: {row.name or image!r} is taken by {taken[key]}, not {image}"
            yield _rejection(key, RejectionReason.ID_TAKEN, detail)
        else:
            yield row, key, image


def is_url(image: str) -> bool:
    """Whether an image is named by a URL and not by a path."""
    return "://" in image


def roots_of(folder: Path) -> tuple[Path, ...]:
    """What absolute paths below a folder may start with: its path as written, and as resolved."""
    return Path(os.path.abspath(folder)), folder.resolve()


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


def _rejection(key: str, reason: RejectionReason, detail: str) -> Rejection:
    return Rejection(key=key, stage=STAGE, reason=reason, detail=detail)
