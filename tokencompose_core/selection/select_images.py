"""Select images as the paper does: those that Visual Spatial Reasoning talks about."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from data_schemas.records import SelectedImage
from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.selection.read_vsr import VsrLine
from tokencompose_core.store.keys import file_digest

STAGE = "select"


def images_of_split(lines: Sequence[VsrLine], split: str) -> list[str]:
    """File names of the images of a COCO split, each once, in order of first mention.

    Whether a statement is true plays no part: a false one talks about the image as well.
    """
    return list(dict.fromkeys(line.image for line in lines if line.split == split))


def select_images(
    names: Sequence[str],
    captions: Mapping[str, Sequence[str]],
    images_dir: Path,
    split: str,
) -> tuple[list[SelectedImage], list[Rejection]]:
    """Join images with their captions and the digests of their files.

    Args:
        names: File names, each once.
        captions: Captions by file name.
        images_dir: Folder that holds the folder `split`.
        split: COCO split of the images.

    Returns:
        The images with at least one caption that says something, and what was left out and why.
    """
    selected, rejected = [], []
    for name in names:
        key = PurePosixPath(name).stem
        texts = captions.get(name)
        kept = [text for text in texts or () if text.strip()]
        path = images_dir / split / name
        if texts is None or len(texts) == 0:
            rejected.append(_rejection(key, RejectionReason.CAPTION_MISSING, name))
        elif not kept:
            rejected.append(_rejection(key, RejectionReason.CAPTION_EMPTY, f"{len(texts)} blank"))
        elif not path.is_file():
            rejected.append(_rejection(key, RejectionReason.IMAGE_MISSING, f"{split}/{name}"))
        else:
            selected.append(
                SelectedImage(
                    key=key,
                    image_path=f"{split}/{name}",
                    image_sha256=file_digest(path),
                    captions=kept,
                )
            )
    return selected, rejected


def _rejection(key: str, reason: RejectionReason, detail: str) -> Rejection:
    return Rejection(key=key, stage=STAGE, reason=reason, detail=detail)
