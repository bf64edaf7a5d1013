"""Pixels for OWL-ViT as transformers' slow processor makes them."""

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
    image: Image.Image, processor: OwlViTImageProcessor, device: torch.device
) -> Float[Tensor, "3 height width"]:
    """What the processor makes of an image, to 1e-5 of a standard deviation.

    The image is resized by Pillow in whole numbers, as there: torch rounds other values. The rest
    is done on the device.

    Args:
        image: A picture in RGB of any size.
        processor: Says the size, the filter and how values are normalised.
        device: Where to compute.

    Returns:
        Pixels of the processor's size, on the device.
    """
    size = processor.size["width"], processor.size["height"]
    resized = image.resize(size, Image.Resampling(processor.resample))
    pixels = torch.from_numpy(np.array(resized)).to(device).permute(2, 0, 1)
    mean, deviation = (
        torch.tensor(values, device=device)[:, None, None]
        for values in (processor.image_mean, processor.image_std)
    )
    return (pixels * processor.rescale_factor - mean) / deviation
