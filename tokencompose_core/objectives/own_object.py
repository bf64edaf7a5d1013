"""Whether a noun attends to its own object, or to objects whichever they are."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tokencompose_core.objectives.phrase_tokens import PhraseTokens


@dataclass(frozen=True)
class OwnObject:
    """Where the attention of tokens lies, each value in [0, 1].

    Attributes:
        own: Share on the token's own object.
        others: Share on the other grounded objects of its sample, where its own is not.
        preference: Attention a cell on its own object, over the sum of that and of attention a cell
            on the others: 0.5 if the token does not tell them apart, whatever their sizes.
    """

    own: Float[Tensor, " entries"]
    others: Float[Tensor, " entries"]
    preference: Float[Tensor, " entries"]


def measure_own_object(
    attention: Float[Tensor, "entries height width"],
    masks: Bool[Tensor, "phrases height width"],
    tokens: PhraseTokens,
) -> OwnObject:
    """Compare a token's attention on its object with that on the others of its sample.

    The token loss (Eqs. 4 and 5 of TokenCompose, arXiv:2312.03626) falls as well if all nouns look
    at all objects as if each looks at its own; this tells the two apart.

    Args:
        attention: Maps of the supervised tokens, averaged over heads.
        masks: Of all phrases of the batch, at the resolution of the maps.
        tokens: What the entries are.

    Returns:
        Of the entries that have other objects beside their own, and attention on any of these, in
        their order.
    """
    sample_of_phrase = tokens.sample.new_zeros(len(masks))
    sample_of_phrase[tokens.phrase] = tokens.sample
    together = sample_of_phrase[None] == tokens.sample[:, None]
    own = masks[tokens.phrase]
    objects = torch.einsum("ep,phw->ehw", together.float(), masks.float()) > 0
    others = objects & ~own
    shares = attention / attention.sum(dim=(1, 2), keepdim=True)
    on_own, on_others = ((shares * part).sum(dim=(1, 2)) for part in (own, others))
    own_cells, other_cells = (part.sum(dim=(1, 2)) for part in (own, others))
    # Not where attention has underflowed to 0: such a token prefers nothing.
    kept = (own_cells > 0) & (other_cells > 0) & (on_own + on_others > 0)
    on_own, on_others = on_own[kept], on_others[kept]
    dense, other_dense = on_own / own_cells[kept], on_others / other_cells[kept]
    return OwnObject(on_own, on_others, dense / (dense + other_dense))
