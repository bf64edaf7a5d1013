"""From phrases and images to one mask a phrase."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from groundingdino.models.GroundingDINO.groundingdino import GroundingDINO
from jaxtyping import Float, UInt8
from PIL import Image
from segment_anything_hq.modeling import Sam
from torch import Tensor

from data_schemas.records import GroundedPhrase, NounPhrase
from tokencompose_core.masking.detect_phrases import (
    PhraseBox,
    batch_equal,
    detect_in_pixels,
    prepare_image,
    prepared_size,
)
from tokencompose_core.masking.prompts import Prompting, phrase_in_prompt
from tokencompose_core.masking.sam_hq import prepare_for_segmenter, segment_in_pixels
from tokencompose_core.store.read_ahead import read_ahead
from tokencompose_core.store.run_lengths import encode_mask


@dataclass(frozen=True)
class _Prepared:
    size: tuple[int, int]
    for_detector: Float[Tensor, "3 _ _"]
    for_segmenter: UInt8[Tensor, "3 _ _"]


def ground_phrases(
    detector: GroundingDINO,
    segmenter: Sam,
    load_image: Callable[[int], Image.Image],
    sizes: Sequence[tuple[int, int]],
    phrases: Sequence[Sequence[NounPhrase]],
    *,
    box_threshold: float,
    text_threshold: float,
    nms_threshold: float,
    short_side: int,
    long_side: int,
    batch_size: int,
    prompting: Prompting = "caption",
) -> Iterator[tuple[int, list[GroundedPhrase]]]:
    """Find boxes and masks of every phrase of many images.

    Images that the detector sees at one size share a batch, wherever they stand; so what is found
    in an image does not depend on the others. While the models work on a batch, the next one is
    loaded and resized; no more than these two are in memory. The masks of all boxes of a phrase are
    united. A phrase that occurs twice in a caption gets the same mask both times.

    Args:
        detector: A loaded Grounding DINO.
        segmenter: A loaded SAM-HQ.
        load_image: Gives the image of an index, and is called in another thread.
        sizes: Width and height of every image.
        phrases: For each image its phrases, at least one.
        box_threshold: See `detect_phrases`, as for all that follow but the batch size.
        text_threshold: Least score of the phrase that a box is given to.
        nms_threshold: IoU above which boxes of one phrase are reduced to the best.
        short_side: Pixels of the short side that the detector sees.
        long_side: Most pixels of the long side.
        batch_size: Images that the detector sees together.
        prompting: How phrases are shared out over prompts.

    Yields:
        Index of an image and its phrases, batch by batch.

    Raises:
        ValueError: If an image has no phrase.
    """

    def prepare(batch: list[int]) -> list[_Prepared]:
        images = map(load_image, batch)
        return [
            _Prepared(
                image.size,
                prepare_image(image, short_side, long_side),
                prepare_for_segmenter(segmenter, image),
            )
            for image in images
        ]

    shapes = [prepared_size(*size, short_side=short_side, long_side=long_side) for size in sizes]
    batches = batch_equal(shapes, batch_size)
    for batch, prepared in zip(batches, read_ahead(prepare, batches), strict=True):
        found = detect_in_pixels(
            detector,
            [image.for_detector for image in prepared],
            [image.size for image in prepared],
            [[phrase.text for phrase in phrases[index]] for index in batch],
            threshold=max(box_threshold, text_threshold),
            nms_threshold=nms_threshold,
            prompting=prompting,
        )
        for index, image, boxes in zip(batch, prepared, found, strict=True):
            masks = segment_in_pixels(
                segmenter, image.for_segmenter, image.size, [box.box_xyxy for box in boxes]
            )
            yield index, _assign(phrases[index], boxes, masks)


def _assign(
    phrases: Sequence[NounPhrase], boxes: Sequence[PhraseBox], masks: np.ndarray
) -> list[GroundedPhrase]:
    of_text: dict[str, list[int]] = {}
    for number, box in enumerate(boxes):
        text = phrase_in_prompt(phrases[box.phrase_index].text)
        of_text.setdefault(text, []).append(number)
    return [
        _grounded(phrase, of_text.get(phrase_in_prompt(phrase.text), []), boxes, masks)
        for phrase in phrases
    ]


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
