"""Noun phrases that name no thing one could point at, such as `side` and `top`."""

import unicodedata
from collections.abc import Collection


def is_stopped(phrase: str, stop_nouns: Collection[str]) -> bool:
    """Whether a noun phrase ends in a noun of the list.

    What a row of English nouns means is decided by its last one: a side dish is a dish, and a table
    side is a side. So `side` stops "side" and "table side" and keeps "side dish", and `wine glass`
    stops "wine glass" and keeps "glass".

    Args:
        phrase: The phrase as the caption has it, of one word or more.
        stop_nouns: Words in lower case, or several separated by a space.
    """
    words = unicodedata.normalize("NFC", phrase).lower().split()
    nouns = (unicodedata.normalize("NFC", noun).split() for noun in stop_nouns)
    return any(words[-len(noun) :] == noun for noun in nouns)
