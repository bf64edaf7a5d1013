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
        columns: For each sample the positions of its supervised tokens in the encoded caption: the
            columns that are captured. Samples with fewer tokens than others are filled up.
        sample: Row of the batch.
        column: Which of the sample's columns the token is.
        phrase: Row in the batch's list of phrases, whose mask the token has.
        weight: One over the number of supervised tokens of the sample and the size of the batch,
            so that a weighted sum over entries is a mean over tokens, then over samples. A sample
            without phrases adds nothing.
        phrase_weight: For each phrase, one over the number of phrases of its sample and the size of
            the batch.
        share: One over the number of tokens of the entry's phrase.
    """

    columns: Int[Tensor, "batch columns"]
    sample: Int[Tensor, " entries"]
    column: Int[Tensor, " entries"]
    phrase: Int[Tensor, " entries"]
    weight: Float[Tensor, " entries"]
    phrase_weight: Float[Tensor, " phrases"]
    share: Float[Tensor, " entries"]

    def __len__(self) -> int:
        return len(self.column)

    def per_phrase(
        self, values: Float[Tensor, "entries height width"]
    ) -> Float[Tensor, "phrases height width"]:
        """Sums over the tokens of each phrase."""
        sums = values.new_zeros((len(self.phrase_weight), *values.shape[1:]))
        return sums.index_add(0, self.phrase, values)


def index_phrase_tokens(
    positions: Sequence[Sequence[Sequence[int]]], device: torch.device | str = "cpu"
) -> PhraseTokens:
    """List the supervised tokens of a batch.

    Args:
        positions: For every sample, for every phrase, the positions of its tokens. Phrases are
            numbered through the batch in this order.
        device: Where to put the tensors.
    """
    columns: list[list[int]] = []
    sample: list[int] = []
    column: list[int] = []
    phrase: list[int] = []
    weight: list[float] = []
    phrase_weight: list[float] = []
    share: list[float] = []
    for row, phrases in enumerate(positions):
        own = [token for tokens in phrases for token in tokens]
        columns.append(own)
        column += range(len(own))
        sample += [row] * len(own)
        weight += [1.0 / (len(own) * len(positions)) for _ in own]
        for tokens in phrases:
            phrase += [len(phrase_weight)] * len(tokens)
            share += [1.0 / len(tokens)] * len(tokens)
            phrase_weight.append(1.0 / (len(phrases) * len(positions)))
    widest = max(1, *map(len, columns))
    padded = [own + [0] * (widest - len(own)) for own in columns]

    def integers(values: Sequence) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    def numbers(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)

    return PhraseTokens(
        columns=integers(padded),
        sample=integers(sample),
        column=integers(column),
        phrase=integers(phrase),
        weight=numbers(weight),
        phrase_weight=numbers(phrase_weight),
        share=numbers(share),
    )


def token_maps(
    attention: Float[Tensor, "batch heads height width columns"], tokens: PhraseTokens
) -> Float[Tensor, "entries heads height width"]:
    """Maps of the supervised tokens, from the captured columns of one layer."""
    return attention[tokens.sample, :, :, :, tokens.column]
