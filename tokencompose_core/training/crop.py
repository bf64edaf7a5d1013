"""The geometry of training images: resize the short side, crop the middle."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms


def crop_image(image: Image.Image, resolution: int) -> Float[Tensor, "3 side side"]:
    """Resize the short side to `resolution` (bilinear), crop the centre, scale to [-1, 1]."""
    pixels = transforms.to_dtype(transforms.to_image(image), torch.float32, scale=True)
    return _resize_and_crop(pixels, resolution) * 2.0 - 1.0


def crop_mask(
    mask: Bool[np.ndarray, "height width"], resolution: int
) -> Float[Tensor, "side side"]:
    """The same for a mask; values between 0 and 1 on its border."""
    return _resize_and_crop(torch.from_numpy(mask.astype(np.float32))[None], resolution)[0]


def crop_holds(mask: Bool[np.ndarray, "height width"], resolution: int) -> bool:
    """Whether any pixel of a mask lies in the crop, however little the resized mask has left of it.

    A pole that is two pixels wide in a photograph is nowhere more than a third of a pixel then.
    """
    height, width = mask.shape
    _, _, top, left, _, _ = describe_crop(height, width, resolution)
    scale = min(height, width) / resolution
    rows, columns = (
        slice(math.floor(start * scale), math.ceil((start + resolution) * scale))
        for start in (top, left)
    )
    return bool(mask[rows, columns].any())


def _resize_and_crop(pixels: Tensor, resolution: int) -> Tensor:
    resized = transforms.resize(pixels, [resolution], antialias=True).clamp(0.0, 1.0)
    return transforms.center_crop(resized, [resolution, resolution])


def describe_crop(height: int, width: int, resolution: int) -> list[int]:
    """What SDXL is told of a training image, its `time_ids` (arXiv:2307.01952, section 2.2).

    Returns:
        Height and width of the image as it came, top and left of the crop in the resized image, and
        the height and width that were cropped, in pixels, as in diffusers' training of SDXL.
    """
    short = min(height, width)
    top, left = (
        # As `resize` and `center_crop` of torchvision round.
        round((int(resolution * side / short) - resolution) / 2)
        for side in (height, width)
    )
    return [height, width, top, left, resolution, resolution]


def reduce_mask(
    mask: Float[Tensor, "side side"], size: int, reduction: str
) -> Bool[Tensor, "size size"]:
    """Shrink a mask to the resolution of an attention map.

    Args:
        mask: Mask with values in [0, 1].
        size: Side of the map.
        reduction: `released`: bilinear without antialiasing, then everything above 0, as the
            released code of TokenCompose with the torchvision it pins; small objects vanish at
            8 x 8. `antialiased`: the same with antialiasing, as that code behaves with today's
            torchvision; masks swell. `coverage`: as many cells as the mask's area fills, at least
            one of a mask that is not empty, and those that it covers most; nothing vanishes and the
            area stays.

    Raises:
        ValueError: If the reduction is none of these.
    """
    match reduction:
        case "released" | "antialiased":
            resized = transforms.resize(
                mask[None], [size, size], antialias=reduction == "antialiased"
            )
            return resized[0] > 0
        case "coverage":
            coverage = F.adaptive_avg_pool2d(mask[None], size)[0]
            count = max(1, round(float(coverage.sum()))) if bool(coverage.any()) else 0
            cells = torch.zeros(size * size, dtype=torch.bool)
            cells[coverage.flatten().argsort(descending=True, stable=True)[:count]] = True
            return cells.view(size, size)
    raise ValueError(f"reduction {reduction!r} is none of released, antialiased, coverage")
