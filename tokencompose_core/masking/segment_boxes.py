"""Masks for boxes, by a SAM-HQ of either package (arXiv:2306.01567)."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from segment_anything_hq.utils.transforms import ResizeLongestSide
from torch import Tensor
from torch.nn import functional as F

from tokencompose_core.masking.protocols import Segmenter

PIXEL_MEAN, PIXEL_DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of the colours that SAM was trained with, from 0 to 255."""
BOXES_AT_ONCE = 64


def prepare_for_segmenter(
    segmenter: Segmenter, image: Image.Image
) -> UInt8[Tensor, "3 height width"]:
    """Resize an image so that its long side is what the encoder takes."""
    resize = ResizeLongestSide(segmenter.image_size)
    pixels = resize.apply_image(np.asarray(image.convert("RGB")))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def segment_boxes(
    segmenter: Segmenter, image: Image.Image, boxes_xyxy: Sequence[Sequence[float]]
) -> Bool[np.ndarray, "boxes height width"]:
    """One mask for each box; the image is encoded once for all of them.

    Args:
        segmenter: A loaded SAM-HQ.
        image: The picture.
        boxes_xyxy: Left, top, right, bottom in pixels.
    """
    pixels = prepare_for_segmenter(segmenter, image)
    logits = decode_boxes(segmenter, pixels, image.size, boxes_xyxy)
    masks = [unite_masks(segmenter, one[None], pixels, image.size) for one in logits]
    return np.array(masks, dtype=bool).reshape(-1, image.height, image.width)


@torch.inference_mode()
def decode_boxes(
    segmenter: Segmenter,
    pixels: UInt8[Tensor, "3 _ _"],
    size: tuple[int, int],
    boxes_xyxy: Sequence[Sequence[float]],
    *,
    boxes_at_once: int = BOXES_AT_ONCE,
) -> Float[Tensor, "boxes low low"]:
    """Mask logits of boxes at the decoder's resolution, a quarter of a megabyte each at most.

    Args:
        segmenter: A loaded SAM-HQ.
        pixels: An image that `prepare_for_segmenter` has prepared.
        size: Width and height of the image before that.
        boxes_xyxy: Left, top, right, bottom in pixels of the image before that.
        boxes_at_once: How many go through the decoder together; it takes tens of megabytes for
            each at 1,024 pixels.
    """
    device, side = segmenter.device, segmenter.image_size
    if not boxes_xyxy:
        return torch.zeros(0, 1, 1, device=device)
    mean, deviation = (
        torch.tensor(values, device=device)[:, None, None]
        for values in (PIXEL_MEAN, PIXEL_DEVIATION)
    )
    height, width = pixels.shape[-2:]
    square = F.pad((pixels.to(device) - mean) / deviation, (0, side - width, 0, side - height))
    features = segmenter.encode(square[None])
    boxes = torch.tensor(boxes_xyxy, dtype=torch.float32, device=device)
    boxes = ResizeLongestSide(side).apply_boxes_torch(boxes, size[::-1])
    return torch.cat([segmenter.decode(features, some) for some in boxes.split(boxes_at_once)])


@torch.inference_mode()
def unite_masks(
    segmenter: Segmenter,
    logits: Float[Tensor, "boxes low low"],
    pixels: UInt8[Tensor, "3 _ _"],
    size: tuple[int, int],
) -> Bool[np.ndarray, "height width"]:
    """What lies in the mask of any of the boxes, at the size of the image.

    Masks are enlarged one by one: beside the result there is never more than one of them, since a
    photograph of 20 megapixels takes 80 MB as logits.

    Args:
        segmenter: A loaded SAM-HQ.
        logits: What `decode_boxes` gave for some boxes.
        pixels: The prepared image, for its shape.
        size: Width and height of the image before that.
    """
    width, height = size
    side, (rows, columns) = segmenter.image_size, pixels.shape[-2:]
    united = torch.zeros(height, width, dtype=torch.bool, device=logits.device)
    for one in logits:
        square = F.interpolate(one[None, None], (side, side), mode="bilinear")
        inside = square[..., :rows, :columns]
        united |= F.interpolate(inside, (height, width), mode="bilinear")[0, 0] > 0
    return united.cpu().numpy()
