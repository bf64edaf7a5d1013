import json
import re
import unicodedata

import pytest
from transformers import CLIPTokenizer, CLIPTokenizerFast

from tests.conftest import MODELS
from tokencompose_core.nouns.tagger import find_noun_phrases, join_nouns, load_tagger

# isort: split
from flair.data import Dictionary
from flair.embeddings import FlairEmbeddings, StackedEmbeddings
from flair.models import LanguageModel, SequenceTagger

from tokencompose_core.nouns.token_positions import token_positions

TAGS = ("NN", "NNS", "NNP", "NNPS")


@pytest.fixture(scope="module")
def tokenizer():
    return CLIPTokenizerFast.from_pretrained(MODELS / "stable_diffusion/tokenizer")


def words(caption, nouns):
    """Words of a caption with their place and whether they are nouns, split at single spaces."""
    result, position = [], 0
    for word in caption.split():
        start = caption.index(word, position)
        position = start + len(word)
        result.append((start, position, word in nouns))
    return result


@pytest.mark.parametrize(
    ("caption", "nouns", "expected"),
    [
        ("A cat sits", {"cat"}, ["cat"]),
        ("A wine glass and a cat", {"wine", "glass", "cat"}, ["wine glass", "cat"]),
        ("cat", {"cat"}, ["cat"]),
        ("A  wine  glass", {"wine", "glass"}, ["wine  glass"]),
        ("A cat , a cat", {"cat"}, ["cat", "cat"]),
        ("nothing here", set(), []),
        ("", set(), []),
    ],
)
def test_adjacent_nouns_become_one_phrase(caption, nouns, expected):
    phrases = join_nouns(caption, words(caption, nouns))
    assert [phrase.text for phrase in phrases] == expected
    assert all(caption[p.start : p.end] == p.text for p in phrases)


def test_tagger_of_flair_embeddings_that_flair_saved_is_read(tmp_path):
    characters = Dictionary()
    for character in "a cat.":
        characters.add_item(character)
    tags = Dictionary(add_unk=False)
    for tag in ("<unk>", "NN", "DT"):
        tags.add_item(tag)
    models = [LanguageModel(characters, forward, 4, 1) for forward in (True, False)]
    embeddings = StackedEmbeddings([FlairEmbeddings(model) for model in models])
    tagger = SequenceTagger(embeddings, tag_dictionary=tags, tag_type="pos", hidden_size=4)
    tagger.save(tmp_path / "pytorch_model.bin")
    loaded = load_tagger(tmp_path)
    assert loaded.state_dict().keys() == tagger.state_dict().keys()
    find_noun_phrases(loaded, ["a cat"], noun_tags=TAGS, batch_size=1)


def test_pocket_tagger_finds_the_nouns_of_an_unseen_caption():
    tagger = load_tagger(MODELS / "tagger")
    caption = "A red Wine Glass and two  kites stand on the sand."
    (phrases,) = find_noun_phrases(tagger, [caption], noun_tags=TAGS, batch_size=4)
    assert [phrase.text for phrase in phrases][1:] == ["kites", "sand"]
    assert all(caption[p.start : p.end] == p.text for p in phrases)
    assert find_noun_phrases(tagger, ["", "A cat."], noun_tags=TAGS, batch_size=4)[0] == []


@pytest.mark.parametrize(
    "caption",
    [
        "A cat\u200b and a surfboard.",
        "\ufeffA cat and\u2028a surfboard.",
        "❤\ufe0f❤\ufe0f A cat\u200c and a\x81\x92 surfboard.",
        "A cat 🐈‍⬛ and a surfboard 🏄🏽‍♀\ufe0f.",
    ],
)
def test_spans_are_those_of_the_caption_whatever_flair_drops(caption):
    tagger = load_tagger(MODELS / "tagger")
    (phrases,) = find_noun_phrases(tagger, [caption], noun_tags=TAGS, batch_size=4)
    assert {"cat", "surfboard"} <= {phrase.text for phrase in phrases}
    assert all(caption[p.start : p.end] == p.text for p in phrases)


@pytest.mark.parametrize("caption", ["A piñata and a surfboard.", "Two cafés, a crème brûlée."])
def test_accents_of_their_own_change_no_noun(caption):
    tagger = load_tagger(MODELS / "tagger")
    apart = unicodedata.normalize("NFD", caption)
    assert apart != caption
    together, found = find_noun_phrases(tagger, [caption, apart], noun_tags=TAGS, batch_size=4)
    assert together
    assert [unicodedata.normalize("NFC", p.text) for p in found] == [p.text for p in together]
    assert all(apart[p.start : p.end] == p.text for p in found)


def test_nothing_without_a_letter_or_digit_is_a_noun():
    tagger = load_tagger(MODELS / "tagger")
    caption = "A cat and a surfboard. " + "It is very nice. " * 125
    (phrases,) = find_noun_phrases(tagger, [caption], noun_tags=TAGS, batch_size=4)
    assert {"cat", "surfboard"} <= {phrase.text for phrase in phrases}
    assert all(any(map(str.isalnum, phrase.text)) for phrase in phrases)


def test_positions_are_those_of_the_words_own_tokens(tokenizer):
    caption = "A surfboard, a cat and a Surfboard"
    spans = [(2, 11), (15, 18), (25, 34)]
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(caption).input_ids)
    found = token_positions(tokenizer, caption, spans)
    assert [[tokens[i] for i in own] for own in found] == [
        ["surf", "board</w>"],
        ["cat</w>"],
        ["surf", "board</w>"],
    ]
    assert found[0] != found[2]


def test_slow_tokenizer_is_refused_with_the_fast_one():
    slow = CLIPTokenizer.from_pretrained(MODELS / "stable_diffusion/tokenizer")
    with pytest.raises(ValueError, match=r"not a CLIPTokenizer; .* CLIPTokenizerFast"):
        token_positions(slow, "A cat sits.", [(2, 5)])


def test_phrase_beyond_the_limit_has_no_position(tokenizer):
    caption = "very " * 40 + "cat"
    assert token_positions(tokenizer, caption, [(200, 203), (0, 4)]) == [[], [1]]


def test_every_noun_of_the_release_has_positions_that_spell_it(tokenizer, shared_data):
    tokenizer = CLIPTokenizerFast.from_pretrained(
        MODELS / "stable_diffusion/tokenizer", model_max_length=77
    )
    rows = (shared_data / "tokencompose/metadata_part.jsonl").read_text().splitlines()
    count = 0
    for row in map(json.loads, rows):
        caption, nouns = row["text"], [noun for noun, _ in row["attn_list"]]
        # A noun of two words is listed with one space, however many the caption has.
        patterns = [r"\s+".join(map(re.escape, noun.split())) for noun in nouns]
        spans = [match.span() for p in patterns if (match := re.search(p, caption))]
        assert len(spans) == len(nouns), row
        ids = tokenizer(caption, truncation=True).input_ids
        for (start, end), own in zip(
            spans, token_positions(tokenizer, caption, spans), strict=True
        ):
            spelt = tokenizer.decode([ids[i] for i in own]).replace(" ", "")
            assert "".join(caption[start:end].lower().split()) in spelt
            count += 1
    assert count > 7000
