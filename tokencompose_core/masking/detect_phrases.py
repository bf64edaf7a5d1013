"""Boxes for phrases, by Grounding DINO (arXiv:2303.05499)."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor
from torchvision.ops import batched_nms, box_convert
from torchvision.transforms.v2 import functional as transforms

from tokencompose_core.masking.prompts import (
    Prompting,
    build_prompt,
    phrase_token_masks,
    split_phrases,
)
from tokencompose_core.masking.protocols import Detector

Box = tuple[float, float, float, float]
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class PhraseBox:
    """A box that a phrase got.

    Attributes:
        phrase_index: Which of the given phrases; the first of those that are equal.
        score: Highest token probability of the phrase, in [0, 1].
        box_xyxy: Left, top, right, bottom in pixels of the image.
    """

    phrase_index: int
    score: float
    box_xyxy: Box


def prepared_size(width: int, height: int, *, short_side: int, long_side: int) -> tuple[int, int]:
    """Width and height at which the model sees an image of this size."""
    scale = min(short_side / min(width, height), long_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def prepare_image(
    image: Image.Image, short_side: int, long_side: int
) -> Float[Tensor, "3 height width"]:
    """Resize to `short_side` pixels on the short side, and at most `long_side` on the long one."""
    size = prepared_size(*image.size, short_side=short_side, long_side=long_side)
    pixels = transforms.to_image(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))
    pixels = transforms.to_dtype(pixels, torch.float32, scale=True)
    return transforms.normalize(pixels, list(_MEAN), list(_DEVIATION))


def detect_phrases(
    detector: Detector,
    images: Sequence[Image.Image],
    phrases: Sequence[Sequence[str]],
    *,
    box_threshold: float,
    text_threshold: float,
    nms_threshold: float,
    short_side: int,
    long_side: int,
    prompting: Prompting = "caption",
) -> list[list[PhraseBox]]:
    """Find boxes of each image's phrases.

    A box belongs to the phrase whose tokens it answers to most strongly on average, by their
    positions in the prompt and not by their spelling.

    Args:
        detector: A loaded Grounding DINO.
        images: Pictures of one batch.
        phrases: For each picture, at least one phrase.
        box_threshold: Least score of a box.
        text_threshold: Least score of the phrase that a box is given to.
        nms_threshold: IoU above which boxes of one phrase are reduced to the best.
        short_side: Pixels of the short side that the detector sees.
        long_side: Most pixels of the long side.
        prompting: Whether all phrases of an image stand in one prompt, or in more if the text
            encoder does not hold them; or each in a prompt of its own.

    Returns:
        For each picture its boxes, best first.

    Raises:
        ValueError: If an image has no phrase.
    """
    return detect_in_pixels(
        detector,
        [prepare_image(image, short_side, long_side) for image in images],
        [image.size for image in images],
        phrases,
        threshold=max(box_threshold, text_threshold),
        nms_threshold=nms_threshold,
        prompting=prompting,
    )


@torch.inference_mode()
def detect_in_pixels(
    detector: Detector,
    pixels: Sequence[Float[Tensor, "3 _ _"]],
    sizes: Sequence[tuple[int, int]],
    phrases: Sequence[Sequence[str]],
    *,
    threshold: float,
    nms_threshold: float,
    prompting: Prompting = "caption",
) -> list[list[PhraseBox]]:
    """Find boxes in images that `prepare_image` has prepared.

    Images of equal shape go through the model together, at most as many as are given.

    Args:
        detector: A loaded Grounding DINO.
        pixels: Prepared images.
        sizes: Width and height of each image before that.
        phrases: For each image, at least one phrase.
        threshold: Least score of a box.
        nms_threshold: See `detect_phrases`, as for `prompting`.
        prompting: How phrases are shared out over prompts.

    Raises:
        ValueError: If an image has no phrase.
    """
    for index, words in enumerate(phrases):
        if not words:
            raise ValueError(f"image {index} of the batch has no phrase to look for")
    queries = [
        (index, group)
        for index, words in enumerate(phrases)
        for group in split_phrases(detector.tokenizer, words, detector.max_text_len, prompting)
    ]
    result: list[list[PhraseBox]] = [[] for _ in pixels]
    for batch in batch_equal([pixels[index].shape for index, _ in queries], len(pixels)):
        asked = [queries[number] for number in batch]
        prompts = [build_prompt([phrases[index][i] for i in group]) for index, group in asked]
        probabilities, boxes = detector.detect(
            torch.stack([pixels[index] for index, _ in asked]), [prompt for prompt, _ in prompts]
        )
        boxes = box_convert(boxes, "cxcywh", "xyxy")
        for row, (index, group) in enumerate(asked):
            prompt, spans = prompts[row]
            masks = phrase_token_masks(detector.tokenizer, prompt, spans, probabilities.shape[-1])
            corners = boxes[row].clamp(0, 1) * torch.tensor(sizes[index]).repeat(2)
            result[index] += [
                PhraseBox(group[phrase], score, corner)
                for phrase, score, corner in _keep_boxes(
                    corners, probabilities[row], masks, threshold, nms_threshold
                )
            ]
    return [sorted(found, key=lambda box: -box.score) for found in result]


def batch_equal(shapes: Sequence[Hashable], batch_size: int) -> list[list[int]]:
    """Indices in batches of equal shapes.

    Images of unlike shapes could share a batch only with padding, and Grounding DINO sees that:
    its Swin attends to padded pixels, and its group normalisation counts them.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, shape in enumerate(shapes):
        groups.setdefault(shape, []).append(index)
    return [
        group[start : start + batch_size]
        for group in groups.values()
        for start in range(0, len(group), batch_size)
    ]


def assign_boxes(
    probabilities: Float[Tensor, "queries tokens"], masks: Bool[Tensor, "phrases tokens"]
) -> tuple[Int[Tensor, " queries"], Float[Tensor, " queries"]]:
    """Give each box to a phrase.

    Args:
        probabilities: How much each box answers to each token of the prompt, in [0, 1].
        masks: Which tokens belong to each phrase, one at least.

    Returns:
        For each box the phrase of highest mean probability, as in Grounding DINO's evaluation on
        COCO, and the highest probability among that phrase's tokens. The highest one alone would
        often give a box to a rare word, of whose many tokens some answer to anything.
    """
    means = torch.stack([probabilities[:, mask].mean(dim=1) for mask in masks], dim=1)
    phrase = means.argmax(dim=1)
    return phrase, probabilities.masked_fill(~masks[phrase], 0.0).amax(dim=1)


def _keep_boxes(
    corners: Float[Tensor, "queries 4"],
    probabilities: Float[Tensor, "queries tokens"],
    masks: Bool[Tensor, "phrases tokens"],
    threshold: float,
    nms_threshold: float,
) -> list[tuple[int, float, Box]]:
    phrase, scores = assign_boxes(probabilities, masks)
    solid = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
    order = ((scores > threshold) & solid).nonzero()[:, 0]
    order = order[batched_nms(corners[order], scores[order], phrase[order], nms_threshold)]
    return [(int(phrase[i]), float(scores[i]), tuple(corners[i].tolist())) for i in order]
