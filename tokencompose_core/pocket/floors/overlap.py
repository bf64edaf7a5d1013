"""How boxes and masks overlap."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torchvision.ops import box_iou

Box = tuple[float, float, float, float]


def box_of(mask: Bool[np.ndarray, "height width"]) -> Box:
    """Left, top, right, bottom of a mask that is not empty."""
    rows, columns = np.where(mask.any(axis=1))[0], np.where(mask.any(axis=0))[0]
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def mask_iou(a: Bool[np.ndarray, "height width"], b: Bool[np.ndarray, "height width"]) -> float:
    """Shared area over united area; 0 if both are empty."""
    return float((a & b).sum() / max(1, (a | b).sum()))


def count_matches(true: Sequence[Box], found: Sequence[Box]) -> int:
    """How many true boxes have a box of their own with an IoU of at least one half."""
    if not true or not found:
        return 0
    overlap = box_iou(torch.tensor(true), torch.tensor(found))
    count = 0
    while float(overlap.max()) >= 0.5:
        row, column = divmod(int(overlap.argmax()), overlap.shape[1])
        overlap[row] = overlap[:, column] = 0.0
        count += 1
    return count
