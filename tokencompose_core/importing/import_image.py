"""Import an image: one of its rows, and the masks of the row's nouns."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from data_schemas.records import GroundedCaption, SelectedImage
from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.importing.ground_row import BlackMasks, ground_row
from tokencompose_core.importing.read_rows import STAGE, ListedRow
from tokencompose_core.store.open_image import BadImageError, open_selected


def import_image(
    image: SelectedImage,
    rows: Sequence[ListedRow | Rejection],
    images_dir: Path,
    mask_roots: tuple[Path, ...],
    black_masks: BlackMasks,
) -> tuple[GroundedCaption | None, list[Rejection], Counter[str]]:
    """Ground the nouns of an image's first row that can be used.

    Args:
        image: The image, as it was selected.
        rows: All its rows.
        images_dir: The image root.
        mask_roots: Folder of the masks, see `roots_of`.
        black_masks: What an all-black mask stands for, see `ground_row`.

    Returns:
        The caption with its phrases, if a noun has a mask; what is left out, a rejection for every
        row that is not the caption's; and counts of what was met, see `ground_row`.

    Raises:
        ValueError: If the image has no row with a caption that was selected, or has changed.
    """
    rejections = [row for row in rows if isinstance(row, Rejection)]
    listed = [row for row in rows if isinstance(row, ListedRow)]
    row = next((row for row in listed if row.caption in image.captions), None)
    if row is None:
        if not rejections:
            raise ValueError(
                f"the captions of {image.image_path} have changed since it was selected; run the"
                " flow again"
            )
        return None, rejections + _refuse(listed, image), Counter()
    rejections += _refuse([other for other in listed if other is not row], image)
    try:
        size = open_selected(images_dir / image.image_path, image.image_sha256).size
    except BadImageError as error:
        rejections.append(
            Rejection(key=image.key, stage=STAGE, reason=error.reason, detail=str(error))
        )
        return None, rejections, Counter()
    caption, lost, met = ground_row(image, size, row, mask_roots, black_masks)
    return caption, rejections + lost, met


def _refuse(rows: Sequence[ListedRow], image: SelectedImage) -> list[Rejection]:
    return [
        Rejection(
            key=image.key,
            stage=STAGE,
            reason=RejectionReason.ID_TAKEN,
            detail=f"{image.image_path} has another row; not taken: {row.caption}",
        )
        for row in rows
    ]
