"""Capture cross-attention probabilities of a diffusers UNet."""

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from jaxtyping import Float
from torch import Tensor

Place = Literal["down", "mid", "up"]
_BLOCKS: dict[str, Place] = {"down_blocks": "down", "mid_block": "mid", "up_blocks": "up"}


class AttentionMaps:
    """Maps of the last forward pass, by layer name.

    Attributes:
        maps: For each layer the probabilities, `(batch, heads, height, width, tokens)`.
    """

    def __init__(self) -> None:
        self.maps: dict[str, Float[Tensor, "batch heads height width tokens"]] = {}
        self.listening = False
        self.latent_size = (1, 1)

    def add(self, layer: str, probabilities: Tensor, heads: int) -> None:
        """Keep what a layer attends to, if the UNet runs forward.

        Gradient checkpointing runs layers a second time during the backward pass; by then the maps
        have been read, and the second set is dropped.
        """
        if not self.listening:
            return
        pixels, tokens = probabilities.shape[1:]
        height, width = map_size(pixels, self.latent_size)
        self.maps[layer] = probabilities.view(-1, heads, height, width, tokens)


def map_size(pixels: int, latent_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a map of `pixels`, reduced from latents of `latent_size`.

    Raises:
        ValueError: If no halving of the latents has that many pixels.
    """
    height, width = latent_size
    while height * width > pixels and max(height, width) > 1:
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    if height * width != pixels:
        raise ValueError(f"a map of {pixels} pixels does not come from latents of {latent_size}")
    return height, width


def cross_attention_layers(unet: UNet2DConditionModel, places: Collection[Place]) -> list[str]:
    """Names of the cross-attention layers of some places, in the order of the network.

    Args:
        unet: The network.
        places: Some of `down`, `mid` and `up` (the decoder).

    Raises:
        ValueError: If there is no such layer.
    """
    layers = [
        name
        for name, module in unet.named_modules()
        if isinstance(module, Attention)
        and module.is_cross_attention
        and _BLOCKS.get(name.split(".")[0]) in places
    ]
    if not layers:
        raise ValueError(f"the UNet has no cross-attention in {sorted(places)}")
    return layers


@contextmanager
def capture_attention(
    unet: UNet2DConditionModel, layers: Collection[str]
) -> Iterator[AttentionMaps]:
    """Capture the probabilities of some layers of every forward pass inside the context.

    All other layers keep the processors that they have. Leaving the context puts everything back.

    Args:
        unet: The network.
        layers: Names of cross-attention layers.

    Yields:
        Maps of the latest forward pass, with gradients.

    Raises:
        KeyError: If a layer is not in the network.
    """
    modules = dict(unet.named_modules())
    unknown = [name for name in layers if name not in modules]
    if unknown:
        raise KeyError(f"the UNet has no layers {unknown}; it has {sorted(unet.attn_processors)}")
    result = AttentionMaps()

    def start(module, inputs, keywords) -> None:
        sample = keywords["sample"] if "sample" in keywords else inputs[0]
        result.maps = {}
        result.latent_size = tuple(sample.shape[-2:])
        result.listening = True

    def stop(module, inputs, output) -> None:
        result.listening = False

    hooks = [
        unet.register_forward_pre_hook(start, with_kwargs=True),
        unet.register_forward_hook(stop),
    ]
    previous = {name: modules[name].processor for name in layers}
    try:
        for name in layers:
            modules[name].set_processor(_CapturingProcessor(name, result))
        yield result
    finally:
        for name, processor in previous.items():
            modules[name].set_processor(processor)
        for hook in hooks:
            hook.remove()


class _CapturingProcessor:
    """Attention with its probabilities written out; what diffusers' `AttnProcessor` computes."""

    def __init__(self, layer: str, maps: AttentionMaps) -> None:
        self.layer = layer
        self.maps = maps

    def __call__(
        self,
        attn: Attention,
        hidden_states: Float[Tensor, "batch pixels channels"],
        encoder_hidden_states: Float[Tensor, "batch tokens text_channels"],
        attention_mask: Tensor | None = None,
    ) -> Float[Tensor, "batch pixels channels"]:
        if attention_mask is not None:
            batch, tokens, _ = encoder_hidden_states.shape
            attention_mask = attn.prepare_attention_mask(attention_mask, tokens, batch)
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
        value = attn.head_to_batch_dim(attn.to_v(encoder_hidden_states))
        probabilities = attn.get_attention_scores(query, key, attention_mask)
        self.maps.add(self.layer, probabilities, attn.heads)
        attended = attn.batch_to_head_dim(torch.bmm(probabilities, value))
        return attn.to_out[1](attn.to_out[0](attended))
