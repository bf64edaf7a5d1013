"""Pixels for OWLv2 as transformers' slow processor makes them, in a fraction of its time.

That processor pads an image to a square, smooths it with a Gaussian if it has to shrink, and
resizes it with `scipy.ndimage.zoom`. All of it is linear and works on rows and columns apart, so
each axis is one matrix, which depends on sizes alone.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from scipy import ndimage
from torch import Tensor
from transformers import Owlv2ImageProcessor

_PADDING = 0.5
_STEPS = ("do_rescale", "do_pad", "do_resize", "do_normalize")


def check_owlv2_processor(processor: Owlv2ImageProcessor) -> None:
    """Refuse settings that `owlv2_pixels` does not follow.

    Raises:
        ValueError: If a step is left out, naming it.
    """
    for step in _STEPS:
        if not getattr(processor, step):
            raise ValueError(
                f"OWLv2's preprocessor_config.json has {step} = false; it must be true"
            )


def owlv2_pixels(
    images: Sequence[Image.Image], processor: Owlv2ImageProcessor, device: torch.device
) -> Float[Tensor, "images 3 height width"]:
    """What the processor makes of images, to 2e-4 of a standard deviation.

    Args:
        images: Pictures in RGB of one size, whichever.
        processor: Says the size and how values are normalised.
        device: Where to compute.

    Returns:
        Pixels of the processor's size, on the device.
    """
    width, height = images[0].size
    side = max(width, height)
    rows = _resize_matrix(height, side, processor.size["height"], device.type)
    columns = _resize_matrix(width, side, processor.size["width"], device.type)
    # Seen from its own value the padding is 0, and so are its products: it need not be there.
    # A sparse matrix multiplies flat rows only, so what is not multiplied is in one dimension.
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).to(device)
    pixels = pixels.permute(2, 0, 3, 1).reshape(width, -1) * processor.rescale_factor - _PADDING
    pixels = (columns @ pixels).unflatten(1, (len(images), 3, height)).permute(3, 1, 2, 0)
    pixels = rows @ pixels.reshape(height, -1)
    pixels = pixels.unflatten(1, (len(images), 3, -1)).permute(1, 2, 0, 3)
    mean, deviation = (
        torch.tensor(values, device=device)[:, None, None]
        for values in (processor.image_mean, processor.image_std)
    )
    return pixels.sub(mean - _PADDING).div_(deviation)


@lru_cache(maxsize=64)
def _resize_matrix(
    length: int, side: int, output: int, device: str
) -> Float[Tensor, "output length"]:
    """Smooth and resize an axis: what scipy does to each unit vector.

    Args:
        length: Pixels of the image.
        side: Pixels with padding; where it is, the matrix has no columns.
        output: Pixels wanted.
        device: Kind of device. A GPU multiplies full matrices faster, a CPU those of which only
            what is not 0 is kept.
    """
    deviation = max(0.0, (side / output - 1) / 2)
    units = np.eye(side)
    if deviation > 0:
        units = ndimage.gaussian_filter1d(units, deviation, axis=0, mode="mirror")
    resized = ndimage.zoom(units, (output / side, 1.0), order=1, mode="mirror", grid_mode=True)
    matrix = torch.from_numpy(resized[:, :length]).float()
    return matrix.to_sparse() if device == "cpu" else matrix.to(device)
