"""Grounding DINO and SAM-HQ of both packages, with the same weights, and with fewer digits.

    python benchmarks/backends.py [--scenes 24] [--batch-size 8] [--device cpu]

The pocket models are converted to transformers. First the models alone are compared: the largest
differences of probabilities and boxes, and the IoU of masks from the true boxes; each also without
what is mended in one of the packages. Then the stage's masks of all combinations, in float32 and
fewer digits, with those of groundingdino-py and segment-anything-hq in float32.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import torch
from transformers import SamHQModel

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.records import GroundedPhrase
from tokencompose_core.checkpoints.locate import require
from tokencompose_core.masking.convert_grounding_dino import convert_grounding_dino
from tokencompose_core.masking.convert_sam_hq import convert_sam_hq
from tokencompose_core.masking.detect_phrases import batch_equal, prepare_image
from tokencompose_core.masking.ground_phrases import ground_phrases
from tokencompose_core.masking.grounding_dino import (
    PackagedGroundingDino,
    build_grounding_dino,
    load_grounding_dino,
    load_grounding_dino_config,
)
from tokencompose_core.masking.precision import PrecisionCheck
from tokencompose_core.masking.prompts import build_prompt
from tokencompose_core.masking.protocols import Detector, Segmenter
from tokencompose_core.masking.sam_hq import load_sam_hq
from tokencompose_core.masking.segment_boxes import segment_boxes
from tokencompose_core.masking.transformers_grounding_dino import load_transformers_grounding_dino
from tokencompose_core.masking.transformers_sam_hq import (
    TransformersSamHq,
    load_transformers_sam_hq,
)
from tokencompose_core.pocket.floors.held_out import SMALLEST_AREA, HeldOut, draw_held_out
from tokencompose_core.pocket.floors.overlap import box_of, mask_iou
from tokencompose_core.store import run_lengths

CONFIG = CurateConfig.load("pocket").mask
DETECTOR = (
    require(CONFIG.detector_config),
    require(CONFIG.detector_checkpoint),
    str(require(CONFIG.text_encoder)),
)
SEGMENTER = (require(CONFIG.segmenter_config), require(CONFIG.segmenter_checkpoint))


def as_packaged(detector: PackagedGroundingDino) -> PackagedGroundingDino:
    """The same weights, without `keep_texts_apart`."""
    config, _, text_encoder = DETECTOR
    with redirect_stdout(None):  # groundingdino-py prints the name of its text encoder
        model = build_grounding_dino(load_grounding_dino_config(config, text_encoder))
    model.load_state_dict(detector.model.state_dict())
    return PackagedGroundingDino(model.to(detector.device).eval())


@torch.inference_mode()
def compare_detectors(
    one: Detector, other: Detector, held_out: Sequence[HeldOut], batch_size: int
) -> tuple[float, float]:
    """Largest difference of a probability, and of a box as a share of the image."""
    pixels = [prepare_image(i.image, CONFIG.short_side, CONFIG.long_side) for i in held_out]
    prompts = [build_prompt([phrase.text for phrase in item.phrases])[0] for item in held_out]
    largest = [0.0, 0.0]
    for batch in batch_equal([image.shape for image in pixels], batch_size):
        images, asked = torch.stack([pixels[n] for n in batch]), [prompts[n] for n in batch]
        pairs = zip(one.detect(images, asked), other.detect(images, asked), strict=True)
        for kind, (ours, theirs) in enumerate(pairs):
            largest[kind] = max(largest[kind], float((ours - theirs).abs().max()))
    return largest[0], largest[1]


def compare_segmenters(
    one: Segmenter, other: Segmenter, held_out: Sequence[HeldOut]
) -> tuple[float, float, int]:
    """Mean and lowest IoU of masks from true boxes, and of how many."""
    overlaps = []
    for item in held_out:
        masks = [item.indices == n for n in range(len(item.scene.objects))]
        boxes = [box_of(mask) for mask in masks if mask.sum() >= SMALLEST_AREA]
        pairs = zip(*(segment_boxes(s, item.image, boxes) for s in (one, other)), strict=True)
        overlaps += [mask_iou(ours, theirs) for ours, theirs in pairs]
    return float(np.mean(overlaps)), min(overlaps), len(overlaps)


def ground(
    detector: Detector,
    segmenter: Segmenter,
    held_out: Sequence[HeldOut],
    batch_size: int,
    precision: PrecisionCheck,
) -> dict[int, list[GroundedPhrase]]:
    """What the core of the stage finds."""
    return dict(
        ground_phrases(
            detector,
            segmenter,
            lambda index: held_out[index].image,
            [item.image.size for item in held_out],
            [item.phrases for item in held_out],
            box_threshold=CONFIG.box_threshold,
            text_threshold=CONFIG.text_threshold,
            nms_threshold=CONFIG.nms_threshold,
            short_side=CONFIG.short_side,
            long_side=CONFIG.long_side,
            batch_size=batch_size,
            boxes_at_once=CONFIG.boxes_at_once,
            precision=precision,
        )
    )


def overlaps(
    found: dict[int, list[GroundedPhrase]],
    exact: dict[int, list[GroundedPhrase]],
    held_out: Sequence[HeldOut],
) -> list[float]:
    """IoU of every mask that either found."""
    return [
        run_lengths.mask_iou(a.mask_counts, b.mask_counts, item.image.height, item.image.width)
        for index, item in enumerate(held_out)
        for a, b in zip(found[index], exact[index], strict=True)
        if a.mask_counts or b.mask_counts
    ]


def main() -> None:
    """Print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=CONFIG.batch_size)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device, held_out = options.device, draw_held_out(options.scenes, seed=93)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        convert_grounding_dino(*DETECTOR, folder / "dino")
        convert_sam_hq(*SEGMENTER, folder / "sam")
        detectors = {
            "groundingdino": load_grounding_dino(*DETECTOR, device=device),
            "transformers": load_transformers_grounding_dino(str(folder / "dino"), device=device),
        }
        segmenters = {
            "segment_anything_hq": load_sam_hq(*SEGMENTER, device=device),
            "transformers": load_transformers_sam_hq(str(folder / "sam"), device=device),
        }
        plain = SamHQModel.from_pretrained(folder / "sam").to(device).eval()
    ours, theirs = detectors.values()
    for title, one in (("", ours), (", texts not kept apart", as_packaged(ours))):
        differences = compare_detectors(one, theirs, held_out, options.batch_size)
        print(f"detectors{title}: probabilities {differences[0]:.1e}, boxes {differences[1]:.1e}")
    ours, theirs = segmenters.values()
    for title, other in (("", theirs), (", transformers as it is", TransformersSamHq(plain))):
        mean, lowest, count = compare_segmenters(ours, other, held_out)
        print(f"segmenters{title}: IoU {mean:.4f}, lowest {lowest:.4f}, {count} masks")

    exact = None
    print(
        f"\n{'detector':14} {'segmenter':20} {'precision':9} {'IoU':>7} {'lowest':>7} {'img/s':>6}"
    )
    digits = ("float32", "bfloat16") if device == "cpu" else ("float32", "bfloat16", "float16")
    for precision in digits:
        for detector_name, detector in detectors.items():
            for segmenter_name, segmenter in segmenters.items():
                # Measured here, over all scenes.
                check = PrecisionCheck(precision, 0.0, least_masks=0)
                started = time.perf_counter()
                found = ground(detector, segmenter, held_out, options.batch_size, check)
                seconds = time.perf_counter() - started
                exact = exact or found
                values = overlaps(found, exact, held_out)
                print(
                    f"{detector_name:14} {segmenter_name:20} {precision:9} {np.mean(values):7.4f}"
                    f" {min(values):7.4f} {len(held_out) / seconds:6.1f}"
                )


if __name__ == "__main__":
    main()
