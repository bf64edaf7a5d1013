"""Texts of strangers inside the markdown of cards."""

import re
from collections.abc import Iterable, Sequence
from html import escape

MOST_CHARACTERS = 200
# Pictures of control characters, which browsers drop or break lines at, and nothing for marks that
# turn the direction of what follows.
_VISIBLE: dict[int, int | str | None] = {
    **{code: 0x2400 + code for code in range(32)},
    127: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
    0x2028: " ",
    0x2029: " ",
    **dict.fromkeys((0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))),
}
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+\-.!|~:@$])")


def visible_text(text: str, most: int = MOST_CHARACTERS) -> str:
    """A text in one line, whatever it holds, that no terminal takes for a command.

    Args:
        text: Any text.
        most: A longer one is cut here.
    """
    return (text if len(text) <= most else text[:most] + "…").translate(_VISIBLE)


def plain_text(text: str, most: int = MOST_CHARACTERS) -> str:
    """A text that markdown shows as it is: no mark-up, no link, one line, also within a table.

    Args:
        text: Any text.
        most: A longer one is cut here.
    """
    # Prefect's UI knows backslashes and these three references, and shows any other as it stands.
    return _MARKUP.sub(r"\\\1", escape(visible_text(text, most), quote=False))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table and an empty one; cells are markdown, no row gives no table."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return []
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *lines, ""]
