"""From latents to pictures, and what the safety checker says of them."""

from collections.abc import Iterator

import torch
from diffusers import DiffusionPipeline
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor


def decode_latents(
    pipeline: DiffusionPipeline,
    latents: Float[Tensor, "batch channels height width"],
    *,
    batch_size: int,
) -> Iterator[tuple[Image.Image, bool]]:
    """Pictures of latents, and whether the safety checker made them black.

    Args:
        pipeline: A loaded Stable Diffusion; if it has a safety checker, it is asked.
        latents: As the UNet leaves them.
        batch_size: Latents decoded at once: the VAE's memory grows with it, and is beyond the
            UNet's at large sizes.
    """
    for part in latents.split(batch_size):
        vae = pipeline.vae
        decoded = vae.decode(_unscale(vae, part).to(vae.dtype), return_dict=False)[0].float()
        blanked = [False] * len(part)
        checker = getattr(pipeline, "safety_checker", None)
        if checker is not None:
            # It writes into what it is given, in its own idea of black.
            _, blanked = pipeline.run_safety_checker(decoded.clone(), decoded.device, checker.dtype)
        pixels = to_pixels(decoded).permute(0, 2, 3, 1).cpu().numpy()
        for picture, is_blanked in zip(pixels, blanked, strict=True):
            yield Image.fromarray(picture * 0 if is_blanked else picture), bool(is_blanked)


def to_pixels(
    decoded: Float[Tensor, "batch 3 height width"],
) -> UInt8[Tensor, "batch 3 height width"]:
    """From the VAE's [-1, 1] to [0, 255], on the device: a quarter of the bytes leave it."""
    return (decoded / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)


def _unscale(vae, latents: Tensor) -> Tensor:
    """To the VAE's own scale, as diffusers' pipelines do."""
    mean, deviation = vae.config.latents_mean, vae.config.latents_std
    latents = latents / vae.config.scaling_factor
    if mean is None or deviation is None:
        return latents
    values = torch.tensor([mean, deviation], device=latents.device, dtype=latents.dtype)
    return latents * values[1].view(1, -1, 1, 1) + values[0].view(1, -1, 1, 1)
