"""Everything of a shard that training needs and that no step changes."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from diffusers import AutoencoderKL
from jaxtyping import Bool, Float
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, PreTrainedTokenizerFast

from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.attention.layers import map_side
from tokencompose_core.nouns.token_positions import token_positions
from tokencompose_core.shards.read_shard import GroundedSample
from tokencompose_core.training.crop import crop_image, crop_mask, reduce_mask

STAGE = "encode"
TENSORS_NAME = "encoded.safetensors"
SAMPLES_NAME = "samples.json"


@dataclass(frozen=True)
class EncodedSamples:
    """Samples ready for training.

    Attributes:
        keys: Key of each sample.
        captions: Caption of each sample.
        positions: For each sample, for each phrase, the positions of its tokens.
        latents_mean: Mean of the VAE's posterior, scaled.
        latents_deviation: Standard deviation of the posterior, scaled.
        encoder_hidden_states: Text states of the captions.
        grids: For every side of an attention map the masks of all phrases, sample by sample.
    """

    keys: list[str]
    captions: list[str]
    positions: list[list[list[int]]]
    latents_mean: Float[Tensor, "samples channels height width"]
    latents_deviation: Float[Tensor, "samples channels height width"]
    encoder_hidden_states: Float[Tensor, "samples tokens width"]
    grids: dict[int, Bool[Tensor, "phrases side side"]]


def map_sides(num_levels: int, latent_side: int) -> list[int]:
    """Sides of the attention maps of a UNet with so many levels, largest first."""
    return [map_side(latent_side, level) for level in range(num_levels)]


def select_samples(samples: EncodedSamples, keys: Collection[str]) -> EncodedSamples:
    """Those of the samples that have one of the keys, in their order."""
    rows: list[int] = []
    phrases: list[int] = []
    number = 0
    for row, (key, own) in enumerate(zip(samples.keys, samples.positions, strict=True)):
        if key in keys:
            rows.append(row)
            phrases += range(number, number + len(own))
        number += len(own)
    return EncodedSamples(
        keys=[samples.keys[row] for row in rows],
        captions=[samples.captions[row] for row in rows],
        positions=[samples.positions[row] for row in rows],
        latents_mean=samples.latents_mean[rows],
        latents_deviation=samples.latents_deviation[rows],
        encoder_hidden_states=samples.encoder_hidden_states[rows],
        grids={side: grid[phrases] for side, grid in samples.grids.items()},
    )


@torch.inference_mode()
def encode_samples(
    samples: Sequence[GroundedSample],
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: PreTrainedTokenizerFast,
    *,
    resolution: int,
    sides: Sequence[int],
    reduction: Literal["coverage", "antialiased", "released"],
    batch_size: int,
) -> tuple[EncodedSamples, list[Rejection]]:
    """Encode images and captions, and reduce masks to the sides of the attention maps.

    The crop of the image is applied to the masks. A phrase that it cuts away, or that lies beyond
    the text encoder's limit, is left out and reported; its sample stays.

    Args:
        samples: Samples of a shard.
        vae: The autoencoder.
        text_encoder: The text encoder.
        tokenizer: Its tokenizer.
        resolution: Side of the square training image in pixels.
        sides: Sides of the attention maps.
        reduction: See `reduce_mask`.
        batch_size: Images, and captions, encoded at once.
    """
    device = vae.device
    # Empty tensors of the right shape, since a shard may hold no sample.
    means = [torch.zeros(0, vae.config.latent_channels, sides[0], sides[0])]
    deviations = [means[0]]
    states = [torch.zeros(0, tokenizer.model_max_length, text_encoder.config.hidden_size)]
    for start in range(0, len(samples), batch_size):
        batch = samples[start : start + batch_size]
        pixels = torch.stack([crop_image(sample.image, resolution) for sample in batch])
        posterior = vae.encode(pixels.to(device)).latent_dist
        means.append((posterior.mean * vae.config.scaling_factor).cpu())
        deviations.append((posterior.std * vae.config.scaling_factor).cpu())
        ids = tokenizer(
            [sample.caption for sample in batch],
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        ).input_ids
        states.append(text_encoder(ids.to(device))[0].cpu())
    rejected: list[Rejection] = []
    positions: list[list[list[int]]] = []
    grids: dict[int, list[Tensor]] = {side: [] for side in sides}
    for sample in samples:
        kept = []
        found = token_positions(tokenizer, sample.caption, sample.spans)
        for (start, end), mask, tokens in zip(sample.spans, sample.masks, found, strict=True):
            cropped = crop_mask(mask, resolution)
            reason = None
            if not tokens:
                reason = RejectionReason.PHRASE_BEYOND_TEXT_LIMIT
            elif not bool((cropped > 0.5).any()):
                reason = RejectionReason.PHRASE_CROPPED_AWAY
            if reason is not None:
                rejected.append(
                    Rejection(
                        key=sample.key, stage=STAGE, reason=reason, detail=sample.caption[start:end]
                    )
                )
                continue
            kept.append(tokens)
            for side in sides:
                grids[side].append(reduce_mask(cropped, side, reduction))
        positions.append(kept)
    encoded = EncodedSamples(
        keys=[sample.key for sample in samples],
        captions=[sample.caption for sample in samples],
        positions=positions,
        latents_mean=torch.cat(means),
        latents_deviation=torch.cat(deviations),
        encoder_hidden_states=torch.cat(states),
        grids={
            side: torch.stack(masks) if masks else torch.zeros(0, side, side, dtype=torch.bool)
            for side, masks in grids.items()
        },
    )
    return encoded, rejected


def write_encoded(folder: Path, encoded: EncodedSamples) -> None:
    """Write tensors as safetensors, and keys, captions and token positions as JSON."""
    tensors = {
        "latents_mean": encoded.latents_mean,
        "latents_deviation": encoded.latents_deviation,
        "encoder_hidden_states": encoded.encoder_hidden_states,
    }
    tensors |= {f"grid_{side}": grid for side, grid in encoded.grids.items()}
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / TENSORS_NAME)
    samples = {
        "keys": encoded.keys,
        "captions": encoded.captions,
        "positions": encoded.positions,
    }
    (folder / SAMPLES_NAME).write_text(json.dumps(samples, ensure_ascii=False), "utf-8")


def read_encoded(folders: Sequence[Path]) -> EncodedSamples:
    """Read encoded shards and join them in the order given.

    Raises:
        ValueError: If there is no sample in them.
    """
    tensors = [load_file(folder / TENSORS_NAME) for folder in folders]
    samples = [json.loads((folder / SAMPLES_NAME).read_text("utf-8")) for folder in folders]
    joined = {name: torch.cat([part[name] for part in tensors]) for name in tensors[0]}
    if not len(joined["latents_mean"]):
        raise ValueError("the encoded shards hold no sample")
    return EncodedSamples(
        keys=[key for part in samples for key in part["keys"]],
        captions=[caption for part in samples for caption in part["captions"]],
        positions=[phrases for part in samples for phrases in part["positions"]],
        latents_mean=joined["latents_mean"],
        latents_deviation=joined["latents_deviation"],
        encoder_hidden_states=joined["encoder_hidden_states"],
        grids={
            int(name.removeprefix("grid_")): value
            for name, value in joined.items()
            if name.startswith("grid_")
        },
    )
