"""Where the nouns of a prompt look while an image is generated."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from data_schemas.find_nouns import find_nouns
from tokencompose_core.attention.capture import capture_attention
from tokencompose_core.attention.layers import cross_attention_layers, layer_key
from tokencompose_core.evaluation.generate import ImageRequest, Sampler, generate_images
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.nouns.token_positions import token_positions


@dataclass(frozen=True)
class AttentionRecord:
    """Attention of the nouns of a prompt at every step of the sampler.

    Attributes:
        image: What was generated.
        nouns: The nouns, in the order of the maps.
        timesteps: Timestep of each step, from noise to image.
        maps: For each place and resolution, `up_16`, the maps of its layers, heads as they are:
            `(steps, layers, heads, height, width, nouns)`. That of a noun is the mean over its
            tokens.
    """

    image: Image.Image
    nouns: tuple[str, ...]
    timesteps: tuple[int, ...]
    maps: dict[str, Float[Tensor, "steps layers heads height width nouns"]]

    def by_layer(self) -> dict[str, Float[Tensor, "height width nouns"]]:
        """Means over steps, layers of a resolution, and heads."""
        return {key: maps.mean(dim=(0, 1, 2)) for key, maps in self.maps.items()}

    def by_head(self, key: str) -> Float[Tensor, "heads height width nouns"]:
        """Means over steps, and over the layers of a place and resolution.

        Raises:
            KeyError: If there is no such layer.
        """
        return self.maps[key].mean(dim=(0, 1))

    def by_timestep(
        self, places: Sequence[str] = ("mid", "up")
    ) -> Float[Tensor, "steps height width nouns"]:
        """Means over heads and over all layers of some places, enlarged to the largest of them."""
        chosen = [
            maps.mean(dim=2) for key, maps in self.maps.items() if key.split("_")[0] in places
        ]
        size = max(maps.shape[2] for maps in chosen), max(maps.shape[3] for maps in chosen)
        enlarged = []
        for maps in chosen:
            steps, layers = maps.shape[:2]
            flat = maps.flatten(0, 1).permute(0, 3, 1, 2)
            flat = F.interpolate(flat, size=size, mode="bilinear")
            enlarged.append(flat.permute(0, 2, 3, 1).unflatten(0, (steps, layers)))
        return torch.cat(enlarged, dim=1).mean(dim=1)


@torch.inference_mode()
def record_attention(
    pipeline: DiffusionPipeline,
    tokenizer: PreTrainedTokenizerFast,
    requests: Sequence[ImageRequest],
    sampler: Sampler,
    *,
    batch_size: int = 1,
    average_heads: bool = False,
) -> list[AttentionRecord]:
    """Generate images and keep the cross-attention of their prompts' nouns.

    Of classifier-free guidance's two passes the one with the prompt is kept.

    Args:
        pipeline: A loaded Stable Diffusion.
        tokenizer: The fast tokenizer of its text encoder.
        requests: The images; the categories of a prompt are its nouns.
        sampler: Steps, guidance and size.
        batch_size: Images generated at once.
        average_heads: Keep the mean over heads as the only head.

    Raises:
        ValueError: If a category is not in its prompt, or lies beyond the text encoder's limit.
    """
    positions = [noun_positions(tokenizer, request.prompt) for request in requests]
    records: list[AttentionRecord] = []
    for start in range(0, len(requests), batch_size):
        rows = slice(start, start + batch_size)
        records += _record_batch(pipeline, requests[rows], positions[rows], sampler, average_heads)
    return records


def noun_positions(tokenizer: PreTrainedTokenizerFast, prompt: Prompt) -> list[list[int]]:
    """Positions of the tokens of each of a prompt's nouns.

    Raises:
        ValueError: If a noun is not in the prompt, or lies beyond the text encoder's limit.
    """
    nouns = prompt.categories
    positions = token_positions(tokenizer, prompt.text, find_nouns(prompt.text, nouns))
    beyond = [noun for noun, own in zip(nouns, positions, strict=True) if not own]
    if beyond:
        raise ValueError(f"{beyond} lie beyond the {tokenizer.model_max_length} tokens of a prompt")
    return positions


def _record_batch(
    pipeline: DiffusionPipeline,
    requests: Sequence[ImageRequest],
    positions: Sequence[list[list[int]]],
    sampler: Sampler,
    average_heads: bool,
) -> list[AttentionRecord]:
    unet = pipeline.unet
    side = max(sampler.height, sampler.width) // pipeline.vae_scale_factor
    layers = cross_attention_layers(unet, ("down", "mid", "up"), side)
    # Prompts with fewer tokens than others are filled up with the first token, which is not read.
    own = [[token for tokens in nouns for token in tokens] for nouns in positions]
    widest = max(1, *map(len, own))
    tokens = torch.tensor([row + [0] * (widest - len(row)) for row in own])
    widths = [[len(tokens) for tokens in nouns] for nouns in positions]
    # For each image, for each step, for each place and resolution, the maps of its layers.
    steps: list[list[dict[str, list[Tensor]]]] = [[] for _ in requests]
    timesteps: list[int] = []
    with capture_attention(unet, layers) as attention:

        def keep(pipeline, step: int, timestep: Tensor, values: dict) -> dict:
            for row, of_row in enumerate(steps):
                of_row.append({})
                for name, captured in attention.maps.items():
                    # The prompts' pass is the last of the two.
                    maps = captured[row - len(requests), ..., : len(own[row])]
                    if average_heads:
                        maps = maps.mean(dim=0, keepdim=True)
                    of_nouns = [part.mean(dim=-1) for part in maps.split(widths[row], dim=-1)]
                    key = layer_key(unet, name, side)
                    of_row[-1].setdefault(key, []).append(torch.stack(of_nouns, dim=-1).cpu())
            timesteps.append(int(timestep))
            return values

        passes = 2 if sampler.guidance_scale > 1 else 1
        attention.select(tokens.repeat(passes, 1).to(unet.device))
        images = generate_images(
            pipeline,
            requests,
            sampler,
            batch_size=len(requests),
            decode_batch_size=1,  # of a training's memory, decoding is to take little
            on_step_end=keep,
        )
    return [
        AttentionRecord(
            image=image,
            nouns=tuple(request.prompt.categories),
            timesteps=tuple(timesteps),
            maps={
                key: torch.stack([torch.stack(maps[key]) for maps in of_row]) for key in of_row[0]
            },
        )
        for image, request, of_row in zip(images, requests, steps, strict=True)
    ]
