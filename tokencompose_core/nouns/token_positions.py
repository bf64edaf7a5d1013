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
        the span lies wholly beyond the tokenizer's maximal length, and those that are read if it
        lies partly beyond it, see `cut_spans`.

    Raises:
        ValueError: If the tokenizer is a slow one, as that of a pipeline may be.
    """
    return _positions(tokenizer, caption, spans, is_limited=True)


def cut_spans(
    tokenizer: PreTrainedTokenizerFast, caption: str, spans: Sequence[tuple[int, int]]
) -> list[bool]:
    """Whether the tokenizer's maximal length cuts a span in two.

    Args:
        tokenizer: Any fast tokenizer.
        caption: The text.
        spans: Start and end of each phrase in characters.

    Returns:
        For every span whether some of its tokens are read and others are not.
    """
    read = _positions(tokenizer, caption, spans, is_limited=True)
    whole = _positions(tokenizer, caption, spans, is_limited=False)
    return [0 < len(some) < len(all_) for some, all_ in zip(read, whole, strict=True)]


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


def _positions(
    tokenizer: PreTrainedTokenizerFast,
    caption: str,
    spans: Sequence[tuple[int, int]],
    *,
    is_limited: bool,
) -> list[list[int]]:
    if not tokenizer.is_fast:
        raise ValueError(
            "a fast tokenizer is needed, which knows the characters of its tokens, not a"
            f" {type(tokenizer).__name__}; load it with CLIPTokenizerFast.from_pretrained"
        )
    encoded = tokenizer(
        caption,
        truncation=is_limited,
        return_offsets_mapping=True,
        verbose=False,  # or it would warn of a length that is not asked for
    )
    offsets = encoded["offset_mapping"]
    return [
        [i for i, (left, right) in enumerate(offsets) if left < end and right > start]
        for start, end in spans
    ]
