"""The grounding terms of TokenCompose's objective, over all supervised layers.

An objective is a function from captured maps of a forward pass to named terms, here `token` and
`pixel`. Another is such a function, a name in `ObjectiveConfig.variant`, and a case in
`choose_objective`. A term of another name has its weight in a field `<name>_weight` of
`ObjectiveConfig`, with 0 as its default; without one it is measured, and trains nothing.
`docs/extending.md` has an example.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tokencompose_core.objectives.phrase_tokens import PhraseTokens, token_maps
from tokencompose_core.objectives.pixel_loss import pixel_loss, released_pixel_loss
from tokencompose_core.objectives.token_loss import released_token_loss, token_loss

Maps = Mapping[str, Float[Tensor, "batch heads height width columns"]]
Grids = Mapping[int, Bool[Tensor, "phrases side side"]]
Objective = Callable[[Maps, PhraseTokens, Grids], dict[str, Tensor]]


def paper_losses(maps: Maps, tokens: PhraseTokens, grids: Grids) -> dict[str, Tensor]:
    """Token and pixel loss, each summed over layers: Eq. 7 of TokenCompose (arXiv:2312.03626).

    Args:
        maps: Captured columns of each layer, by its name.
        tokens: The supervised tokens of the batch.
        grids: For every side of a map the masks of the batch's phrases.

    Returns:
        `token` and `pixel`, scalars without the weights of Eq. 7.
    """
    token, pixel = [], []
    for captured in maps.values():
        attention = token_maps(captured, tokens)
        masks = grids[captured.shape[2]][tokens.phrase]
        token.append(token_loss(attention, masks, tokens))
        pixel.append(pixel_loss(attention, masks, tokens))
    return {"token": torch.stack(token).sum(), "pixel": torch.stack(pixel).sum()}


def released_losses(maps: Maps, tokens: PhraseTokens, grids: Grids) -> dict[str, Tensor]:
    """The same as the released code of TokenCompose computes it.

    The token loss is summed over layers, the pixel loss over the resolutions of a place: `mid_8`,
    `up_16`, `up_32` and `up_64` in Stable Diffusion at 512 pixels.

    Args:
        maps: Captured columns of each layer, by its name.
        tokens: The supervised tokens of the batch.
        grids: For every side of a map the masks of the batch's phrases.
    """
    groups: dict[tuple[str, int], list[Tensor]] = defaultdict(list)
    for name, captured in maps.items():
        groups[name.split(".")[0], captured.shape[2]].append(token_maps(captured, tokens))
    token, pixel = [], []
    for (_, side), layers in groups.items():
        masks = grids[side]
        token += [released_token_loss(layer, masks[tokens.phrase], tokens) for layer in layers]
        pixel.append(released_pixel_loss(torch.cat(layers, dim=1), masks, tokens))
    return {"token": torch.stack(token).sum(), "pixel": torch.stack(pixel).sum()}
