"""Train the autoencoder of the small Stable Diffusion."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, UInt8
from torch import Tensor

from tokencompose_core.pocket.fitting import (
    FitSettings,
    OnProgress,
    batched,
    fit,
    shuffled_batches,
)
from tokencompose_core.pocket.pools import draw_pool

SIDE = 64
_NUM_SCALED = 256


def build_autoencoder() -> AutoencoderKL:
    """An AutoencoderKL that turns 64 x 64 pixels into 4 x 16 x 16 latents."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(24, 48, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIDE,
    )


def train_autoencoder(
    folder: Path,
    settings: FitSettings,
    *,
    seed: int,
    batch_size: int,
    num_scenes: int,
    on_progress: OnProgress = lambda *_: None,
    checkpoint_path: Path | None = None,
) -> list[dict[str, float]]:
    """Fit the autoencoder and write it to `folder`, with the scaling that gives unit variance."""
    torch.manual_seed(seed)
    autoencoder = build_autoencoder().to(memory_format=torch.channels_last)
    pool = draw_pool("both", num_scenes, size=(SIDE, SIDE), seed=seed)
    batch_of = shuffled_batches(num_scenes, batch_size, seed)

    def losses_of_step(step: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        pixels = images_to_pixels(pool.images[batch_of(step).numpy()])
        posterior = autoencoder.encode(pixels).latent_dist
        decoded = autoencoder.decode(posterior.sample(generator)).sample
        return {
            "absolute": (decoded - pixels).abs().mean(),
            "edges": 0.5 * _edge_difference(decoded, pixels),
            "kl": 1e-6 * posterior.kl().mean(),
        }

    history = fit(
        autoencoder,
        losses_of_step,
        settings,
        on_progress=on_progress,
        checkpoint_path=checkpoint_path,
    )
    with torch.no_grad():
        latents = autoencoder.encode(images_to_pixels(pool.images[:_NUM_SCALED])).latent_dist.mean
    autoencoder.register_to_config(scaling_factor=round(1.0 / float(latents.std()), 5))
    autoencoder.save_pretrained(folder)
    return history


@torch.no_grad()
def encode_images(
    autoencoder: AutoencoderKL, images: UInt8[np.ndarray, "count side side 3"]
) -> tuple[Float[Tensor, "count 4 side side"], Float[Tensor, "count 4 side side"]]:
    """Scaled mean and standard deviation of every picture's latents."""
    moments = []
    for part in batched(len(images), 64):
        posterior = autoencoder.encode(images_to_pixels(images[part])).latent_dist
        moments.append(torch.stack([posterior.mean, posterior.std]))
    scaled = torch.cat(moments, dim=1) * autoencoder.config.scaling_factor
    return scaled[0], scaled[1]


@torch.no_grad()
def reconstruct(
    autoencoder: AutoencoderKL, images: UInt8[np.ndarray, "count side side 3"]
) -> UInt8[np.ndarray, "count side side 3"]:
    """Encode and decode pictures."""
    decoded = []
    for part in batched(len(images), 64):
        latents = autoencoder.encode(images_to_pixels(images[part])).latent_dist.mean
        pixels = autoencoder.decode(latents).sample.clamp(-1, 1)
        decoded.append(((pixels + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
    return np.concatenate(decoded)


def images_to_pixels(
    images: UInt8[np.ndarray, "batch side side 3"],
) -> Float[Tensor, "batch 3 side side"]:
    """Pictures with values in [-1, 1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    return pixels.to(torch.float32, memory_format=torch.channels_last) / 127.5 - 1.0


def _edge_difference(decoded: Tensor, pixels: Tensor) -> Tensor:
    difference = decoded - pixels
    across = (difference[..., 1:] - difference[..., :-1]).abs().mean()
    down = (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()
    return across + down
