"""Choose the samples and phrases of a data set that a person is shown."""

import heapq
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from data_schemas.records import IndexedCaption
from tokencompose_core.reports.dataset_figures import read_batches
from tokencompose_core.store.keys import text_digest
from tokencompose_core.store.tables import read_rows_of


@dataclass(frozen=True)
class Place:
    """Where a sample is: the number of its shard, and its key there."""

    shard: int
    key: str


@dataclass(frozen=True)
class ScoredPhrase:
    """A phrase of a sample by its number in the caption, and its best score."""

    place: Place
    number: int
    score: float


def sample_places(index_paths: Sequence[Path], num: int, seed: int) -> list[Place]:
    """A random sample that depends on the seed and the keys alone.

    A set that grows keeps those of its sample that no new key replaces, and neither the order nor
    the cut of the shards matters.
    """
    drawn = (
        (text_digest(f"{seed} {key}"), number, key)
        for number, path in enumerate(index_paths)
        for batch in read_batches(path, ["key"])
        for key in batch.column("key").to_pylist()
    )
    return [Place(number, key) for _, number, key in heapq.nsmallest(num, drawn)]


def extreme_phrases(
    index_paths: Sequence[Path], num: int
) -> tuple[list[ScoredPhrase], list[ScoredPhrase]]:
    """The phrases of the lowest scores and those of the highest, the most extreme first.

    No phrase is in both lists; phrases without a score, or without a mask, are in none.
    """
    num = min(num, sum(1 for _ in _scored(index_paths)) // 2)
    lowest = heapq.nsmallest(num, _scored(index_paths))
    highest = heapq.nlargest(num, _scored(index_paths))
    return _phrases(lowest), _phrases(highest)


def read_rows(index_path: Path, keys: Collection[str]) -> dict[str, IndexedCaption]:
    """Some rows of a shard's index, by their keys."""
    rows = [IndexedCaption.model_validate(row) for row in read_rows_of(index_path, keys)]
    return {row.key: row for row in rows}


def _phrases(found: list[tuple[float, str, int, int]]) -> list[ScoredPhrase]:
    return [ScoredPhrase(Place(shard, key), number, score) for score, key, number, shard in found]


def _scored(index_paths: Sequence[Path]) -> Iterator[tuple[float, str, int, int]]:
    """Score, key, number in the caption and number of the shard of every scored phrase."""
    columns = ["key", "phrases.list.element.score", "phrases.list.element.mask"]
    for shard, path in enumerate(index_paths):
        for batch in read_batches(path, columns):
            keys = batch.column("key").to_pylist()
            for key, phrases in zip(keys, batch.column("phrases").to_pylist(), strict=True):
                for number, phrase in enumerate(phrases):
                    score = phrase["score"]
                    if phrase["mask"] is not None and score is not None and isfinite(score):
                        yield score, key, number, shard
