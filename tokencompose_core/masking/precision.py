"""Masks computed with fewer digits, and how far they are from those in float32."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from data_schemas.records import GroundedPhrase
from tokencompose_core.store.run_lengths import mask_iou

Precision = Literal["float32", "bfloat16", "float16"]
LEAST_MASKS = 20


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
    """Compares the first masks with those in float32, batch by batch until there are enough.

    One mask that is found in one precision alone says little: models close to a threshold lose one
    now and then. Where there are few masks, those that are missing to the least number count as
    equal, so one is forgiven by a limit of 0.95, and two are not.

    Attributes:
        precision: What masks are computed in.
        min_iou: Least mean IoU with which to go on.
        least_masks: How many to compare.
        overlaps: IoU of each mask that was compared.
    """

    precision: Precision
    min_iou: float
    least_masks: int = LEAST_MASKS
    overlaps: list[float] = field(default_factory=list)

    @property
    def is_due(self) -> bool:
        """Whether a batch has to be computed in float32 as well."""
        return self.precision != "float32" and len(self.overlaps) < self.least_masks

    @property
    def iou(self) -> float | None:
        """The mean of what was measured, or None if nothing was, or need not be."""
        return float(np.mean(self.overlaps)) if self.overlaps else None

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
            ValueError: If the mean IoU of all batches is below the least; a phrase that has a mask
                in one precision alone counts as 0.
        """
        self.overlaps += [
            mask_iou(one.mask_counts, other.mask_counts, height, width)
            for ours, theirs, (width, height) in zip(found, exact, sizes, strict=True)
            for one, other in zip(ours, theirs, strict=True)
            if one.mask_counts or other.mask_counts
        ]
        num_masks, num_equal = len(self.overlaps), max(0, self.least_masks - len(self.overlaps))
        judged = (sum(self.overlaps) + num_equal) / max(1, num_masks + num_equal)
        if num_masks and judged < self.min_iou:
            filled = f" ({judged:.4f} with {num_equal} equal ones)" if num_equal else ""
            raise ValueError(
                f"mask.precision: the first {num_masks} masks in {self.precision} have a mean IoU"
                f" of {self.iou:.4f}{filled} with those in float32, below mask.min_precision_iou ="
                f" {self.min_iou}; take float32, or lower the limit"
            )
