"""One forward pass of fine-tuning and its losses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from diffusers import SchedulerMixin, UNet2DConditionModel
from jaxtyping import Float, Int
from torch import Tensor

from tokencompose_core.attention.capture import AttentionMaps
from tokencompose_core.objectives.denoising_loss import denoising_loss, denoising_target
from tokencompose_core.objectives.phrase_tokens import (
    PhraseTokens,
    index_phrase_tokens,
    token_maps,
)
from tokencompose_core.objectives.token_loss import inside_share
from tokencompose_core.objectives.tokencompose import Grids, Maps, Objective
from tokencompose_core.training.encode_shard import EncodedSamples


@dataclass(frozen=True)
class Batch:
    """Samples of one forward pass, on the device of the network.

    Attributes:
        mean: Mean of the VAE's posterior, scaled.
        deviation: Standard deviation of the posterior, scaled.
        encoder_hidden_states: Text states.
        added_conditions: What the UNet takes beside them, its `added_cond_kwargs`.
        tokens: The supervised tokens.
        grids: For every side of a map the masks of the batch's phrases.
    """

    mean: Float[Tensor, "batch channels height width"]
    deviation: Float[Tensor, "batch channels height width"]
    encoder_hidden_states: Float[Tensor, "batch tokens width"]
    added_conditions: dict[str, Tensor]
    tokens: PhraseTokens
    grids: dict[int, Tensor]


def batch_maker(samples: EncodedSamples, device: torch.device) -> Callable[[Sequence[str]], Batch]:
    """A function from keys of samples to their batch."""
    rows_of = {key: row for row, key in enumerate(samples.keys)}
    first_phrase = [0]
    for phrases in samples.positions:
        first_phrase.append(first_phrase[-1] + len(phrases))

    def make_batch(keys: Sequence[str]) -> Batch:
        rows = [rows_of[key] for key in keys]
        phrases = [n for row in rows for n in range(first_phrase[row], first_phrase[row + 1])]
        return Batch(
            mean=samples.latents_mean[rows].to(device),
            deviation=samples.latents_deviation[rows].to(device),
            encoder_hidden_states=samples.encoder_hidden_states[rows].to(device),
            added_conditions={
                name: value[rows].to(device) for name, value in samples.added_conditions.items()
            },
            tokens=index_phrase_tokens([samples.positions[row] for row in rows], device),
            grids={side: grid[phrases].to(device) for side, grid in samples.grids.items()},
        )

    return make_batch


def draw_timesteps(
    noise_scheduler: SchedulerMixin, count: int, generator: torch.Generator
) -> Int[Tensor, " batch"]:
    """Uniform timesteps."""
    last = noise_scheduler.config.num_train_timesteps
    return torch.randint(0, last, (count,), generator=generator)


def forward_losses(
    unet: UNet2DConditionModel,
    noise_scheduler: SchedulerMixin,
    batch: Batch,
    timesteps: Int[Tensor, " batch"],
    draws: Float[Tensor, "two batch channels height width"],
    attention: AttentionMaps,
    objective: Objective,
    *,
    grounding_gradients: bool = True,
) -> dict[str, Tensor]:
    """Denoise a batch and compute every loss, none of them weighted.

    Args:
        unet: The network.
        noise_scheduler: The noise schedule of its Stable Diffusion.
        batch: The samples.
        timesteps: Of each sample.
        draws: Standard normal numbers: for the latents' posterior, and the noise.
        attention: Where the network's maps are captured.
        objective: The grounding terms.
        grounding_gradients: Whether the grounding terms shall train the network.

    Returns:
        `denoising`, the terms of the objective, and `inside`, see `mean_inside_share`.

    Raises:
        FloatingPointError: If the denoising loss is not finite.
    """
    device = batch.mean.device
    timesteps, draws = timesteps.to(device), draws.to(device)
    latents, noise = batch.mean + batch.deviation * draws[0], draws[1]
    noisy_latents = noise_scheduler.add_noise(latents, noise, timesteps)
    attention.select(batch.tokens.columns)
    predicted = unet(
        noisy_latents,
        timesteps,
        batch.encoder_hidden_states,
        added_cond_kwargs=batch.added_conditions or None,
    ).sample
    target = denoising_target(noise_scheduler, latents, noise, timesteps)
    denoising = denoising_loss(predicted, target)
    # Before the maps are read: a cross-entropy of NaN takes a whole CUDA context down.
    if not bool(torch.isfinite(denoising)):
        raise FloatingPointError(f"the denoising loss is {float(denoising.detach())}")
    with torch.set_grad_enabled(grounding_gradients and torch.is_grad_enabled()):
        grounding = objective(attention.maps, batch.tokens, batch.grids)
    return {
        "denoising": denoising,
        **grounding,
        "inside": mean_inside_share(attention.maps, batch.tokens, batch.grids),
    }


@torch.no_grad()
def mean_inside_share(maps: Maps, tokens: PhraseTokens, grids: Grids) -> Float[Tensor, ""]:
    """Share of nouns' attention inside their masks, mean over layers and tokens; 0 without any."""
    if not len(tokens):
        return tokens.weight.sum()
    shares = [
        inside_share(
            token_maps(captured, tokens).mean(dim=1), grids[captured.shape[2]][tokens.phrase]
        ).mean()
        for captured in maps.values()
    ]
    return torch.stack(shares).mean()
