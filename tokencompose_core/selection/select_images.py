"""Select images: those with a caption that says something and a file that can be used."""

import errno
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from data_schemas.records import SelectedImage
from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.selection.candidates import Candidate, is_url
from tokencompose_core.selection.caption_row import STAGE
from tokencompose_core.selection.fetch_images import FetchError, fetched_path
from tokencompose_core.selection.read_vsr import VsrLine
from tokencompose_core.selection.sample_key import key_of_name
from tokencompose_core.store.keys import file_digest
from tokencompose_core.store.map_in_threads import map_in_threads
from tokencompose_core.store.open_image import BadImageError, check_image


def images_of_split(
    lines: Iterable[VsrLine],
    split: str,
    labels: Collection[int] = (0, 1),
    relations: Collection[str] = (),
) -> list[str]:
    """File names of the images of a COCO split, each once, in order of first mention.

    As the paper selects, whether a statement is true plays no part: a false one talks about the
    image as well.

    Args:
        lines: Statements about images.
        split: COCO folder of the images.
        labels: Only images are taken of which a statement with one of these labels speaks.
        relations: Only images are taken of which a statement with one of these relations speaks; if
            there are none, with any.
    """
    return list(
        dict.fromkeys(
            line.image
            for line in lines
            if line.split == split
            and line.label in labels
            and (not relations or line.relation in relations)
        )
    )


_NAME_OF_2014 = re.compile(r"COCO_[a-z]+2014_(?P<name>[\w.-]+)")


def name_candidates(
    names: Iterable[str], captions: Mapping[str, Sequence[str]], split: str, coco_year: int = 2017
) -> list[Candidate]:
    """Images of a COCO split with their COCO captions.

    Args:
        names: File names in COCO 2017, each once.
        captions: Captions by file name; an image without any keeps none.
        split: Folder of the images in COCO 2017.
        coco_year: Release that the captions and images are of. That of 2014 has the same images in
            other folders, as `train2014/COCO_train2014_<name>`; files of other names are none.
    """
    found = map(_NAME_OF_2014.fullmatch, captions if coco_year == 2014 else ())
    of_2014 = {match["name"]: match[0] for match in found if match}
    candidates = []
    for name in names:
        file_name, folder = of_2014.get(name, name), split
        if file_name != name:
            folder = file_name.split("_")[1]
        own = list(captions.get(file_name, ()))
        candidates.append(Candidate(key_of_name(name), f"{folder}/{file_name}", own))
    return candidates


def reject_taken_keys(candidates: Iterable[Candidate]) -> Iterator[Candidate | Rejection]:
    """The images, and in the place of each whose key an earlier one has, a rejection."""
    taken: dict[str, str] = {}
    for candidate in candidates:
        key, image = candidate.key, candidate.image
        if taken.setdefault(key, image) == image:
            yield candidate
        else:
            detail = f"{image}: the key is taken by {taken[key]}"
            yield _rejection(key, RejectionReason.ID_TAKEN, detail)


def select_images(
    candidates: Iterable[Candidate | Rejection],
    images_dir: Path,
    *,
    min_side: int,
    max_pixels: int,
    max_ratio: int,
    digest: Callable[[Path], str] = file_digest,
) -> Iterator[SelectedImage | Rejection]:
    """Look at captions and headers of images, and digest the images' files.

    Args:
        candidates: Images with captions, each with a key of its own; what was left out before is
            passed on.
        images_dir: The image root.
        min_side: Least width and height in pixels.
        max_pixels: Most pixels, width times height.
        max_ratio: How many times as long as the other a side may be.
        digest: Gives the digest of a file.

    Returns:
        In the order of the candidates, each with those of its captions that say something, or why
        it is left out.
    """

    def look_at(candidate: Candidate | Rejection) -> SelectedImage | Rejection:
        if isinstance(candidate, Rejection):
            return candidate
        key, image = candidate.key, candidate.image
        kept = [text for text in candidate.captions if any(map(str.isalpha, text))]
        if not kept:
            return _reject_captions(candidate)
        try:
            path = fetched_path(image, images_dir) if is_url(image) else image
            file = images_dir / path
            if not is_file(file):
                raise BadImageError(RejectionReason.IMAGE_MISSING, path)
            check_image(file, min_side=min_side, max_pixels=max_pixels, max_ratio=max_ratio)
        except (BadImageError, FetchError) as error:
            return _rejection(key, error.reason, str(error))
        return SelectedImage(key=key, image_path=path, image_sha256=digest(file), captions=kept)

    return map_in_threads(look_at, candidates)


def _reject_captions(candidate: Candidate) -> Rejection:
    key, captions = candidate.key, candidate.captions
    if not captions:
        return _rejection(key, RejectionReason.CAPTION_MISSING, candidate.image)
    if not any(map(str.strip, captions)):
        return _rejection(key, RejectionReason.CAPTION_EMPTY, f"{len(captions)} blank")
    return _rejection(key, RejectionReason.CAPTION_WITHOUT_WORDS, " | ".join(captions))


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file system takes is none.

    Raises:
        OSError: If the disk does not say.
    """
    try:
        return path.is_file()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def _rejection(key: str, reason: RejectionReason, detail: str) -> Rejection:
    return Rejection(key=key, stage=STAGE, reason=reason, detail=detail)
