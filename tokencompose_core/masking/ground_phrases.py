"""From phrases and an image to one mask a phrase."""

from collections.abc import Sequence

import numpy as np
from groundingdino.models.GroundingDINO.groundingdino import GroundingDINO
from PIL import Image
from segment_anything_hq.modeling import Sam

from data_schemas.records import GroundedPhrase, NounPhrase
from tokencompose_core.masking.grounding_dino import PhraseBox, detect_phrases
from tokencompose_core.masking.sam_hq import segment_boxes
from tokencompose_core.store.run_lengths import encode_mask


def ground_phrases(
    detector: GroundingDINO,
    segmenter: Sam,
    images: Sequence[Image.Image],
    phrases: Sequence[Sequence[NounPhrase]],
    *,
    box_threshold: float,
    text_threshold: float,
    nms_threshold: float,
    short_side: int,
    long_side: int,
) -> list[list[GroundedPhrase]]:
    """Find boxes and masks of every phrase.

    The masks of all boxes of a phrase are united. A phrase that occurs twice in a caption gets the
    same mask both times.

    Args:
        detector: A loaded Grounding DINO.
        segmenter: A loaded SAM-HQ.
        images: Pictures of one batch.
        phrases: For each picture its phrases, at least one.
        box_threshold: See `detect_phrases`, as for all that follow.
        text_threshold: Least score of the phrase that a box is given to.
        nms_threshold: IoU above which boxes of one phrase are reduced to the best.
        short_side: Pixels of the short side that the detector sees.
        long_side: Most pixels of the long side.
    """
    found = detect_phrases(
        detector,
        images,
        [[phrase.text for phrase in words] for words in phrases],
        box_threshold=box_threshold,
        text_threshold=text_threshold,
        nms_threshold=nms_threshold,
        short_side=short_side,
        long_side=long_side,
    )
    result = []
    for image, words, boxes in zip(images, phrases, found, strict=True):
        masks = segment_boxes(segmenter, image, [box.box_xyxy for box in boxes])
        of_text: dict[str, list[int]] = {}
        for index, box in enumerate(boxes):
            of_text.setdefault(words[box.phrase_index].text.lower(), []).append(index)
        result.append(
            [
                _grounded(phrase, of_text.get(phrase.text.lower(), []), boxes, masks)
                for phrase in words
            ]
        )
    return result


def _grounded(
    phrase: NounPhrase, own: list[int], boxes: Sequence[PhraseBox], masks: np.ndarray
) -> GroundedPhrase:
    own = sorted(own, key=lambda index: -boxes[index].score)
    united = np.any(masks[own], axis=0)
    return GroundedPhrase(
        text=phrase.text,
        start=phrase.start,
        end=phrase.end,
        boxes=[list(boxes[index].box_xyxy) for index in own],
        scores=[boxes[index].score for index in own],
        mask_counts=encode_mask(united) if own and united.any() else "",
    )
