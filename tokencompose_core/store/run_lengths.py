"""Masks as COCO run lengths."""

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as coco_mask


def encode_mask(mask: Bool[np.ndarray, "height width"]) -> str:
    """Run lengths of a mask, as pycocotools compresses them."""
    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"].decode("ascii")


def decode_mask(counts: str, height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """The mask that `encode_mask` wrote."""
    return coco_mask.decode({"counts": counts.encode("ascii"), "size": [height, width]}).astype(
        bool
    )


def mask_area(counts: str, height: int, width: int) -> int:
    """Pixels of the mask that `encode_mask` wrote, without decoding it."""
    return int(coco_mask.area({"counts": counts.encode("ascii"), "size": [height, width]}))


def mask_iou(counts: str, others: str, height: int, width: int) -> float:
    """Shared area over united area of two masks as `encode_mask` wrote them; of "" it is 0."""
    if not counts or not others:
        return 0.0
    one, other = (
        {"counts": text.encode("ascii"), "size": [height, width]} for text in (counts, others)
    )
    return float(coco_mask.iou([one], [other], [0])[0, 0])
