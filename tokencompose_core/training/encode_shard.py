"""Everything of a shard that training needs and that no step changes."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from diffusers import DiffusionPipeline, StableDiffusionXLPipeline
from jaxtyping import Bool, Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.attention.layers import map_side
from tokencompose_core.nouns.token_positions import agreed_positions
from tokencompose_core.shards.read_shard import GroundedSample
from tokencompose_core.training.crop import (
    crop_holds,
    crop_image,
    crop_mask,
    describe_crop,
    reduce_mask,
)
from tokencompose_core.training.encode_captions import encode_captions, tokenizers_of

STAGE = "encode"
TENSORS_NAME = "encoded.safetensors"
SAMPLES_NAME = "samples.json"
_CONDITION = "condition_"
_EMPTY = "empty_"
_GRID = "grid_"


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
        added_conditions: What the UNet takes beside them, its `added_cond_kwargs`, one row a
            sample: for SDXL `text_embeds`, the pooled text state, and `time_ids`, see
            `describe_crop`; empty for SD 1 and 2.
        empty_hidden_states: Text states of the empty caption, see `encode_captions`.
        empty_conditions: What the UNet takes of the empty caption beside them, one row: for SDXL
            `text_embeds`.
        grids: For every side of an attention map the masks of all phrases, sample by sample.
    """

    keys: list[str]
    captions: list[str]
    positions: list[list[list[int]]]
    latents_mean: Float[Tensor, "samples channels height width"]
    latents_deviation: Float[Tensor, "samples channels height width"]
    encoder_hidden_states: Float[Tensor, "samples tokens width"]
    added_conditions: dict[str, Float[Tensor, "samples features"]]
    empty_hidden_states: Float[Tensor, "1 tokens width"]
    empty_conditions: dict[str, Float[Tensor, "1 features"]]
    grids: dict[int, Bool[Tensor, "phrases side side"]]


def map_sides(num_levels: int, latent_side: int) -> list[int]:
    """Sides of the attention maps of a UNet with so many levels, largest first."""
    return [map_side(latent_side, level) for level in range(num_levels)]


def select_samples(samples: EncodedSamples, keys: Collection[str]) -> EncodedSamples:
    """Those of the samples that have one of the keys, in their order.

    A copy, so that the others can be forgotten; if there are no others, the samples themselves.
    """
    if all(key in keys for key in samples.keys):
        return samples
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
        added_conditions={name: value[rows] for name, value in samples.added_conditions.items()},
        empty_hidden_states=samples.empty_hidden_states,
        empty_conditions=samples.empty_conditions,
        grids={side: grid[phrases] for side, grid in samples.grids.items()},
    )


@torch.no_grad()  # not inference_mode, whose tensors no pass with gradients takes
def encode_samples(
    samples: Sequence[GroundedSample],
    pipeline: DiffusionPipeline,
    *,
    resolution: int,
    sides: Sequence[int],
    reduction: Literal["coverage", "antialiased", "released"],
    batch_size: int,
) -> tuple[EncodedSamples, list[Rejection]]:
    """Encode images and captions, and reduce masks to the sides of the attention maps.

    The crop of the image is applied to the masks. A phrase that it cuts away, that lies beyond the
    text encoder's limit, or whose tokens stand at different places for the two text encoders of
    SDXL, is left out and reported; its sample stays.

    Args:
        samples: Samples of a shard.
        pipeline: The Stable Diffusion without its UNet, see `load_frozen_parts`.
        resolution: Side of the square training image in pixels.
        sides: Sides of the attention maps.
        reduction: See `reduce_mask`.
        batch_size: Images, and captions, encoded at once.
    """
    vae, tokenizers = pipeline.vae, tokenizers_of(pipeline)
    found = [agreed_positions(tokenizers, sample.caption, sample.spans) for sample in samples]
    # Empty tensors of the right shape, since a shard may hold no sample.
    means = [torch.zeros(0, vae.config.latent_channels, sides[0], sides[0])]
    deviations = [means[0]]
    empty_hidden_states, empty_conditions = encode_captions(pipeline, [""])
    states = [empty_hidden_states[:0]]
    conditions = {name: [value[:0]] for name, value in empty_conditions.items()}
    for start in range(0, len(samples), batch_size):
        batch = samples[start : start + batch_size]
        pixels = torch.stack([crop_image(sample.image, resolution) for sample in batch])
        posterior = vae.encode(pixels.to(vae.device)).latent_dist
        means.append((posterior.mean * vae.config.scaling_factor).cpu())
        deviations.append((posterior.std * vae.config.scaling_factor).cpu())
        of_captions, beside = encode_captions(pipeline, [sample.caption for sample in batch])
        states.append(of_captions)
        for name, value in beside.items():
            conditions[name].append(value)
    added_conditions = {name: torch.cat(values) for name, values in conditions.items()}
    if isinstance(pipeline, StableDiffusionXLPipeline):
        crops = [describe_crop(s.image.height, s.image.width, resolution) for s in samples]
        added_conditions["time_ids"] = torch.tensor(crops, dtype=torch.float32).reshape(-1, 6)
    rejected: list[Rejection] = []
    positions: list[list[list[int]]] = []
    grids: dict[int, list[Tensor]] = {side: [] for side in sides}
    for sample, own in zip(samples, found, strict=True):
        kept = []
        for (start, end), mask, tokens in zip(sample.spans, sample.masks, own, strict=True):
            reason = None
            if tokens is None:
                reason = RejectionReason.PHRASE_SPLIT_DIFFERENTLY
            elif not tokens:
                reason = RejectionReason.PHRASE_BEYOND_TEXT_LIMIT
            elif not crop_holds(mask, resolution):
                reason = RejectionReason.PHRASE_CROPPED_AWAY
            if reason is not None:
                rejected.append(
                    Rejection(
                        key=sample.key, stage=STAGE, reason=reason, detail=sample.caption[start:end]
                    )
                )
                continue
            assert tokens is not None  # or there would have been a reason
            kept.append(tokens)
            cropped = crop_mask(mask, resolution)
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
        added_conditions=added_conditions,
        empty_hidden_states=empty_hidden_states,
        empty_conditions=empty_conditions,
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
        f"{_EMPTY}hidden_states": encoded.empty_hidden_states,
    }
    tensors |= {f"{_CONDITION}{name}": value for name, value in encoded.added_conditions.items()}
    tensors |= {
        f"{_EMPTY}{_CONDITION}{name}": value for name, value in encoded.empty_conditions.items()
    }
    tensors |= {f"{_GRID}{side}": grid for side, grid in encoded.grids.items()}
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
    joined = {
        # The empty caption is the same in all shards of a model.
        name: value if name.startswith(_EMPTY) else torch.cat([part[name] for part in tensors])
        for name, value in tensors[0].items()
    }
    if not len(joined["latents_mean"]):
        raise ValueError("the encoded shards hold no sample")
    return EncodedSamples(
        keys=[key for part in samples for key in part["keys"]],
        captions=[caption for part in samples for caption in part["captions"]],
        positions=[phrases for part in samples for phrases in part["positions"]],
        latents_mean=joined["latents_mean"],
        latents_deviation=joined["latents_deviation"],
        encoder_hidden_states=joined["encoder_hidden_states"],
        added_conditions=_with_prefix(joined, _CONDITION),
        empty_hidden_states=joined[f"{_EMPTY}hidden_states"],
        empty_conditions=_with_prefix(joined, _EMPTY + _CONDITION),
        grids={int(side): grid for side, grid in _with_prefix(joined, _GRID).items()},
    )


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
