"""flair's part-of-speech tagger and the noun phrases it yields."""

import unicodedata
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokencompose_core.nouns.import_flair import flair

# isort: split
from flair.data import Sentence
from flair.models import SequenceTagger

from data_schemas.records import NounPhrase
from tokencompose_core.nouns.read_tagger import read_tagger

# flair drops these characters, or replaces them, before it counts positions; a space in the place
# of each keeps the positions those of the caption.
_SPACED = dict.fromkeys((0x200B, 0x200C, 0xFE0F, 0xFEFF, 0x2028, 0x2029, *range(0x80, 0xA0)), " ")


def load_tagger(model: str | Path, *, device: str = "cpu") -> SequenceTagger:
    """Load a tagger by flair's name or from its file.

    Args:
        model: Name on the hub ("flair/pos-english"), a file, or a folder with pytorch_model.bin.
        device: Where to put the model. flair has one device a process, which this sets.

    Raises:
        ValueError: If the file may run a program while it is opened, see `read_tagger`.
    """
    flair.device = flair.torch.device(device)
    return SequenceTagger.load(open_tagger(model))


def open_tagger(model: str | Path) -> dict[str, Any]:
    """What the file of a tagger holds; it is fetched if flair has not kept it.

    Args:
        model: A file, a folder with pytorch_model.bin, or flair's name or the hub's, of a revision
            ("flair/pos-english@main") or not.

    Raises:
        OSError: If it is not there and the hub does not give it, or may not be asked.
        ValueError: If the file may run a program while it is opened, see `read_tagger`.
    """
    if isinstance(model, Path):
        path = model / "pytorch_model.bin" if model.is_dir() else model
    else:
        path = Path(SequenceTagger._fetch_model(model))
    return read_tagger(path, str(model))


def cache_dir_of(name: str) -> Path:
    """Where flair keeps a tagger of the hub, as huggingface_hub's cache: a folder for each."""
    return Path(flair.cache_root) / "models" / name.partition("@")[0].partition("/")[2]


def find_noun_phrases(
    tagger: SequenceTagger,
    captions: Sequence[str],
    *,
    noun_tags: Collection[str],
    batch_size: int,
) -> list[list[NounPhrase]]:
    """Noun phrases of each caption, every occurrence, in order of appearance.

    Nouns that stand directly beside each other become one phrase ("wine glass"), as in the released
    code of TokenCompose. The text is the caption's own, with its case, spaces and accents. What the
    tagger calls a noun without a letter or a digit in it, such as a full stop, is none.

    Args:
        tagger: A tagger with Penn Treebank tags.
        captions: Captions as people wrote them.
        noun_tags: Tags that count as nouns.
        batch_size: Captions a batch.
    """
    composed = [compose_letters(caption) for caption in captions]
    sentences = split_sentences(text for text, _ in composed)
    tagger.predict([s for s in sentences if len(s)], mini_batch_size=batch_size)
    label = tagger.label_type
    return [
        join_nouns(
            caption,
            [
                (
                    starts[token.start_position],
                    starts[token.end_position],
                    token.get_label(label).value in noun_tags and any(map(str.isalnum, token.text)),
                )
                for token in sentence
            ],
        )
        for caption, sentence, (_, starts) in zip(captions, sentences, composed, strict=True)
    ]


def compose_letters(caption: str) -> tuple[str, list[int]]:
    """A caption with one character for each letter and its accents.

    An accent may be a character of its own (NFD), which flair takes for a word: it cuts such a
    "piñata" in three. An accent that makes no one character with its letter is left out.

    Returns:
        The text, and for each of its characters, and for its end, the place in the caption.
    """
    starts = [i for i, char in enumerate(caption) if i == 0 or not unicodedata.combining(char)]
    starts.append(len(caption))
    letters = (unicodedata.normalize("NFC", caption[a:b])[0] for a, b in pairwise(starts))
    return "".join(letters), starts


def split_sentences(captions: Iterable[str]) -> list[Sentence]:
    """Captions as flair takes them, whose tokens have the positions that they have in the caption.

    flair splits a sentence when it is first asked for its tokens.
    """
    return [Sentence(caption.translate(_SPACED)) for caption in captions]


def join_nouns(caption: str, tokens: Sequence[tuple[int, int, bool]]) -> list[NounPhrase]:
    """Join runs of nouns.

    Args:
        caption: The text.
        tokens: Start, end and whether it is a noun, for each word in order.
    """
    phrases: list[NounPhrase] = []
    open_start: int | None = None
    last_end = 0
    for start, end, is_noun in [*tokens, (len(caption), len(caption), False)]:
        if is_noun and open_start is None:
            open_start = start
        if not is_noun and open_start is not None:
            phrases.append(
                NounPhrase(text=caption[open_start:last_end], start=open_start, end=last_end)
            )
            open_start = None
        last_end = end
    return phrases
