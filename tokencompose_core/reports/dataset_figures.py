"""A grounded data set in numbers, counted from the indexes of its shards."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

NUM_BINS = 40
"""Bins of equal width in which shares and scores from 0 to 1 are counted."""

PUBLISHED: dict[str, float] = {
    "captions": 4526,
    "words a caption": 11.15,
    "noun phrases": 15156,
    "noun phrases a caption": 3.35,
    "grounded phrases": 13634,
    "grounded phrases a caption": 3.01,
    "grounded share": 0.900,
}
"""The training set that TokenCompose (arXiv:2312.03626) published, recounted from its metadata."""

_BATCH_ROWS = 4096
_MOST_NOUNS_WRITTEN = 1000
_COLUMNS = (
    "width",
    "height",
    "caption",
    "phrases.list.element.text",
    "phrases.list.element.score",
    "phrases.list.element.mask",
    "phrases.list.element.mask_share",
)


@dataclass(frozen=True)
class Noun:
    """How often a noun phrase occurs, in any case of letters, and how often it has a mask."""

    text: str
    count: int
    grounded: int

    @property
    def share(self) -> float:
        """Share of its occurrences that have a mask."""
        return self.grounded / self.count


@dataclass(frozen=True)
class DatasetFigures:
    """What a data set holds.

    Attributes:
        numbers: Figures by name; None where there is nothing to take a mean of. Words are what
            white space separates, shares are from 0 to 1.
        words: By number of words, how many captions have so many.
        phrases: The same for noun phrases.
        grounded: The same for phrases with a mask.
        mask_shares: Phrases by the share of the image that their mask covers, in `NUM_BINS` bins.
        scores: Phrases by their best score.
        nouns: The nouns, the most frequent first.
    """

    numbers: dict[str, float | None]
    words: Counter[int]
    phrases: Counter[int]
    grounded: Counter[int]
    mask_shares: list[int]
    scores: list[int]
    nouns: list[Noun]

    def to_json(self) -> dict[str, Any]:
        """All of it for a file, with the thousand most frequent nouns."""
        edges = [number / NUM_BINS for number in range(NUM_BINS + 1)]
        return {
            "figures": self.numbers,
            "published": PUBLISHED,
            "captions by number of words": dict(sorted(self.words.items())),
            "captions by number of noun phrases": dict(sorted(self.phrases.items())),
            "captions by number of grounded phrases": dict(sorted(self.grounded.items())),
            "phrases by share of the image": {"edges": edges, "counts": self.mask_shares},
            "phrases by score": {"edges": edges, "counts": self.scores},
            "nouns": [
                {"text": noun.text, "count": noun.count, "grounded": noun.grounded}
                for noun in self.nouns[:_MOST_NOUNS_WRITTEN]
            ],
        }


def read_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Some columns of a Parquet file, a few thousand rows at a time."""
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(_BATCH_ROWS, columns=list(columns))


def measure_dataset(index_paths: Iterable[Path]) -> DatasetFigures:
    """Count what the shards of a data set hold.

    Masks are not read: the memory that this takes grows with the number of distinct nouns only.

    Args:
        index_paths: `index.parquet` of every shard.
    """
    words: Counter[int] = Counter()
    phrases: Counter[int] = Counter()
    grounded: Counter[int] = Counter()
    texts: Counter[str] = Counter()
    texts_grounded: Counter[str] = Counter()
    shares, scores = _Binned(), _Binned()
    below, above = 0, 0
    sides: list[int] = []
    for batch in (batch for path in index_paths for batch in read_batches(path, _COLUMNS)):
        column = batch.column("phrases")
        rows, own = pc.list_parent_indices(column).to_numpy(), column.flatten()
        has_mask = pc.is_valid(pc.struct_field(own, "mask")).to_numpy(zero_copy_only=False)
        words.update(len(caption.split()) for caption in batch.column("caption").to_pylist())
        phrases.update(np.bincount(rows, minlength=batch.num_rows).tolist())
        grounded.update(np.bincount(rows[has_mask], minlength=batch.num_rows).tolist())
        names = [text.casefold() for text in pc.struct_field(own, "text").to_pylist()]
        texts.update(names)
        texts_grounded.update(name for name, found in zip(names, has_mask, strict=True) if found)
        covered = shares.add(pc.struct_field(own, "mask_share"))
        scores.add(pc.struct_field(own, "score"))
        below += int((covered < 0.01).sum())
        above += int((covered > 0.5).sum())
        for name in ("width", "height"):
            limits = pc.min_max(batch.column(name))
            sides += [side for side in (limits["min"].as_py(), limits["max"].as_py()) if side]
        sides = [min(sides), max(sides)] if sides else []
    num_captions, num_phrases = words.total(), texts.total()
    num_grounded = texts_grounded.total()
    numbers: dict[str, float | None] = {
        "captions": num_captions,
        "words a caption": _ratio(sum(n * count for n, count in words.items()), num_captions),
        "noun phrases": num_phrases,
        "noun phrases a caption": _ratio(num_phrases, num_captions),
        "grounded phrases": num_grounded,
        "grounded phrases a caption": _ratio(num_grounded, num_captions),
        "grounded share": _ratio(num_grounded, num_phrases),
        "distinct nouns": len(texts),
        "mean share of the image that a mask covers": _ratio(shares.total, shares.count),
        "share of masks below 1 % of the image": _ratio(below, shares.count),
        "share of masks above 50 % of the image": _ratio(above, shares.count),
        "phrases with a score": scores.count,
        "mean score": _ratio(scores.total, scores.count),
        "shortest side of an image in pixels": sides[0] if sides else None,
        "longest side of an image in pixels": sides[1] if sides else None,
    }
    nouns = [Noun(text, count, texts_grounded[text]) for text, count in texts.items()]
    return DatasetFigures(
        numbers=numbers,
        words=words,
        phrases=phrases,
        grounded=grounded,
        mask_shares=shares.bins.tolist(),
        scores=scores.bins.tolist(),
        nouns=sorted(nouns, key=lambda noun: (-noun.count, noun.text)),
    )


class _Binned:
    """Values from 0 to 1, counted and summed."""

    def __init__(self) -> None:
        self.bins = np.zeros(NUM_BINS, dtype=np.int64)
        self.count = 0
        self.total = 0.0

    def add(self, values: pa.Array) -> np.ndarray:
        """Take in values, and return those of them that are numbers."""
        numbers = pc.drop_null(values).to_numpy(zero_copy_only=False).astype(np.float64)
        numbers = numbers[np.isfinite(numbers)]
        self.bins += np.histogram(np.clip(numbers, 0.0, 1.0), NUM_BINS, (0.0, 1.0))[0]
        self.count += len(numbers)
        self.total += float(numbers.sum())
        return numbers


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def grounded_best_and_worst(
    figures: DatasetFigures, least_occurrences: int, num: int
) -> tuple[list[Noun], list[Noun]]:
    """The nouns that get a mask most and least often, of those that occur often enough.

    The best are masked at least as often as all phrases together, the worst less often. Among equal
    shares, the more frequent noun comes first.
    """
    usual = figures.numbers["grounded share"] or 0.0
    frequent = [noun for noun in figures.nouns if noun.count >= least_occurrences]
    best = [noun for noun in frequent if noun.share >= usual]
    worst = [noun for noun in frequent if noun.share < usual]
    best.sort(key=lambda noun: (-noun.share, -noun.count, noun.text))
    worst.sort(key=lambda noun: (noun.share, -noun.count, noun.text))
    return best[:num], worst[:num]
