"""From phrases and images to one mask a phrase."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from data_schemas.records import GroundedPhrase, NounPhrase
from tokencompose_core.masking.detect_phrases import (
    PhraseBox,
    batch_equal,
    detect_in_pixels,
    prepare_image,
    prepared_size,
)
from tokencompose_core.masking.precision import Precision, PrecisionCheck, compute_in
from tokencompose_core.masking.prompts import Prompting, phrase_in_prompt
from tokencompose_core.masking.protocols import Detector, Segmenter
from tokencompose_core.masking.segment_boxes import (
    BOXES_AT_ONCE,
    decode_boxes,
    prepare_for_segmenter,
    unite_masks,
)
from tokencompose_core.store.read_ahead import loaders_beside, read_ahead
from tokencompose_core.store.run_lengths import encode_mask


@dataclass(frozen=True)
class _Prepared:
    size: tuple[int, int]
    for_detector: Float[Tensor, "3 _ _"]
    for_segmenter: UInt8[Tensor, "3 _ _"]


def ground_phrases(
    detector: Detector,
    segmenter: Segmenter,
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
    boxes_at_once: int = BOXES_AT_ONCE,
    precision: PrecisionCheck | None = None,
) -> Iterator[tuple[int, list[GroundedPhrase]]]:
    """Find boxes and masks of every phrase of many images.

    Images that the detector sees at one size share a batch, wherever they stand; so what is found
    in an image does not depend on the others. While the models work on a batch, the next one is
    loaded and resized, beside a GPU the next few; no more than these are in memory. The masks of
    all boxes of a phrase are united, one by one, so that no more than two are in memory at the size
    of the image. A phrase that occurs twice in a caption gets the same mask both times.

    Args:
        detector: A loaded Grounding DINO.
        segmenter: A loaded SAM-HQ.
        load_image: Gives the image of an index, and is called in other threads.
        sizes: Width and height of every image.
        phrases: For each image its phrases, at least one.
        box_threshold: See `detect_phrases`, as for the next four and `prompting`.
        text_threshold: Least score of the phrase that a box is given to.
        nms_threshold: IoU above which boxes of one phrase are reduced to the best.
        short_side: Pixels of the short side that the detector sees.
        long_side: Most pixels of the long side.
        batch_size: Images that the detector sees together.
        prompting: How phrases are shared out over prompts.
        boxes_at_once: Boxes of an image that the segmenter decodes together.
        precision: What to compute in, and how far from float32 it may lie; without it, float32.

    Yields:
        Index of an image and its phrases, batch by batch.

    Raises:
        ValueError: If an image has no phrase, or masks lie too far from those in float32.
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
    check = precision or PrecisionCheck("float32", 0.0)
    ahead = read_ahead(prepare, batches, num_threads=loaders_beside(detector.device))
    for batch, prepared in zip(batches, ahead, strict=True):
        ground = partial(
            _ground_batch,
            detector,
            segmenter,
            prepared,
            [phrases[index] for index in batch],
            threshold=max(box_threshold, text_threshold),
            nms_threshold=nms_threshold,
            prompting=prompting,
            boxes_at_once=boxes_at_once,
        )
        found: Iterable[list[GroundedPhrase]] = ground(precision=check.precision)
        if check.is_due:
            found = list(found)
            check.compare(
                found, list(ground(precision="float32")), [image.size for image in prepared]
            )
        yield from zip(batch, found, strict=True)


def _ground_batch(
    detector: Detector,
    segmenter: Segmenter,
    prepared: Sequence[_Prepared],
    phrases: Sequence[Sequence[NounPhrase]],
    *,
    threshold: float,
    nms_threshold: float,
    prompting: Prompting,
    boxes_at_once: int,
    precision: Precision,
) -> Iterator[list[GroundedPhrase]]:
    with compute_in(detector.device, precision):
        found = detect_in_pixels(
            detector,
            [image.for_detector for image in prepared],
            [image.size for image in prepared],
            [[phrase.text for phrase in words] for words in phrases],
            threshold=threshold,
            nms_threshold=nms_threshold,
            prompting=prompting,
        )
    for image, words, boxes in zip(prepared, phrases, found, strict=True):
        with compute_in(segmenter.device, precision):
            grounded = _segment(segmenter, image, words, boxes, boxes_at_once)
        yield grounded


def _segment(
    segmenter: Segmenter,
    image: _Prepared,
    phrases: Sequence[NounPhrase],
    boxes: Sequence[PhraseBox],
    boxes_at_once: int,
) -> list[GroundedPhrase]:
    logits = decode_boxes(
        segmenter,
        image.for_segmenter,
        image.size,
        [box.box_xyxy for box in boxes],
        boxes_at_once=boxes_at_once,
    )
    of_text: dict[str, list[int]] = {}
    for number, box in enumerate(boxes):  # best first
        text = phrase_in_prompt(phrases[box.phrase_index].text)
        of_text.setdefault(text, []).append(number)
    masks = {}
    for text, own in of_text.items():
        united = unite_masks(segmenter, logits[own], image.for_segmenter, image.size)
        masks[text] = encode_mask(united) if united.any() else ""
    result = []
    for phrase in phrases:
        text = phrase_in_prompt(phrase.text)
        own = of_text.get(text, [])
        result.append(
            GroundedPhrase(
                text=phrase.text,
                start=phrase.start,
                end=phrase.end,
                boxes=[list(boxes[number].box_xyxy) for number in own],
                scores=[boxes[number].score for number in own],
                mask_counts=masks.get(text, ""),
            )
        )
    return result
