"""The pixel loss of TokenCompose."""

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def pixel_loss(
    attention: Float[Tensor, "entries height width"],
    masks: Bool[Tensor, "entries height width"],
    weights: Float[Tensor, " entries"],
) -> Float[Tensor, ""]:
    """Ask for attention on every pixel of the object and on no other.

    Eq. 6 of TokenCompose (arXiv:2312.03626), for one layer: binary cross-entropy of a token's map
    with its mask, averaged over pixels and tokens.

    Args:
        attention: Map of each supervised token, values in [0, 1].
        masks: True on the token's object, at the resolution of the maps.
        weights: Weight of each token in the mean; see `PhraseTokens`.

    Returns:
        Scalar, not negative; 0 when the maps equal the masks.
    """
    # Rounding may lift a probability a little above 1, which cross-entropy does not take.
    entropy = F.binary_cross_entropy(attention.clamp(0.0, 1.0), masks.float(), reduction="none")
    return (weights * entropy.mean(dim=(1, 2))).sum()
