"""Grounding DINO, SAM-HQ, and the chain from caption to mask."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_schemas.records import GroundedPhrase
from tokencompose_core.masking.detect_phrases import detect_phrases
from tokencompose_core.masking.ground_phrases import ground_phrases
from tokencompose_core.masking.grounding_dino import load_grounding_dino
from tokencompose_core.masking.sam_hq import load_sam_hq
from tokencompose_core.masking.segment_boxes import segment_boxes
from tokencompose_core.nouns.tagger import find_noun_phrases, load_tagger
from tokencompose_core.pocket.categories import CATEGORIES
from tokencompose_core.pocket.floors.figure import Figure
from tokencompose_core.pocket.floors.held_out import NOUN_TAGS, SMALLEST_AREA, HeldOut
from tokencompose_core.pocket.floors.overlap import box_of, count_matches, mask_iou
from tokencompose_core.store.run_lengths import decode_mask

_BATCH_SIZE = 8
_NAMES = [category.name for category in CATEGORIES]


def measure_grounding_dino(
    models: Path, held_out: Sequence[HeldOut], settings: dict, *, seed: int
) -> list[Figure]:
    """Recall and precision of boxes, and silence about what is not in the picture."""
    folder = models / "grounding_dino"
    model = load_grounding_dino(
        folder / "config.json", folder / "model.safetensors", str(folder / "bert")
    )
    hits = wanted = boxes = silent = 0
    for number, item in enumerate(held_out):
        rng = random.Random(f"absent-{seed}-{number}")
        absent = rng.choice([name for name in _NAMES if name not in item.scene.names])
        phrases = [phrase.text for phrase in item.phrases]
        place = rng.randint(0, len(phrases))
        phrases.insert(place, absent)
        found = detect_phrases(model, [item.image], [phrases], **settings)[0]
        silent += all(box.phrase_index != place for box in found)
        for index, phrase in enumerate(phrases):
            own = [box.box_xyxy for box in found if box.phrase_index == index]
            true = [box_of(mask) for mask in item.masks_of(phrase)]
            if index != place:
                hits += count_matches(true, own)
                wanted += len(true)
                boxes += len(own)
    return [
        Figure("Grounding DINO", "recall at IoU 0.5", hits / wanted, 0.90, 1.0, wanted),
        Figure("Grounding DINO", "precision at IoU 0.5", hits / max(1, boxes), 0.90, 1.0, boxes),
        Figure(
            "Grounding DINO",
            "no box for an absent noun",
            silent / len(held_out),
            0.90,
            1.0,
            len(held_out),
        ),
    ]


def measure_sam_hq(models: Path, held_out: Sequence[HeldOut]) -> list[Figure]:
    """IoU of masks from true boxes."""
    model = load_sam_hq(models / "sam_hq/config.json", models / "sam_hq/model.safetensors")
    values = []
    for item in held_out:
        masks = [item.indices == n for n in range(len(item.scene.objects))]
        masks = [mask for mask in masks if mask.sum() >= SMALLEST_AREA]
        found = segment_boxes(model, item.image, [box_of(mask) for mask in masks])
        values += [mask_iou(mask, own) for mask, own in zip(masks, found, strict=True)]
    return [
        Figure(
            "SAM-HQ", "mask IoU from the true box", float(np.mean(values)), 0.9, 1.0, len(values)
        )
    ]


def measure_chain(
    models: Path, held_out: Sequence[HeldOut], settings: dict
) -> tuple[list[Figure], list[list[GroundedPhrase]]]:
    """IoU of phrase masks from image and caption alone; a phrase without mask counts as 0.

    Returns:
        The figure, and the phrases of each scene with their masks.
    """
    tagger = load_tagger(models / "tagger")
    folder = models / "grounding_dino"
    detector = load_grounding_dino(
        folder / "config.json", folder / "model.safetensors", str(folder / "bert")
    )
    segmenter = load_sam_hq(models / "sam_hq/config.json", models / "sam_hq/model.safetensors")
    phrases = find_noun_phrases(
        tagger, [i.sentence.text for i in held_out], noun_tags=NOUN_TAGS, batch_size=64
    )
    found = dict(
        ground_phrases(
            detector,
            segmenter,
            lambda index: held_out[index].image,
            [item.image.size for item in held_out],
            phrases,
            **settings,
            batch_size=_BATCH_SIZE,
        )
    )
    chains = [found[index] for index in range(len(held_out))]
    values = []
    for item, grounded in zip(held_out, chains, strict=True):
        of_span = {(phrase.start, phrase.end): phrase.mask_counts for phrase in grounded}
        for phrase in item.phrases:
            masks = item.masks_of(phrase.text)
            if masks:
                counts = of_span.get((phrase.start, phrase.end), "")
                own = (
                    decode_mask(counts, item.image.height, item.image.width)
                    if counts
                    else np.zeros_like(masks[0])
                )
                values.append(mask_iou(np.any(masks, axis=0), own))
    figure = Figure("chain", "phrase mask IoU", float(np.mean(values)), 0.8, 1.0, len(values))
    return [figure], chains
