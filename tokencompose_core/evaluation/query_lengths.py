"""How long the queries of a detector may be."""

from collections.abc import Sequence
from typing import Any

from transformers import AutoConfig, CLIPTokenizer


def check_query_lengths(tokenizer: Any, longest: int, queries: Sequence[str]) -> None:
    """Refuse queries that a text tower would not read to their end.

    Args:
        tokenizer: Of transformers.
        longest: Tokens that the text tower reads.
        queries: Texts.

    Raises:
        ValueError: If a query has more tokens.
    """
    lengths = [len(tokens) for tokens in tokenizer(list(queries)).input_ids]
    for text, length in zip(queries, lengths, strict=True):
        if length > longest:
            raise ValueError(
                f"the query {text!r} has {length} tokens, but the detector reads {longest};"
                " shorten the category, or the detector's query"
            )


def check_queries(name: str, query: str, vocabulary: Sequence[str], *, revision: str = "") -> None:
    """Look whether a detector reads the query of every category; no weights are loaded.

    Args:
        name: Folder or hub name.
        query: Text query of a category, with `{name}` in its place.
        vocabulary: Categories.
        revision: Of the hub's repository; empty: the newest.

    Raises:
        ValueError: If a query has more tokens than the model reads, naming its category.
    """
    options: dict[str, Any] = {"revision": revision or None, "trust_remote_code": False}
    longest = AutoConfig.from_pretrained(name, **options).text_config.max_position_embeddings
    tokenizer = CLIPTokenizer.from_pretrained(name, **options)
    for category in vocabulary:
        try:
            check_query_lengths(tokenizer, longest, [query.format(name=category)])
        except ValueError as error:
            raise ValueError(f"category {category!r}: {error}") from error
