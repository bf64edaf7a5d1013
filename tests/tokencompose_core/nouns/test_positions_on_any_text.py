"""Spans and token positions on any Unicode text, for tokenizers of three kinds.

The reference never looks at character offsets. The words of a caption are separated by spaces, over
which none of the tokenizers joins words, so the tokens of a word are those by which the encoded
caption gets longer when the word is appended.
"""

import unicodedata
from itertools import groupby, pairwise

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import UnigramTrainer, WordPieceTrainer
from transformers import CLIPTokenizerFast, PreTrainedTokenizerFast

from tests.conftest import MODELS
from tokencompose_core.nouns.tagger import find_noun_phrases, join_nouns, load_tagger
from tokencompose_core.nouns.token_positions import cut_spans, token_positions

LIMIT = 24
SPACE_MARK = "\u2581"  # what SentencePiece writes for a space
TEXTS = ["A cat and two surfboards, a teddy bear.", "Wine glasses on the sand", "kite café ὀδός"]


def clip() -> PreTrainedTokenizerFast:
    """Byte pairs, with a token before and one after the caption."""
    folder = MODELS / "stable_diffusion/tokenizer"
    return CLIPTokenizerFast.from_pretrained(folder, model_max_length=LIMIT)


def word_piece() -> PreTrainedTokenizerFast:
    """As BERT has it: accents are stripped and control characters dropped."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[UNK]", "[CLS]", "[SEP]"]
    trainer = WordPieceTrainer(vocab_size=80, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=LIMIT, unk_token="[UNK]"
    )


def unigram() -> PreTrainedTokenizerFast:
    """As T5 has it: nothing before the caption, spaces are parts of tokens."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = UnigramTrainer(
        vocab_size=60,
        special_tokens=["<unk>", "</s>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=LIMIT, unk_token="<unk>"
    )


@pytest.fixture(scope="module", params=[clip, word_piece, unigram], ids=lambda make: make.__name__)
def tokenizer(request) -> PreTrainedTokenizerFast:
    return request.param()


def is_part_of_a_word(character: str) -> bool:
    """Neither a space nor something that a normalisation turns into one."""
    plain = unicodedata.normalize("NFKC", character)
    return not any(c.isspace() or c == SPACE_MARK for c in plain + character)


CHARACTERS = st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")).filter(
    is_part_of_a_word
)
WORDS = st.lists(
    st.sampled_from([word for text in TEXTS for word in text.split()])
    | st.text(CHARACTERS, min_size=1, max_size=8),
    min_size=1,
    max_size=12,
)


def tokens_by_word(tokenizer: PreTrainedTokenizerFast, words: list[str]) -> list[list[int]]:
    """Positions of each word's tokens in a caption that no limit cuts."""
    first = (
        0
        if tokenizer("x").input_ids[0] == tokenizer.encode("x", add_special_tokens=False)[0]
        else 1
    )
    ends = [
        first + len(tokenizer.encode(" ".join(words[:count]), add_special_tokens=False))
        for count in range(len(words) + 1)
    ]
    ends[0] = first
    return [list(range(start, end)) for start, end in pairwise(ends)]


@settings(deadline=None, max_examples=150)
@given(words=WORDS, data=st.data())
def test_positions_are_those_by_which_the_caption_gets_longer(tokenizer, words, data):
    start = data.draw(st.integers(0, len(words) - 1))
    stop = data.draw(st.integers(start + 1, len(words)))
    caption = " ".join(words)
    left = len(" ".join(words[:start])) + (start > 0)
    span = (left, left + len(" ".join(words[start:stop])))
    expected = [i for own in tokens_by_word(tokenizer, words)[start:stop] for i in own]
    ids = tokenizer.encode(caption)
    tokens = tokenizer.convert_ids_to_tokens(ids)
    if start and expected and tokens[expected[0]] == SPACE_MARK:
        expected = expected[1:]  # the space before the phrase has a token of its own
    read = [i for i in expected if i < LIMIT - 1]  # the last one closes the caption
    assert token_positions(tokenizer, caption, [span]) == [read]
    is_cut = bool(read) and read != expected
    event(f"cut: {is_cut}, beyond: {bool(expected) and not read}")
    assert cut_spans(tokenizer, caption, [span]) == [is_cut]


def test_phrase_that_the_limit_cuts_is_marked(tokenizer):
    words = ["cat"] * 40
    by_word = tokens_by_word(tokenizer, words)
    last = next(n for n, own in enumerate(by_word) if own[-1] >= LIMIT - 1)
    caption = " ".join(words)
    spans = [(0, 3), (0, 4 * last + 3), (4 * last + 4, 4 * last + 7)]
    assert cut_spans(tokenizer, caption, spans) == [False, True, False]
    found = token_positions(tokenizer, caption, spans)
    assert found[1] == list(range(by_word[0][0], LIMIT - 1))
    assert found[2] == []


@pytest.fixture(scope="module")
def tagger():
    return load_tagger(MODELS / "tagger")


@settings(deadline=None, max_examples=150)
@given(
    captions=st.lists(
        st.text(max_size=40)
        | WORDS.map(" ".join)
        | st.text("a \u200d\ufe0f\u0301😀é\t\x85", max_size=12)
        | WORDS.map(lambda words: unicodedata.normalize("NFD", " ".join(words))),
        max_size=4,
    )
)
@example(captions=["\u200b", "", " \n ", "cat\x00dog"])
@example(captions=["A pin\u0303ata", "\u0301a", "x\u0303\u0301y \u0301", "\u212b \u0958"])
def test_spans_are_those_of_any_caption(tagger, captions):
    # Every tag counts as a noun here, so that whatever flair takes for a word is looked at.
    tags = set(tagger.label_dictionary.get_items())
    found = find_noun_phrases(tagger, captions, noun_tags=tags, batch_size=3)
    assert len(found) == len(captions)
    for caption, phrases in zip(captions, found, strict=True):
        ends = [0, *(phrase.end for phrase in phrases)]
        for phrase, previous_end in zip(phrases, ends, strict=False):
            assert previous_end <= phrase.start < phrase.end <= len(caption)
            assert caption[phrase.start : phrase.end] == phrase.text
            assert any(map(str.isalnum, phrase.text))
            assert phrase.text == phrase.text.strip(" \t\r\n")
            for end in (phrase.start, phrase.end):  # no accent is parted from its letter
                assert not (end and unicodedata.combining(caption[end : end + 1] or " "))
        covered = "".join(phrase.text for phrase in phrases)
        assert sorted(filter(str.isalnum, covered)) == sorted(filter(str.isalnum, caption))


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2), st.booleans()), max_size=12))
def test_each_run_of_nouns_is_one_phrase(words):
    """Words of so many letters after so many spaces; a noun is a word of n, any other of x."""
    caption, tokens = "", []
    for length, spaces, is_noun in words:
        caption += " " * spaces
        tokens.append((len(caption), len(caption) + length, is_noun))
        caption += ("n" if is_noun else "x") * length
    expected = []
    for is_noun, run in groupby(tokens, key=lambda token: token[2]):
        own = list(run)
        if is_noun:
            expected.append((own[0][0], own[-1][1]))
    phrases = join_nouns(caption, tokens)
    assert [(phrase.start, phrase.end) for phrase in phrases] == expected
    assert [phrase.text for phrase in phrases] == [caption[a:b] for a, b in expected]
