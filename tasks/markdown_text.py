"""Texts of strangers inside the markdown of cards."""

import string
from typing import Any

# Characters that mean something in markdown, HTML or a table, as entities: those are shown and
# never read again. The others are left, so that a card can be read as text too.
_ENTITIES = {ord(sign): f"&#{ord(sign)};" for sign in string.punctuation if sign not in ",/%;?-"}
# Pictures of control characters, and nothing for marks that turn the direction of what follows.
_CONTROL: dict[int, Any] = {code: 0x2400 + code for code in range(32)} | {
    127: 0x2421,
    0x2028: " ",
    0x2029: " ",
}
_DIRECTION = dict.fromkeys((0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
_TRANSLATION: dict[int, Any] = {**_ENTITIES, **_CONTROL, **_DIRECTION}


def plain(text: str, most: int = 200) -> str:
    """A text as markdown that shows it and does nothing else, on one line and not too long.

    Args:
        text: Anything: a caption, a label, a message.
        most: Characters that are shown.
    """
    shown = text if len(text) <= most else f"{text[:most]}…"
    return shown.translate(_TRANSLATION)
