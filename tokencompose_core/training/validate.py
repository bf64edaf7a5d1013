"""How well a UNet denoises and grounds samples that it was not trained on."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

import torch
from diffusers import SchedulerMixin, UNet2DConditionModel

from tokencompose_core.attention.capture import capture_attention
from tokencompose_core.attention.layers import cross_attention_layers
from tokencompose_core.objectives.own_object import measure_own_object
from tokencompose_core.objectives.phrase_tokens import token_maps
from tokencompose_core.objectives.tokencompose import Objective
from tokencompose_core.training.encode_shard import EncodedSamples
from tokencompose_core.training.step import Draws, batch_maker, forward_losses, mean_losses

TIMESTEPS = (100, 300, 500, 700, 900)


@torch.no_grad()
def validate_unet(
    unet: UNet2DConditionModel,
    noise_scheduler: SchedulerMixin,
    samples: EncodedSamples,
    objective: Objective,
    *,
    layers: Sequence[str],
    timesteps: Sequence[int] = TIMESTEPS,
    batch_size: int = 16,
    seed: int = 0,
) -> dict[str, float]:
    """Losses on held-out samples, every one of them at the same timesteps with its own fixed noise.

    So two networks, or one before and after training, are compared on equal terms.

    Args:
        unet: The network, on its device.
        noise_scheduler: The noise schedule of its Stable Diffusion.
        samples: Held-out samples.
        objective: The grounding terms.
        layers: Places and resolutions whose attention is looked at.
        timesteps: Noise levels.
        batch_size: Samples denoised at once.
        seed: Seed of the noise.

    Returns:
        `denoising` and the terms of the objective, means over samples and timesteps; `inside`, the
        mean over samples with phrases, if there are any; and `preference` of `measure_own_object`,
        the mean over tokens, layers and timesteps, if any sample has several objects.

    Raises:
        FloatingPointError: If the denoising loss is not finite.
        ValueError: If the UNet lacks a layer.
    """
    sums: dict[str, float] = defaultdict(float)
    preferences: list[float] = []
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn((2, *samples.latents_mean.shape), generator=generator)
    make_batch = batch_maker(samples, unet.device)
    names = cross_attention_layers(unet, layers, samples.latents_mean.shape[-1])
    training = unet.training
    unet.eval()
    try:
        with capture_attention(unet, names) as attention:
            for start in range(0, len(samples.keys), batch_size):
                rows = slice(start, start + batch_size)
                keys = samples.keys[rows]
                batch = make_batch(keys, [False] * len(keys))
                for timestep in timesteps:
                    losses = forward_losses(
                        unet,
                        noise_scheduler,
                        batch,
                        Draws(
                            draws[:, rows],
                            torch.full((len(keys),), timestep),
                            torch.zeros(len(keys), dtype=torch.bool),
                        ),
                        attention,
                        objective,
                    )
                    for name, value in losses.items():
                        sums[name] += float(value) * len(keys)
                    for captured in attention.maps.values():
                        maps = token_maps(captured, batch.tokens).mean(dim=1)
                        grids = batch.grids[captured.shape[2]]
                        preferences += measure_own_object(
                            maps, grids, batch.tokens
                        ).preference.tolist()
    finally:
        unet.train(training)
    count = len(samples.keys) * len(timesteps)
    means = mean_losses({name: value / count for name, value in sums.items()})
    return {**means, "preference": fmean(preferences)} if preferences else means
