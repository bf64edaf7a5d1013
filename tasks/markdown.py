"""Texts of strangers inside the markdown of cards."""

from collections.abc import Iterable, Sequence

MOST_CHARACTERS = 200
# Pictures of control characters, which browsers drop or break lines at.
_VISIBLE = {code: 0x2400 + code for code in range(32)} | {127: 0x2421}
_PLAIN = frozenset(" ,;/")


def plain_text(text: str, most: int = MOST_CHARACTERS) -> str:
    """A text that markdown and HTML show as it is: no mark-up, no link, one line.

    Args:
        text: Any text.
        most: A longer one is cut here.
    """
    shown = (text if len(text) <= most else text[:most] + "…").translate(_VISIBLE)
    # As character references, which mean nothing to markdown, within a table or outside of one.
    return "".join(
        character if character.isalnum() or character in _PLAIN else f"&#{ord(character)};"
        for character in shown
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table and an empty one; cells are markdown, no row gives no table."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return []
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *lines, ""]
