"""Digest of everything that a selection reads."""

import hashlib
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path

from data_schemas.rejections import Rejection
from tokencompose_core.selection.candidates import Candidate, is_url
from tokencompose_core.selection.fetch_images import FetchError, fetched_path
from tokencompose_core.selection.read_coco import read_coco_captions
from tokencompose_core.selection.read_vsr import read_vsr_lines
from tokencompose_core.selection.select_images import (
    images_of_split,
    is_file,
    name_candidates,
)
from tokencompose_core.store.keys import canonical_json, file_digest, text_digest


def digest_source(
    vsr_path: Path,
    captions_paths: Sequence[Path],
    images_dir: Path,
    split: str,
    labels: Collection[int] = (0, 1),
    relations: Collection[str] = (),
    coco_year: int = 2017,
) -> str:
    """Digest of the VSR file, the caption files and the images that they select.

    Labels and relations decide by the images that they select; see `images_of_split`, and
    `name_candidates` for the year.

    Two sources of equal content have equal digests, wherever they lie. An image that is not there
    counts as missing, so that its arrival changes the digest.

    Raises:
        FileNotFoundError: If the VSR file, a caption file or the image folder is not there.
    """
    for path in (vsr_path, *captions_paths, images_dir):
        if not path.exists():
            raise FileNotFoundError(f"the source needs {path}, which is not there")
    names = images_of_split(read_vsr_lines(vsr_path), split, labels, relations)
    # Only the names of 2014 depend on the captions, which take seconds to read.
    captions = read_coco_captions(captions_paths) if coco_year == 2014 else {}
    paths = [images_dir / c.image for c in name_candidates(names, captions, split, coco_year)]
    with ThreadPoolExecutor() as executor:
        digests = list(executor.map(lambda p: file_digest(p) if p.is_file() else "", paths))
    return text_digest(
        canonical_json(
            {
                "vsr": file_digest(vsr_path),
                "captions": [file_digest(path) for path in captions_paths],
                "images": sorted(zip(names, digests, strict=True)),
            }
        )
    )


def digest_candidates(
    candidates: Sequence[Candidate], rejections: Sequence[Rejection], images_dir: Path
) -> str:
    """Digest of what a reader found, and of the images that it names.

    The same rows in another file, or in a file of another kind, have the same digest.
    """

    def digest_image(image: str) -> str:
        try:
            path = images_dir / (fetched_path(image, images_dir) if is_url(image) else image)
        except FetchError as error:
            return str(error)
        return file_digest(path) if is_file(path) else ""

    with ThreadPoolExecutor() as executor:
        digests = list(executor.map(digest_image, (c.image for c in candidates)))
    whole = hashlib.sha256()
    for candidate, digest in zip(candidates, digests, strict=True):
        whole.update(canonical_json([*astuple(candidate), digest]).encode("utf-8"))
    for rejection in rejections:
        whole.update(canonical_json(rejection.model_dump(mode="json")).encode("utf-8"))
    return whole.hexdigest()
