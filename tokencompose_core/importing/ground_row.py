"""From a caption with listed nouns to phrases with masks."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as coco_mask

from data_schemas.records import GroundedCaption, GroundedPhrase, SelectedImage
from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.importing.locate_nouns import locate_nouns
from tokencompose_core.importing.open_mask import BadMaskError, find_mask, open_mask
from tokencompose_core.importing.read_rows import STAGE, ListedRow
from tokencompose_core.store.run_lengths import encode_mask

BlackMasks = Literal["whole_image", "none"]
Problem = tuple[RejectionReason, str]


def ground_row(
    image: SelectedImage,
    size: tuple[int, int],
    row: ListedRow,
    mask_roots: tuple[Path, ...],
    black_masks: BlackMasks,
) -> tuple[GroundedCaption | None, list[Rejection], Counter[str]]:
    """Give every occurrence of a listed noun the noun's mask.

    Two defects of the released masks matter here:

    - A mask of the whole image was written all black, because its values were stretched from their
      least to their highest. The segmenter practically never returns an empty mask for a box that
      was detected, so a black PNG is taken for the whole image (`whole_image`), unless the masks
      are of another origin, where black means nothing (`none`).
    - If the detector had two labels for one noun ("dog", "small dog"), the PNG of the second
      replaced that of the first instead of being united with it. What was in the first is lost, and
      nothing in the file tells. Only nouns that share a PNG because their names differ in a space
      ("wine glass", "wine_glass") can be seen, and are counted; each gets what the file holds.

    A noun that is listed twice is one noun: its masks are united.

    Args:
        image: The image.
        size: Its width and height, upright.
        row: Its caption with the nouns.
        mask_roots: Folder of the masks, see `roots_of`.
        black_masks: What an all-black PNG stands for.

    Returns:
        The caption with its phrases in order of appearance, or None if no noun has a mask; why a
        noun, or all of it, is left out; and counts of what was met. A noun without a mask stays
        among the phrases if it stands in the caption, as in the stage `mask`. A mask's box is the
        tightest one, and has no score.
    """
    paths: dict[str, list[str]] = {}
    for noun in row.nouns:
        own = paths.setdefault(noun.text, [])
        if noun.mask is not None and noun.mask not in own:
            own.append(noun.mask)
    sharers = Counter(path for own in paths.values() for path in own)
    facts = Counter(
        nouns_listed_again=len(row.nouns) - len(paths),
        masks_of_two_nouns=sum(count > 1 for count in sharers.values()),
    )
    problems: list[Problem] = []
    phrases = []
    for text, spans in locate_nouns(row.caption, paths).items():
        if not spans:
            reason = RejectionReason.PHRASE_NOT_IN_CAPTION
            problems.append((reason, f"{text!r}: {row.caption}"))
            continue
        mask, own_problems, num_black = _unite_masks(paths[text], size, mask_roots, black_masks)
        problems += [(reason, f"{text}: {detail}") for reason, detail in own_problems]
        facts["black_masks"] += num_black
        phrases += [_phrase(row.caption, start, end, mask) for start, end in spans]
    grounded = any(phrase.mask_counts for phrase in phrases)
    if not grounded:
        reason = RejectionReason.NO_MASK if row.nouns else RejectionReason.NO_NOUN
        problems.append((reason, row.caption))
    caption = GroundedCaption(
        **image.model_dump(exclude={"captions"}),
        width=size[0],
        height=size[1],
        caption=row.caption,
        phrases=sorted(phrases, key=lambda phrase: phrase.start),
    )
    rejections = [
        Rejection(key=image.key, stage=STAGE, reason=reason, detail=detail)
        for reason, detail in problems
    ]
    return caption if grounded else None, rejections, facts


def _unite_masks(
    paths: Sequence[str], size: tuple[int, int], roots: tuple[Path, ...], black_masks: BlackMasks
) -> tuple[Bool[np.ndarray, "height width"], list[Problem], int]:
    """The union of a noun's masks, what is wrong with them, and how many are black."""
    united = np.zeros(size[::-1], dtype=bool)
    problems: list[Problem] = []
    num_black = 0
    if not paths:
        problems.append((RejectionReason.PHRASE_WITHOUT_MASK, "null"))
    for path in paths:
        try:
            mask = open_mask(find_mask(path, roots), path, size)
        except BadMaskError as error:
            problems.append((error.reason, str(error)))
            continue
        if mask.any():
            united |= mask
            continue
        num_black += 1
        if black_masks == "whole_image":
            united[:] = True
        else:
            problems.append((RejectionReason.PHRASE_WITHOUT_MASK, f"{path} is black"))
    return united, problems, num_black


def _phrase(
    caption: str, start: int, end: int, mask: Bool[np.ndarray, "height width"]
) -> GroundedPhrase:
    grounded = bool(mask.any())
    return GroundedPhrase(
        text=caption[start:end],
        start=start,
        end=end,
        boxes=[_tight_box(mask)] if grounded else [],
        scores=[],
        mask_counts=encode_mask(mask) if grounded else "",
    )


def _tight_box(mask: Bool[np.ndarray, "height width"]) -> list[float]:
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    left, top, width, height = map(float, coco_mask.toBbox(encoded))
    return [left, top, left + width, top + height]
