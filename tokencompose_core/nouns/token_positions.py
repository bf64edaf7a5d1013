"""From characters of a caption to positions of its tokens."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast


def token_positions(
    tokenizer: PreTrainedTokenizerFast, caption: str, spans: Sequence[tuple[int, int]]
) -> list[list[int]]:
    """Positions of the tokens that spell each span of a caption.

    Positions come from the tokenizer's own character offsets, so it does not matter how often a
    noun occurs or how many tokens it has.

    Args:
        tokenizer: Any fast tokenizer.
        caption: The text.
        spans: Start and end of each phrase in characters.

    Returns:
        For every span its token positions in the encoded caption, special tokens counted; empty if
        the span lies wholly beyond the tokenizer's maximal length.
    """
    encoded = tokenizer(caption, truncation=True, return_offsets_mapping=True)
    offsets = encoded["offset_mapping"]
    return [
        [i for i, (left, right) in enumerate(offsets) if left < end and right > start]
        for start, end in spans
    ]


def agreed_positions(
    tokenizers: Sequence[PreTrainedTokenizerFast], caption: str, spans: Sequence[tuple[int, int]]
) -> list[list[int] | None]:
    """The same for a model with several text encoders, whose states lie side by side.

    Args:
        tokenizers: One for each text encoder, at least one.
        caption: The text.
        spans: Start and end of each phrase in characters.

    Returns:
        For every span its token positions, or None if the tokenizers have it at different ones, as
        those of SDXL have what follows two exclamation marks.
    """
    found = [token_positions(tokenizer, caption, spans) for tokenizer in tokenizers]
    return [own[0] if all(o == own[0] for o in own) else None for own in zip(*found, strict=True)]
