"""Find categories in images with OWLv2 (arXiv:2306.09683)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from transformers import Owlv2ForObjectDetection, Owlv2Processor

LOWEST_SCORE = 0.01
"""Boxes below this are not kept, so a threshold may be changed without running the model again."""


@dataclass(frozen=True)
class Owlv2:
    """A loaded detector with its processor."""

    model: Owlv2ForObjectDetection
    processor: Owlv2Processor


@dataclass(frozen=True)
class Detection:
    """A box with the category that fits it best."""

    category: str
    score: float
    box_xyxy: tuple[float, float, float, float]


def load_owlv2(model: str | Path, *, revision: str = "", device: str = "cpu") -> Owlv2:
    """Load an OWLv2 from a folder or the hub."""
    return Owlv2(
        Owlv2ForObjectDetection.from_pretrained(str(model), revision=revision or "main")
        .to(device)
        .eval(),
        # The slow processor is the one that MultiGen's release used; the fast one differs a little.
        Owlv2Processor.from_pretrained(str(model), revision=revision or "main", use_fast=False),
    )


@torch.inference_mode()
def detect_categories(
    owlv2: Owlv2,
    images: Sequence[Image.Image],
    categories: Sequence[Sequence[str]],
    *,
    query: str,
    batch_size: int,
) -> list[list[Detection]]:
    """Boxes above `LOWEST_SCORE` of the categories asked for, best first.

    As in MultiGen's release every category is a text query, and a box belongs to its best query
    alone.

    Args:
        owlv2: A loaded detector.
        images: Pictures in RGB.
        categories: For every picture the categories to look for; as many for each.
        query: Text query of a category, with `{name}` in its place.
        batch_size: Pictures at once.
    """
    found: list[list[Detection]] = []
    for start in range(0, len(images), batch_size):
        batch = list(images[start : start + batch_size])
        names = [list(part) for part in categories[start : start + batch_size]]
        inputs = owlv2.processor(
            text=[[query.format(name=name) for name in part] for part in names],
            images=batch,
            return_tensors="pt",
        ).to(owlv2.model.device)
        results = owlv2.processor.image_processor.post_process_object_detection(
            owlv2.model(**inputs),
            threshold=LOWEST_SCORE,
            target_sizes=[(image.height, image.width) for image in batch],
        )
        for part, result in zip(names, results, strict=True):
            order = result["scores"].argsort(descending=True)
            found.append(
                [
                    Detection(
                        part[int(result["labels"][i])],
                        float(result["scores"][i]),
                        tuple(result["boxes"][i].tolist()),
                    )
                    for i in order.tolist()
                ]
            )
    return found
