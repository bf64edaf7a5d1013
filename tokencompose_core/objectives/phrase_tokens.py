"""Which column of a batch's attention belongs to which phrase."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class PhraseTokens:
    """The supervised tokens of a batch, one entry a token.

    Attributes:
        sample: Row of the batch.
        token: Position in the encoded caption.
        phrase: Row in the batch's list of phrases, whose mask the token has.
        weight: One over the number of supervised tokens of the sample and the size of the batch,
            so that a weighted sum over entries is a mean over tokens, then over samples. A sample
            without phrases adds nothing.
    """

    sample: Int[Tensor, " entries"]
    token: Int[Tensor, " entries"]
    phrase: Int[Tensor, " entries"]
    weight: Float[Tensor, " entries"]

    def __len__(self) -> int:
        return len(self.token)


def index_phrase_tokens(
    positions: Sequence[Sequence[Sequence[int]]], device: torch.device | str = "cpu"
) -> PhraseTokens:
    """List the supervised tokens of a batch.

    Args:
        positions: For every sample, for every phrase, the positions of its tokens. Phrases are
            numbered through the batch in this order.
        device: Where to put the tensors.
    """
    sample, token, phrase, weight = [], [], [], []
    number = 0
    for row, phrases in enumerate(positions):
        count = sum(len(tokens) for tokens in phrases)
        for tokens in phrases:
            sample += [row] * len(tokens)
            token += list(tokens)
            phrase += [number] * len(tokens)
            weight += [1.0 / (count * len(positions))] * len(tokens)
            number += 1
    return PhraseTokens(
        torch.tensor(sample, dtype=torch.long, device=device),
        torch.tensor(token, dtype=torch.long, device=device),
        torch.tensor(phrase, dtype=torch.long, device=device),
        torch.tensor(weight, dtype=torch.float32, device=device),
    )


def select_columns(
    attention: Float[Tensor, "batch heads height width tokens"], tokens: PhraseTokens
) -> Float[Tensor, "entries height width"]:
    """Maps of the supervised tokens, averaged over heads (Eq. 4 of TokenCompose), in float32."""
    return attention[tokens.sample, :, :, :, tokens.token].float().mean(dim=1)
