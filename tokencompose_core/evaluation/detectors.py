"""Load OWLv2 (arXiv:2306.09683), or OWL-ViT (arXiv:2205.06230) before it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import (
    Owlv2ForObjectDetection,
    Owlv2Processor,
    OwlViTForObjectDetection,
    OwlViTProcessor,
)

from tokencompose_core.evaluation.fused_attention import fuse_attention
from tokencompose_core.evaluation.owlv2_pixels import check_owlv2_processor, owlv2_pixels
from tokencompose_core.evaluation.owlvit_pixels import check_owlvit_processor, owlvit_pixels
from tokencompose_core.masking.transformers_checkpoint import check_model_type, load_whole

Architecture = Literal["owlv2", "owlvit"]


@dataclass(frozen=True)
class OwlDetector:
    """A loaded detector, and what differs between the two kinds.

    Attributes:
        model: The network, with fused attention in its vision tower.
        processor: The slow processor of transformers, with which the benchmarks were published; the
            fast one differs a little.
        prepare: Pixels of images of one size as the processor makes them, on the model's device.
        box_unit: Width and height of an image to what 1 is in a box, to the right and down.
        encoded: Queries that went through the text tower already.
    """

    model: Owlv2ForObjectDetection | OwlViTForObjectDetection
    processor: Owlv2Processor | OwlViTProcessor
    prepare: Callable[[Sequence[Image.Image]], Float[Tensor, "images 3 height width"]]
    box_unit: Callable[[tuple[int, int]], tuple[int, int]]
    encoded: dict[tuple[str, ...], Float[Tensor, "queries features"]] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device


def load_detector(
    architecture: Architecture, model: str | Path, *, revision: str = "", device: str = "cpu"
) -> OwlDetector:
    """Load a detector from a folder or the hub.

    Args:
        architecture: Which of the two it is.
        model: Folder or hub name.
        revision: Of the hub's repository; empty: the newest.
        device: Where to put it.

    Raises:
        ValueError: If it is of the other architecture, lacks weights, or its processor does
            something else than the published ones.
    """
    name = str(model)
    check_model_type(name, architecture, revision=revision)
    options = {"revision": revision or None, "use_fast": False}
    match architecture:
        case "owlv2":
            network = load_whole(Owlv2ForObjectDetection, name, revision=revision)
            processor = Owlv2Processor.from_pretrained(name, **options)
            check_owlv2_processor(processor.image_processor)
            prepare = owlv2_pixels
            # It sees the image padded to a square.
            box_unit = _longer_side
        case "owlvit":
            network = load_whole(OwlViTForObjectDetection, name, revision=revision)
            processor = OwlViTProcessor.from_pretrained(name, **options)
            check_owlvit_processor(processor.image_processor)
            prepare = owlvit_pixels
            box_unit = _both_sides
    fuse_attention(network)
    return OwlDetector(
        network.to(device).eval(),
        processor,
        partial(prepare, processor=processor.image_processor, device=torch.device(device)),
        box_unit,
    )


def _longer_side(size: tuple[int, int]) -> tuple[int, int]:
    return max(size), max(size)


def _both_sides(size: tuple[int, int]) -> tuple[int, int]:
    return size
