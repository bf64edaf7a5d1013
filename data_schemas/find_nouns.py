"""Find the nouns of a prompt in it: for configs, and for what draws their attention."""

import re
from collections.abc import Sequence


def find_nouns(prompt: str, nouns: Sequence[str]) -> list[tuple[int, int]]:
    """Start and end of each noun, as whole words that do not overlap.

    Longer nouns are found first, so that "dog" is not looked for in "hot dog".

    Raises:
        ValueError: If a noun is not in the prompt.
    """
    spans: dict[str, tuple[int, int]] = {}
    for noun in sorted(nouns, key=len, reverse=True):
        found = [
            match.span()
            for match in re.finditer(rf"\b{re.escape(noun)}\b", prompt)
            if not any(match.start() < end and match.end() > start for start, end in spans.values())
        ]
        if not found:
            raise ValueError(
                f"the prompt {prompt!r} does not contain {noun!r}, as words of its own that are"
                " part of no other noun"
            )
        spans[noun] = found[0]
    return [spans[noun] for noun in nouns]
