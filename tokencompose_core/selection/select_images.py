"""Select images: those with a caption that says something and a file that can be used."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from data_schemas.records import SelectedImage
from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.selection.candidates import Candidate, is_url
from tokencompose_core.selection.caption_row import STAGE
from tokencompose_core.selection.fetch_images import FetchError, fetched_path
from tokencompose_core.selection.read_vsr import VsrLine
from tokencompose_core.store.keys import file_digest
from tokencompose_core.store.open_image import BadImageError, check_image


def images_of_split(
    lines: Sequence[VsrLine],
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


def name_candidates(
    names: Iterable[str], captions: Mapping[str, Sequence[str]], split: str, coco_year: int = 2017
) -> list[Candidate]:
    """Images of a COCO split with their COCO captions.

    Args:
        names: File names in COCO 2017, each once.
        captions: Captions by file name; an image without any keeps none.
        split: Folder of the images in COCO 2017.
        coco_year: Release that the captions and images are of. That of 2014 has the same images in
            other folders, as `train2014/COCO_train2014_<name>`.
    """
    of_2014 = {name.rpartition("_")[2]: name for name in captions} if coco_year == 2014 else {}
    candidates = []
    for name in names:
        file_name, folder = of_2014.get(name, name), split
        if file_name != name:
            folder = file_name.split("_")[1]
        own = list(captions.get(file_name, ()))
        candidates.append(Candidate(PurePosixPath(name).stem, f"{folder}/{file_name}", own))
    return candidates


def select_images(
    candidates: Iterable[Candidate], images_dir: Path, *, min_side: int, max_pixels: int
) -> tuple[list[SelectedImage], list[Rejection]]:
    """Look at captions and headers of images, and digest the images' files.

    Args:
        candidates: Images with captions.
        images_dir: The image root.
        min_side: Least width and height in pixels.
        max_pixels: Most pixels, width times height.

    Returns:
        The images with those of their captions that say something, and what was left out and why.
    """
    selected: list[SelectedImage] = []
    rejected: list[Rejection] = []
    taken: dict[str, str] = {}
    for candidate in candidates:
        key, image = candidate.key, candidate.image
        kept = [text for text in candidate.captions if any(map(str.isalpha, text))]
        if taken.setdefault(key, image) != image:
            detail = f"{image}: the key is taken by {taken[key]}"
            rejected.append(_rejection(key, RejectionReason.ID_TAKEN, detail))
        elif not candidate.captions:
            rejected.append(_rejection(key, RejectionReason.CAPTION_MISSING, image))
        elif not any(map(str.strip, candidate.captions)):
            detail = f"{len(candidate.captions)} blank"
            rejected.append(_rejection(key, RejectionReason.CAPTION_EMPTY, detail))
        elif not kept:
            detail = " | ".join(candidate.captions)
            rejected.append(_rejection(key, RejectionReason.CAPTION_WITHOUT_WORDS, detail))
        else:
            try:
                path = fetched_path(image, images_dir) if is_url(image) else image
                digest = _check_file(images_dir, path, min_side, max_pixels)
            except (BadImageError, FetchError) as error:
                rejected.append(_rejection(key, error.reason, str(error)))
                continue
            selected.append(
                SelectedImage(key=key, image_path=path, image_sha256=digest, captions=kept)
            )
    return selected, rejected


def _check_file(images_dir: Path, path: str, min_side: int, max_pixels: int) -> str:
    file = images_dir / path
    if not is_file(file):
        raise BadImageError(RejectionReason.IMAGE_MISSING, path)
    check_image(file, min_side=min_side, max_pixels=max_pixels)
    return file_digest(file)


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file system takes is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _rejection(key: str, reason: RejectionReason, detail: str) -> Rejection:
    return Rejection(key=key, stage=STAGE, reason=reason, detail=detail)
