"""Find listed nouns in their caption again."""

import re
from collections.abc import Iterable

Span = tuple[int, int]


def locate_nouns(caption: str, nouns: Iterable[str]) -> dict[str, list[Span]]:
    r"""Every place at which each noun stands.

    Nouns are compared with their case, and any white space between words is like any other. They
    are looked for as whole words, the longest first, and none is found inside another: the "wine"
    of "wine glass" is not the noun "wine" if "wine glass" is listed too. One that is nowhere a word
    of its own, such as the "mug" of "coffeemug", is then looked for inside words.

    Args:
        caption: The caption.
        nouns: The nouns, in any order.

    Returns:
        Start and end in characters of every occurrence, in order of appearance; none for a noun
        that the caption lacks, or has only inside another noun of the list.
    """
    found: dict[str, list[Span]] = {noun: [] for noun in nouns}
    taken: list[Span] = []
    longest_first = sorted(found, key=lambda noun: (-len(noun), noun))
    inside_words = []
    for noun in longest_first:
        words = _spans(caption, rf"(?<!\w){_pattern(noun)}(?!\w)") if noun.strip() else []
        if words:
            found[noun] = _free(words, taken)
            taken += found[noun]
        elif noun.strip():
            inside_words.append(noun)
    for noun in inside_words:
        found[noun] = _free(_spans(caption, _pattern(noun)), taken)
        taken += found[noun]
    return found


def _pattern(noun: str) -> str:
    return r"\s+".join(map(re.escape, noun.split()))


def _spans(caption: str, pattern: str) -> list[Span]:
    return [match.span() for match in re.finditer(pattern, caption)]


def _free(spans: list[Span], taken: list[Span]) -> list[Span]:
    return [(a, b) for a, b in spans if all(b <= start or a >= end for start, end in taken)]
