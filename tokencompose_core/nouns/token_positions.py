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
) -> list[list[int]]:
    """The same for a model with several text encoders, whose states lie side by side.

    Args:
        tokenizers: One for each text encoder, at least one.
        caption: The text.
        spans: Start and end of each phrase in characters.

    Raises:
        ValueError: If a tokenizer has a noun at other positions than the first one.
    """
    first = token_positions(tokenizers[0], caption, spans)
    for number, tokenizer in enumerate(tokenizers[1:], 2):
        other = token_positions(tokenizer, caption, spans)
        if other != first:
            nouns = [caption[start:end] for start, end in spans]
            # Even the tokenizers of SDXL part at "!!": one token in the first; in the second, which
            # pads with "!", two.
            raise ValueError(
                f"the tokenizers of the base model split {caption!r} differently: {nouns} are at"
                f" {first} in the first and at {other} in tokenizer {number}, so no column of the"
                " attention belongs to a noun; leave the caption out, or name a base_model whose"
                " tokenizers share a vocabulary and a maximal length"
            )
    return first
