"""The pixel loss of TokenCompose, as the paper writes it and as its code was released."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from tokencompose_core.objectives.phrase_tokens import PhraseTokens


def pixel_loss(
    attention: Float[Tensor, "entries heads height width"],
    masks: Bool[Tensor, "entries height width"],
    tokens: PhraseTokens,
) -> Float[Tensor, ""]:
    """Ask for attention on every pixel of the object and on no other.

    Eqs. 4 and 6 of TokenCompose (arXiv:2312.03626), for one layer: binary cross-entropy of a
    token's map, averaged over heads, with its mask; averaged over pixels, tokens, then samples.

    Args:
        attention: Maps of the supervised tokens, values in [0, 1].
        masks: True on the token's object, at the resolution of the maps.
        tokens: What the entries are.

    Returns:
        Scalar, not negative; 0 when the maps equal the masks.
    """
    return (tokens.weight * _entropy(attention.mean(dim=1), masks)).sum()


def released_pixel_loss(
    attention: Float[Tensor, "entries maps height width"],
    masks: Bool[Tensor, "phrases height width"],
    tokens: PhraseTokens,
) -> Float[Tensor, ""]:
    """The same as the released code of TokenCompose computes it (`train/src/loss_utils.py`).

    One term for all layers of a place and resolution: maps are averaged over layers and heads and
    summed over the tokens of a phrase before the cross-entropy; averaged over pixels, phrases, then
    samples.

    Args:
        attention: Maps of the supervised tokens in all heads of all these layers, in [0, 1].
        masks: True on the phrase's object, at the resolution of the maps.
        tokens: What the entries are.

    Returns:
        Scalar, not negative; 0 when the maps equal the masks.
    """
    phrases = tokens.per_phrase(attention.mean(dim=1))
    return (tokens.phrase_weight * _entropy(phrases, masks)).sum()


def _entropy(
    attention: Float[Tensor, "rows height width"], masks: Bool[Tensor, "rows height width"]
) -> Float[Tensor, " rows"]:
    # PyTorch refuses this cross-entropy under autocast, although the maps are in float32.
    with torch.autocast(attention.device.type, enabled=False):
        # Rounding may lift a probability a little above 1, which cross-entropy does not take.
        entropy = F.binary_cross_entropy(
            attention.clamp(0.0, 1.0), masks.to(attention.dtype), reduction="none"
        )
    return entropy.mean(dim=(1, 2))
