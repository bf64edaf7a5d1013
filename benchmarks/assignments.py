"""How well phrases get their masks, by the way boxes are assigned to phrases.

    python benchmarks/assignments.py [--scenes 200] [--seed 91]

On scenes of the pocket world that no model was trained on, with the same Grounding DINO and SAM-HQ
for all:

(a) span       a box goes to the phrase whose tokens it answers to most on average, by their place
               in the prompt; this is what the stage `mask` does
(b) substring  as the released code of TokenCompose does it: every token above the threshold is
               decoded into a label, labels are matched to nouns by spelling, and of two labels of
               one noun the later overwrites the earlier
(c) phrase     as (a), with a prompt for every phrase

Once with the nouns of the caption; once with two nouns more for which there is nothing to see; and
once, where a word exists that holds the spelling of a noun (carpet, car), with that word besides
and the noun in capitals, as at the start of a caption.
"""

import argparse
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from groundingdino.util.utils import get_phrases_from_posmap
from torchvision.ops import box_convert

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.records import NounPhrase
from tokencompose_core.checkpoints.locate import require
from tokencompose_core.masking.detect_phrases import prepare_image
from tokencompose_core.masking.ground_phrases import ground_phrases
from tokencompose_core.masking.grounding_dino import load_grounding_dino
from tokencompose_core.masking.protocols import Detector, Segmenter
from tokencompose_core.masking.sam_hq import load_sam_hq
from tokencompose_core.masking.segment_boxes import segment_boxes
from tokencompose_core.pocket.categories import CATEGORIES
from tokencompose_core.pocket.floors.held_out import HeldOut, draw_held_out
from tokencompose_core.pocket.floors.overlap import mask_iou
from tokencompose_core.store.run_lengths import decode_mask

CONFIG = CurateConfig.load("pocket").mask
LONGER = {
    "cat": "cattle",
    "chair": "armchair",
    "clock": "clockwork",
    "cup": "cupboard",
    "car": "carpet",
    "boat": "boathouse",
    "kite": "kitesurfer",
}
Masks = dict[str, np.ndarray]
"""Mask of each noun, by the noun in lower case; nouns without one are left out."""


@torch.inference_mode()
def released_masks(
    detector: Detector,
    segmenter: Segmenter,
    item: HeldOut,
    nouns: Sequence[str],
    order: random.Random,
) -> Masks:
    """Variant (b)."""
    # The released code takes the nouns out of a set, in an order that differs from run to run.
    words = list(dict.fromkeys(nouns))
    order.shuffle(words)
    prompt = " . ".join(words).lower().strip()
    prompt = prompt if prompt.endswith(".") else f"{prompt}."
    pixels = prepare_image(item.image, CONFIG.short_side, CONFIG.long_side)
    (probabilities,), (boxes,) = detector.detect(pixels[None], [prompt])
    kept = probabilities.amax(dim=1) > CONFIG.box_threshold
    corners = box_convert(boxes[kept], "cxcywh", "xyxy")
    corners = corners * torch.tensor(item.image.size).repeat(2)
    tokens = detector.tokenizer(prompt)
    labels = [
        get_phrases_from_posmap(row > CONFIG.text_threshold, tokens, detector.tokenizer)
        for row in probabilities[kept]
    ]
    masks = segment_boxes(segmenter, item.image, corners.tolist())
    of_label: dict[str, np.ndarray] = {}
    for label, mask in zip(labels, masks, strict=True):
        of_label[label] = of_label[label] | mask if label in of_label else mask
    result: Masks = {}
    for label, mask in of_label.items():
        noun = match_label(label, words)
        if noun is not None:
            result[noun.lower()] = mask
    return result


def match_label(label: str, words: Sequence[str]) -> str | None:
    """The noun that a label is given to by the released code."""
    for spelt in (label, label.upper(), label.lower(), label.replace(" - ", "-")):
        if spelt in words:
            return spelt
    low = label.lower()
    # A noun that shares any letters in a row comes before one that shares a whole word.
    for word in words:
        if word.lower() in low or low in word.lower():
            return word
    for word in words:
        if word.lower() in low.split(" ") or low in word.lower().split(" "):
            return word
    return next((w for w in words if all(t.lower() in w.lower() for t in label.split(" "))), None)


def our_masks(
    detector: Detector, segmenter: Segmenter, held_out: Sequence[HeldOut], nouns, prompting: str
) -> Iterator[Masks]:
    """Variants (a) and (c)."""
    phrases = [[NounPhrase(text=noun, start=0, end=0) for noun in words] for words in nouns]
    found = dict(
        ground_phrases(
            detector,
            segmenter,
            lambda index: held_out[index].image,
            [item.image.size for item in held_out],
            phrases,
            box_threshold=CONFIG.box_threshold,
            text_threshold=CONFIG.text_threshold,
            nms_threshold=CONFIG.nms_threshold,
            short_side=CONFIG.short_side,
            long_side=CONFIG.long_side,
            batch_size=CONFIG.batch_size,
            prompting=prompting,
        )
    )
    for index, item in enumerate(held_out):
        yield {
            phrase.text.lower(): decode_mask(
                phrase.mask_counts, item.image.height, item.image.width
            )
            for phrase in found[index]
            if phrase.mask_counts
        }


def measure(
    held_out: Sequence[HeldOut], nouns: Sequence[Sequence[str]], found: Sequence[Masks]
) -> tuple[float, float, float, int, int]:
    """IoU, precision, recall, and of how many nouns with something to see and masks they are.

    A mask is right if its IoU with everything that the noun names is at least one half; a mask of a
    noun that names nothing in the picture is wrong.
    """
    overlaps, right, masks = [], 0, 0
    for item, words, own in zip(held_out, nouns, found, strict=True):
        for noun in words:
            mask = own.get(noun.lower())
            true = item.masks_of(noun)
            overlap = mask_iou(np.any(true, axis=0), mask) if true and mask is not None else 0.0
            masks += mask is not None
            right += overlap >= 0.5
            if true:
                overlaps.append(overlap)
    count = len(overlaps)
    return float(np.mean(overlaps)), right / max(1, masks), right / count, count, masks


def with_absent_nouns(item: HeldOut, rng: random.Random) -> list[str]:
    """The nouns of the caption, with two categories among them that the scene lacks."""
    absent = [c.name for c in CATEGORIES if c.name not in item.scene.names]
    words = [*dict.fromkeys(p.text for p in item.phrases), *rng.sample(absent, 2)]
    rng.shuffle(words)
    return words


def with_longer_word(item: HeldOut, rng: random.Random) -> list[str]:
    """The nouns of the caption, one of them in capitals and a word that holds its spelling."""
    words = list(dict.fromkeys(p.text for p in item.phrases))
    noun = rng.choice([word for word in words if word in LONGER])
    words[words.index(noun)] = noun.title()
    return [*words, LONGER[noun]]


def main() -> None:
    """Print one table for each set of nouns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=91)
    options = parser.parse_args()
    detector = load_grounding_dino(
        require(CONFIG.detector_config),
        require(CONFIG.detector_checkpoint),
        str(require(CONFIG.text_encoder)),
    )
    segmenter = load_sam_hq(require(CONFIG.segmenter_config), require(CONFIG.segmenter_checkpoint))
    held_out = draw_held_out(options.scenes, seed=options.seed)
    rng = random.Random(options.seed)
    spelt = [i for i in held_out if any(p.text in LONGER for p in i.phrases)]
    sets = {
        "nouns of the caption": [
            (item, list(dict.fromkeys(p.text for p in item.phrases))) for item in held_out
        ],
        "and two nouns that are not in the picture": [
            (item, with_absent_nouns(item, rng)) for item in held_out
        ],
        "a noun in capitals and a longer word that holds it": [
            (item, with_longer_word(item, rng)) for item in spelt
        ],
    }
    for title, pairs in sets.items():
        scenes, nouns = [item for item, _ in pairs], [words for _, words in pairs]
        order = random.Random(options.seed)
        found = {
            "(a) span": our_masks(detector, segmenter, scenes, nouns, "caption"),
            "(b) substring": (
                released_masks(detector, segmenter, item, words, order) for item, words in pairs
            ),
            "(c) phrase": our_masks(detector, segmenter, scenes, nouns, "phrase"),
        }
        print(f"\n{title}: {len(pairs)} scenes, seed {options.seed}")
        print(f"{'assignment':16}{'IoU':>8}{'precision':>11}{'recall':>8}{'nouns':>8}{'masks':>8}")
        for name, masks in found.items():
            iou, precision, recall, count, given = measure(scenes, nouns, list(masks))
            print(f"{name:16}{iou:8.3f}{precision:11.3f}{recall:8.3f}{count:8}{given:8}")


if __name__ == "__main__":
    main()
