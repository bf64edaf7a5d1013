"""The token loss of TokenCompose, as the paper writes it and as its code was released."""

from jaxtyping import Bool, Float
from torch import Tensor

from tokencompose_core.objectives.phrase_tokens import PhraseTokens


def token_loss(
    attention: Float[Tensor, "entries heads height width"],
    masks: Bool[Tensor, "entries height width"],
    tokens: PhraseTokens,
) -> Float[Tensor, ""]:
    """Penalise attention of nouns that lies outside their objects.

    Eqs. 4 and 5 of TokenCompose (arXiv:2312.03626), for one layer: the squared share of a token's
    attention, averaged over heads, outside its mask; averaged over tokens, then over samples.

    Args:
        attention: Maps of the supervised tokens, values in [0, 1].
        masks: True on the token's object, at the resolution of the maps.
        tokens: What the entries are.

    Returns:
        Scalar in [0, 1]; 0 when all attention lies inside the masks.
    """
    share = inside_share(attention.mean(dim=1), masks)
    return (tokens.weight * (1.0 - share).square()).sum()


def released_token_loss(
    attention: Float[Tensor, "entries heads height width"],
    masks: Bool[Tensor, "entries height width"],
    tokens: PhraseTokens,
) -> Float[Tensor, ""]:
    """The same as the released code of TokenCompose computes it (`train/src/loss_utils.py`).

    The share inside the mask is taken of each head's map and then averaged over heads; tokens are
    averaged inside a phrase first, so that a phrase counts the same whatever its length.

    Args:
        attention: Maps of the supervised tokens, values in [0, 1].
        masks: True on the token's object, at the resolution of the maps.
        tokens: What the entries are.

    Returns:
        Scalar in [0, 1]; 0 when all attention lies inside the masks.
    """
    share = inside_share(attention, masks[:, None]).mean(dim=1)
    weight = tokens.share * tokens.phrase_weight[tokens.phrase]
    return (weight * (1.0 - share).square()).sum()


def inside_share(
    attention: Float[Tensor, "*maps height width"], masks: Bool[Tensor, "*#maps height width"]
) -> Float[Tensor, "*maps"]:
    """Share of each map's attention that lies inside its mask; chance is the mask's area."""
    return (attention * masks).sum(dim=(-2, -1)) / attention.sum(dim=(-2, -1))
