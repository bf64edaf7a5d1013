"""Digest of everything that a selection reads."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
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
from tokencompose_core.store.map_in_threads import map_in_threads


def digest_source(
    vsr_path: Path,
    captions_paths: Sequence[Path],
    images_dir: Path,
    split: str,
    labels: Collection[int] = (0, 1),
    relations: Collection[str] = (),
    coco_year: int = 2017,
    digest: Callable[[Path], str] = file_digest,
    on_image: Callable[[int], None] = lambda count: None,
) -> str:
    """Digest of the VSR file, the caption files and the images that they select.

    Labels and relations decide by the images that they select; see `images_of_split`, and
    `name_candidates` for the year.

    Two sources of equal content have equal digests, wherever they lie. An image that is not there
    counts as missing, so that its arrival changes the digest. `digest` gives the digest of a file,
    and `on_image` is told of every image.

    Raises:
        FileNotFoundError: If the VSR file, a caption file or the image folder is not there.
    """
    for path in (vsr_path, *captions_paths, images_dir):
        if not path.exists():
            raise FileNotFoundError(f"the source needs {path}, which is not there")
    names = images_of_split(read_vsr_lines(vsr_path), split, labels, relations)
    # Only the names of 2014 depend on the captions, which take seconds to read.
    captions = read_coco_captions(captions_paths)[0] if coco_year == 2014 else {}
    paths = [images_dir / c.image for c in name_candidates(names, captions, split, coco_year)]
    digests = []
    for found in map_in_threads(lambda path: digest(path) if is_file(path) else "", paths):
        digests.append(found)
        on_image(1)
    return text_digest(
        canonical_json(
            {
                "vsr": digest(vsr_path),
                "captions": [digest(path) for path in captions_paths],
                "images": sorted(zip(names, digests, strict=True)),
            }
        )
    )


def digest_candidates(
    candidates: Iterable[Candidate],
    rejections: Iterable[Rejection],
    images_dir: Path,
    digest: Callable[[Path], str] = file_digest,
    on_image: Callable[[int], None] = lambda count: None,
) -> str:
    """Digest of what a reader found, and of the images that it names.

    The same rows in another file, or in a file of another kind, have the same digest, unless one is
    left out: the rejection says where it stands.

    Args:
        candidates: Images with captions; read once.
        rejections: Rows that are left out; read after the images.
        images_dir: The image root.
        digest: Gives the digest of a file.
        on_image: Told of every image.
    """

    def describe(candidate: Candidate) -> bytes:
        image = candidate.image
        try:
            path = images_dir / (fetched_path(image, images_dir) if is_url(image) else image)
            content = digest(path) if is_file(path) else ""
        except FetchError as error:
            content = str(error)
        parts = [candidate.key, image, candidate.captions, content]
        return canonical_json(parts).encode("utf-8")

    whole = hashlib.sha256()
    for described in map_in_threads(describe, candidates):
        whole.update(described)
        on_image(1)
    for rejection in rejections:
        whole.update(canonical_json(rejection.model_dump(mode="json")).encode("utf-8"))
    return whole.hexdigest()
