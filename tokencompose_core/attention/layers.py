"""Cross-attention layers of a diffusers UNet, by place and resolution."""

import math
from collections.abc import Collection
from typing import Literal, get_args

from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention

Place = Literal["down", "mid", "up"]


def cross_attention_layers(
    unet: UNet2DConditionModel, wanted: Collection[str], latent_side: int
) -> list[str]:
    """Names of cross-attention layers, in the order of the network.

    Args:
        unet: The network.
        wanted: Places (`down`, `mid`, `up`, the decoder) and places at one resolution: `up_16` are
            the layers of the decoder whose maps are 16 wide.
        latent_side: Side of the latents, from which the resolutions follow.

    Raises:
        ValueError: If one of the wanted has no layer, or nothing is wanted.
    """
    keys = {name: layer_key(unet, name, latent_side) for name in _all_layers(unet)}
    places = get_args(Place)
    available = sorted(
        dict.fromkeys(keys.values()), key=lambda key: places.index(key.split("_")[0])
    )
    for one in wanted:
        if not any(key == one or key.startswith(f"{one}_") for key in available):
            raise ValueError(
                f"the UNet has no cross-attention {one!r}; it has {', '.join(available)}"
            )
    layers = [name for name, key in keys.items() if key in wanted or key.split("_")[0] in wanted]
    if not layers:
        raise ValueError("no cross-attention layers were asked for")
    return layers


def layer_key(unet: UNet2DConditionModel, name: str, latent_side: int) -> str:
    """Place and resolution of a layer, for instance `up_16`.

    Blocks of the encoder halve the latents from the second on; blocks of the decoder undo it.

    Raises:
        ValueError: If the layer is in none of these.
    """
    parts = name.split(".")
    deepest = len(unet.config.block_out_channels) - 1
    place: Place
    match parts[0]:
        case "down_blocks":
            place, level = "down", int(parts[1])
        case "mid_block":
            place, level = "mid", deepest
        case "up_blocks":
            place, level = "up", deepest - int(parts[1])
        case _:
            raise ValueError(f"{name} is not in an encoder, middle or decoder block")
    return f"{place}_{map_side(latent_side, level)}"


def map_side(latent_side: int, level: int) -> int:
    """Side of the maps after `level` halvings, each rounded up as strided convolutions do."""
    for _ in range(level):
        latent_side = math.ceil(latent_side / 2)
    return latent_side


def _all_layers(unet: UNet2DConditionModel) -> list[str]:
    return [
        name
        for name, module in unet.named_modules()
        if isinstance(module, Attention) and module.is_cross_attention
    ]
