"""Masks computed with fewer digits, and how far they are from those in float32."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from data_schemas.records import GroundedPhrase
from tokencompose_core.store.run_lengths import mask_iou

Precision = Literal["float32", "bfloat16", "float16"]


def compute_in(device: torch.device, precision: Precision) -> torch.autocast:
    """A context in which matrices are multiplied in this precision.

    Weights, normalisations, positions and the sums that give boxes stay in float32: half of the
    digits would round a box to whole pixels.
    """
    return torch.autocast(
        device.type, dtype=getattr(torch, precision), enabled=precision != "float32"
    )


def check_precision(device: str, precision: Precision, field: str = "mask.precision") -> None:
    """Refuse a precision that a device does not compute in.

    Args:
        device: `cpu` or `cuda`.
        precision: What is asked for.
        field: The setting that asks for it.

    Raises:
        ValueError: Naming the setting and what to take instead.
    """
    if precision == "float16" and device == "cpu":
        raise ValueError(f"{field}: float16 needs a GPU; take bfloat16 or float32")
    if precision == "bfloat16" and device == "cuda" and not torch.cuda.is_bf16_supported(False):
        raise ValueError(f"{field}: this GPU has no bfloat16; take float16 or float32")


@dataclass
class PrecisionCheck:
    """Compares masks with those in float32, once, in the first batch that has a mask.

    Attributes:
        precision: What masks are computed in.
        min_iou: Least mean IoU with which to go on.
        iou: What was measured, or None if it was not, or need not be.
    """

    precision: Precision
    min_iou: float
    iou: float | None = None

    @property
    def is_due(self) -> bool:
        """Whether a batch has to be computed in float32 as well."""
        return self.precision != "float32" and self.iou is None

    def compare(
        self,
        found: Sequence[Sequence[GroundedPhrase]],
        exact: Sequence[Sequence[GroundedPhrase]],
        sizes: Sequence[tuple[int, int]],
    ) -> None:
        """Measure a batch.

        Args:
            found: Phrases of each image, with masks in the precision asked for.
            exact: The same phrases with masks in float32.
            sizes: Width and height of each image.

        Raises:
            ValueError: If the mean IoU is below the least; a phrase that has a mask in one
                precision alone counts as 0.
        """
        overlaps = [
            mask_iou(one.mask_counts, other.mask_counts, height, width)
            for ours, theirs, (width, height) in zip(found, exact, sizes, strict=True)
            for one, other in zip(ours, theirs, strict=True)
            if one.mask_counts or other.mask_counts
        ]
        if not overlaps:
            return
        self.iou = float(np.mean(overlaps))
        if self.iou < self.min_iou:
            raise ValueError(
                f"mask.precision: {len(overlaps)} masks of the first batch in {self.precision} have"
                f" a mean IoU of {self.iou:.4f} with those in float32, below"
                f" mask.min_precision_iou = {self.min_iou}; take float32, or lower the limit"
            )
