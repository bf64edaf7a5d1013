import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokencompose_core.importing.locate_nouns import locate_nouns


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A cat and a cat.", {"cat": [(2, 5), (12, 15)]}),
        ("A wine glass of wine", {"wine": [(16, 20)], "wine glass": [(2, 12)]}),
        ("A wine glass", {"wine": [], "wine glass": [(2, 12)]}),
        # Two nouns may share no character: the longer one has it.
        ("A red wine glass", {"red wine": [], "wine glass": [(6, 16)]}),
        ("A sandwich  chips\tbag", {"sandwich chips bag": [(2, 21)]}),
        ("Cats, a cat's tail", {"cat": [(8, 11)], "Cats": [(0, 4)], "cats": []}),
        # Inside words only if it is no word of its own anywhere.
        ("A coffeemug", {"mug": [(8, 11)]}),
        ("A mug, a coffeemug", {"mug": [(2, 5)]}),
        ("A wine glass, a winery", {"wine": [], "wine glass": [(2, 12)]}),
        # Whole words come before what is inside one, however long that is.
        ("An ice cream", {"ice": [(3, 6)], "e c": []}),
        ("A T-shirt (blue)", {"T-shirt": [(2, 9)], "(blue)": [(10, 16)]}),
        ("Ein Müllauto, ein Müll", {"Müll": [(18, 22)]}),
        ("A c.t and a cat", {"c.t": [(2, 5)]}),
        ("A cat", {"": [], "  ": [], "dog": []}),
    ],
)
def test_nouns_worked_by_hand(caption, expected):
    assert locate_nouns(caption, expected) == expected


@given(
    st.text("ab c", max_size=30), st.lists(st.text("ab c", max_size=6), max_size=6), st.randoms()
)
def test_spans_spell_their_nouns_and_share_nothing(caption, nouns, random):
    found = locate_nouns(caption, nouns)
    assert found.keys() == set(nouns)
    taken = [position for spans in found.values() for a, b in spans for position in range(a, b)]
    assert len(taken) == len(set(taken))
    for noun, spans in found.items():
        assert all(caption[a:b].split() == noun.split() for a, b in spans)
        assert spans == sorted(spans)
    random.shuffle(nouns)
    assert locate_nouns(caption, nouns) == found
