"""One forward pass of fine-tuning and its losses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from diffusers import SchedulerMixin, UNet2DConditionModel
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tokencompose_core.attention.capture import AttentionMaps
from tokencompose_core.objectives.denoising_loss import (
    denoising_loss,
    denoising_target,
    min_snr_weights,
)
from tokencompose_core.objectives.phrase_tokens import (
    PhraseTokens,
    index_phrase_tokens,
    token_maps,
)
from tokencompose_core.objectives.token_loss import inside_share
from tokencompose_core.objectives.tokencompose import Grids, Maps, Objective
from tokencompose_core.training.encode_shard import EncodedSamples
from tokencompose_core.training.loss_names import TAKEN


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


@dataclass(frozen=True)
class Draws:
    """The random numbers of a forward pass.

    Attributes:
        normal: Standard normal numbers: for the latents' posterior, and the noise.
        timesteps: Of each sample.
        dropped: Samples that are shown the empty caption.
    """

    normal: Float[Tensor, "two batch channels height width"]
    timesteps: Int[Tensor, " batch"]
    dropped: Bool[Tensor, " batch"]

    def rows(self, rows: slice) -> "Draws":
        """Those of some samples."""
        return Draws(self.normal[:, rows], self.timesteps[rows], self.dropped[rows])


def draw(
    samples: EncodedSamples,
    noise_scheduler: SchedulerMixin,
    count: int,
    *,
    seed: int,
    caption_dropout: float = 0.0,
) -> Draws:
    """Draw normal numbers, uniform timesteps, and the captions that are dropped.

    On the CPU, so that the numbers do not depend on the device.

    Args:
        samples: The samples, for their shape.
        noise_scheduler: The noise schedule.
        count: Samples of the forward pass, over all processes.
        seed: Seed of this forward pass.
        caption_dropout: How often a caption is dropped.
    """
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn((2, count, *samples.latents_mean.shape[1:]), generator=generator)
    last = noise_scheduler.config.num_train_timesteps
    timesteps = torch.randint(0, last, (count,), generator=generator)
    return Draws(normal, timesteps, torch.rand(count, generator=generator) < caption_dropout)


BatchMaker = Callable[[Sequence[str], Sequence[bool]], Batch]


def batch_maker(samples: EncodedSamples, device: torch.device) -> BatchMaker:
    """A function from keys of samples, and whether their captions are dropped, to their batch.

    A sample without its caption has the text states of the empty one, and no phrases.
    """
    rows_of = {key: row for row, key in enumerate(samples.keys)}
    first_phrase = [0]
    for phrases in samples.positions:
        first_phrase.append(first_phrase[-1] + len(phrases))

    def make_batch(keys: Sequence[str], dropped: Sequence[bool]) -> Batch:
        rows = [rows_of[key] for key in keys]
        shown = [row for row, drop in zip(rows, dropped, strict=True) if not drop]
        phrases = [n for row in shown for n in range(first_phrase[row], first_phrase[row + 1])]
        positions = [
            [] if drop else samples.positions[row] for row, drop in zip(rows, dropped, strict=True)
        ]
        # Indexing with a list copies: the samples keep their captions.
        states = samples.encoder_hidden_states[rows]
        conditions = {name: value[rows] for name, value in samples.added_conditions.items()}
        without = torch.tensor(dropped)
        states[without] = samples.empty_hidden_states
        for name, value in samples.empty_conditions.items():
            conditions[name][without] = value
        return Batch(
            mean=samples.latents_mean[rows].to(device),
            deviation=samples.latents_deviation[rows].to(device),
            encoder_hidden_states=states.to(device),
            added_conditions={name: value.to(device) for name, value in conditions.items()},
            tokens=index_phrase_tokens(positions, device),
            grids={side: grid[phrases].to(device) for side, grid in samples.grids.items()},
        )

    return make_batch


def forward_losses(
    unet: UNet2DConditionModel,
    noise_scheduler: SchedulerMixin,
    batch: Batch,
    draws: Draws,
    attention: AttentionMaps,
    objective: Objective,
    *,
    snr_gamma: float = 0.0,
) -> dict[str, Tensor]:
    """Denoise a batch and compute every loss, none of them weighted.

    Args:
        unet: The network.
        noise_scheduler: The noise schedule of its Stable Diffusion.
        batch: The samples.
        draws: The random numbers of the pass.
        attention: Where the network's maps are captured; whether with gradients, so that the
            grounding terms train the network, is said there.
        objective: The grounding terms.
        snr_gamma: Of `min_snr_weights`; 0 for equal weights.

    Returns:
        `denoising`; the terms of the objective; `inside` and `grounded`, see `inside_shares`.

    Raises:
        FloatingPointError: If the denoising loss is not finite.
        ValueError: If a term of the objective has the name of another figure.
    """
    device = batch.mean.device
    timesteps, normal = draws.timesteps.to(device), draws.normal.to(device)
    latents, noise = batch.mean + batch.deviation * normal[0], normal[1]
    noisy_latents = noise_scheduler.add_noise(latents, noise, timesteps)
    attention.select(batch.tokens.columns)
    predicted = unet(
        noisy_latents,
        timesteps,
        batch.encoder_hidden_states,
        added_cond_kwargs=batch.added_conditions or None,
    ).sample
    target = denoising_target(noise_scheduler, latents, noise, timesteps)
    weights = min_snr_weights(noise_scheduler, timesteps, snr_gamma) if snr_gamma else None
    denoising = denoising_loss(predicted, target, weights)
    # Before the maps are read: a cross-entropy of NaN takes a whole CUDA context down.
    if not bool(torch.isfinite(denoising)):
        raise FloatingPointError(f"the denoising loss is {float(denoising.detach())}")
    terms = objective(attention.maps, batch.tokens, batch.grids)
    if taken := sorted(TAKEN.intersection(terms)):
        raise ValueError(
            f"the objective has terms called {taken}, as other figures of a step are; rename them"
        )
    return {
        "denoising": denoising,
        **terms,
        **inside_shares(attention.maps, batch.tokens, batch.grids),
    }


@torch.no_grad()
def inside_shares(maps: Maps, tokens: PhraseTokens, grids: Grids) -> dict[str, Tensor]:
    """How much of the nouns' attention lies inside their masks.

    Args:
        maps: Captured columns of each layer, by its name.
        tokens: The supervised tokens of the batch.
        grids: For every side of a map the masks of the batch's phrases.

    Returns:
        `inside`: the share, mean over layers, a sample's tokens, then all samples, where one
        without phrases adds 0; and `grounded`: the share of samples with phrases. Their quotient is
        the mean over samples with phrases; both may be averaged over parts of a batch before.
    """
    shares = [
        inside_share(
            token_maps(captured, tokens).mean(dim=1), grids[captured.shape[2]][tokens.phrase]
        )
        for captured in maps.values()
    ]
    return {
        "inside": (tokens.weight * torch.stack(shares).mean(dim=0)).sum(),
        "grounded": tokens.weight.sum(),
    }


def mean_losses(means: Mapping[str, float]) -> dict[str, float]:
    """Losses as people read them: `inside` of samples with phrases, and left out without any."""
    losses = dict(means)
    grounded, inside = losses.pop("grounded"), losses.pop("inside")
    return {**losses, "inside": inside / grounded} if grounded else losses
