"""A caption cut into plain text and noun phrases, for pages that colour it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from data_schemas.records import GroundedPhrase

MOST_CHARACTERS = 600
"""A caption that is longer is shown up to here."""


@dataclass(frozen=True)
class Piece:
    """A part of a caption.

    Attributes:
        text: The text.
        kind: Text between phrases, a phrase with a mask, or one without.
        number: Which of the caption's phrases it is; -1 for text between them.
    """

    text: str
    kind: Literal["between", "grounded", "bare"]
    number: int = -1


def cut_caption(caption: str, phrases: Sequence[GroundedPhrase]) -> list[Piece]:
    """Cut a caption at its phrases; the pieces together are the caption, as far as it is shown.

    A phrase that begins inside the one before it, or behind what is shown, is part of no piece.
    """
    shown = caption if len(caption) <= MOST_CHARACTERS else caption[:MOST_CHARACTERS] + "…"
    pieces: list[Piece] = []
    position = 0
    for number, phrase in sorted(enumerate(phrases), key=lambda pair: pair[1].start):
        if phrase.start < position or phrase.end > min(len(caption), MOST_CHARACTERS):
            continue
        pieces.append(Piece(shown[position : phrase.start], "between"))
        kind: Literal["grounded", "bare"] = "grounded" if phrase.mask_counts else "bare"
        pieces.append(Piece(shown[phrase.start : phrase.end], kind, number))
        position = phrase.end
    pieces.append(Piece(shown[position:], "between"))
    return [piece for piece in pieces if piece.text]
