"""Find samples of a caption set by their key, image or words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from heapq import nsmallest
from itertools import islice
from pathlib import Path, PurePosixPath

from tokencompose_core.reports.dataset_figures import read_batches

_MOST_NAMES = 50_000
_NO_MATCH = 3


@dataclass(frozen=True)
class Sample:
    """What is searched: a sample that was selected, or one that was not, with what is said of it.

    Attributes:
        key: Its key.
        name: Path of its image; of one that was not selected, what the rejection says.
        captions: Its captions.
    """

    key: str
    name: str
    captions: tuple[str, ...]


def read_samples(selected: Sequence[Path], rejections: Sequence[Path]) -> Iterator[Sample]:
    """All samples of a set, a few thousand at a time; a key may come twice."""
    for path in selected:
        for batch in read_batches(path, ("key", "image_path", "captions")):
            for row in batch.to_pylist():
                yield Sample(row["key"], row["image_path"], tuple(row["captions"]))
    for path in rejections:
        for batch in read_batches(path, ("key", "detail")):
            for row in batch.to_pylist():
                yield Sample(row["key"], row["detail"], ())


def find_samples(
    selected: Sequence[Path], rejections: Sequence[Path], text: str, most: int
) -> tuple[list[Sample], int]:
    """Samples whose key, image path or captions contain a text, in any case of letters.

    Args:
        selected: Tables that the stage `select` wrote.
        rejections: What it left out.
        text: What to look for.
        most: How many samples are wanted at most.

    Returns:
        The best, those whose key or file name is the text first; and how many there are in all.
    """
    wanted = text.casefold()
    best: dict[str, tuple[int, int, Sample]] = {}
    for number, sample in enumerate(read_samples(selected, rejections)):
        rank = _rank(sample, wanted)
        known = best.get(sample.key)
        if rank < _NO_MATCH and (known is None or rank < known[0]):
            best[sample.key] = (rank, number if known is None else known[1], sample)
    found = nsmallest(most, best.values(), key=lambda one: one[:2])
    return [sample for _, _, sample in found], len(best)


def similar_names(
    selected: Sequence[Path], rejections: Sequence[Path], text: str, most: int
) -> list[str]:
    """Keys, file names and words of captions that look like a text, the most similar first.

    Of a very large set the beginning is looked at.
    """
    names: dict[str, None] = {}
    for sample in islice(read_samples(selected, rejections), _MOST_NAMES):
        for name in (sample.key, PurePosixPath(sample.name).name, *_words(sample)):
            names.setdefault(name.casefold())
    return get_close_matches(text.casefold(), list(names), n=most, cutoff=0.6)


def _rank(sample: Sample, wanted: str) -> int:
    """0 if the text names the sample, 1 and 2 if it is part of its names or captions, else 3."""
    path = PurePosixPath(sample.name)
    names = [name.casefold() for name in (sample.key, sample.name, path.name, path.stem)]
    if wanted in names:
        return 0
    if any(wanted in name for name in names):
        return 1
    return 2 if any(wanted in caption.casefold() for caption in sample.captions) else _NO_MATCH


def _words(sample: Sample) -> Iterator[str]:
    for caption in sample.captions:
        for word in caption.split():
            yield word.strip(".,;:!?\"'()")
