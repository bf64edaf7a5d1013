"""What a person sees of a card's markdown."""

import re
from html import unescape

_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")


def shown(markdown: str) -> str:
    """The text with its escapes undone, as the UI's renderer does."""
    return unescape(_ESCAPED.sub(r"\1", markdown))
