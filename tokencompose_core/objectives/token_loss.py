"""The token loss of TokenCompose."""

from jaxtyping import Bool, Float
from torch import Tensor


def token_loss(
    attention: Float[Tensor, "entries height width"],
    masks: Bool[Tensor, "entries height width"],
    weights: Float[Tensor, " entries"],
) -> Float[Tensor, ""]:
    """Penalise attention of nouns that lies outside their objects.

    Eq. 5 of TokenCompose (arXiv:2312.03626), for one layer: the squared share of a token's
    attention outside its mask, averaged over tokens.

    Args:
        attention: Map of each supervised token, values in [0, 1].
        masks: True on the token's object, at the resolution of the maps.
        weights: Weight of each token in the mean; see `PhraseTokens`.

    Returns:
        Scalar in [0, 1]; 0 when all attention lies inside the masks.
    """
    return (weights * (1.0 - inside_share(attention, masks)).square()).sum()


def inside_share(
    attention: Float[Tensor, "entries height width"], masks: Bool[Tensor, "entries height width"]
) -> Float[Tensor, " entries"]:
    """Share of each token's attention that lies inside its mask; chance is the mask's area."""
    return (attention * masks).sum(dim=(1, 2)) / attention.sum(dim=(1, 2))
