"""Captions cut at their phrases."""

from hypothesis import given
from hypothesis import strategies as st

from data_schemas.records import GroundedPhrase
from tokencompose_core.reports.caption_pieces import MOST_CHARACTERS, Piece, cut_caption


def at(start: int, end: int, *, mask: bool = True) -> GroundedPhrase:
    return GroundedPhrase(
        text="", start=start, end=end, boxes=[], scores=[], mask_counts="x" if mask else ""
    )


def test_phrases_and_what_is_between_them():
    caption = "😀 cat, <b>dog</b>"
    assert cut_caption(caption, [at(10, 13, mask=False), at(2, 5)]) == [
        Piece("😀 ", "between"),
        Piece("cat", "grounded", 1),
        Piece(", <b>", "between"),
        Piece("dog", "bare", 0),
        Piece("</b>", "between"),
    ]


def test_phrase_inside_another_is_no_piece_and_no_text_is_doubled():
    pieces = cut_caption("teddy bear", [at(0, 10), at(6, 10)])
    assert pieces == [Piece("teddy bear", "grounded", 0)]


def test_long_caption_is_cut_where_no_phrase_is_halved():
    caption = "a" * (MOST_CHARACTERS - 2) + "bbbb" + "c" * 10_000
    pieces = cut_caption(caption, [at(MOST_CHARACTERS - 2, MOST_CHARACTERS + 2)])
    assert pieces == [Piece(caption[:MOST_CHARACTERS] + "…", "between")]


@given(
    st.text(max_size=40),
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=6),
)
def test_pieces_together_are_the_caption(caption, spans):
    phrases = [at(min(span), max(span)) for span in spans]
    assert "".join(piece.text for piece in cut_caption(caption, phrases)) == caption
