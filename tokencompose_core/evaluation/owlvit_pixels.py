"""Pixels for OWL-ViT as transformers' slow processor makes them."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import OwlViTImageProcessor

_STEPS = {"do_resize": True, "do_center_crop": False, "do_rescale": True, "do_normalize": True}


def check_owlvit_processor(processor: OwlViTImageProcessor) -> None:
    """Refuse settings that `owlvit_pixels` does not follow.

    Raises:
        ValueError: If a step is left out or added, naming it.
    """
    for step, wanted in _STEPS.items():
        if getattr(processor, step) != wanted:
            raise ValueError(
                f"OWL-ViT's preprocessor_config.json has {step} = {str(not wanted).lower()};"
                f" it must be {str(wanted).lower()}"
            )


def owlvit_pixels(
    images: Sequence[Image.Image], processor: OwlViTImageProcessor, device: torch.device
) -> Float[Tensor, "images 3 height width"]:
    """What the processor makes of images, to 1e-5 of a standard deviation.

    An image is resized by Pillow in whole numbers, as there: torch rounds other values. The rest
    is done on the device.

    Args:
        images: Pictures in RGB of one size, whichever.
        processor: Says the size, the filter and how values are normalised.
        device: Where to compute.

    Returns:
        Pixels of the processor's size, on the device.
    """
    size = processor.size["width"], processor.size["height"]
    resized = [image.resize(size, Image.Resampling(processor.resample)) for image in images]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in resized])).to(device)
    pixels = pixels.permute(0, 3, 1, 2)
    mean, deviation = (
        torch.tensor(values, device=device)[:, None, None]
        for values in (processor.image_mean, processor.image_std)
    )
    return (pixels * processor.rescale_factor - mean) / deviation
