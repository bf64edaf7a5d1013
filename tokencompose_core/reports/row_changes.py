"""How the samples of two data sets differ."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_schemas.records import IndexedCaption, IndexedPhrase
from data_schemas.rejections import PHRASE_REASONS, Rejection
from tokencompose_core.reports.dataset_figures import read_batches
from tokencompose_core.store.keys import canonical_json, text_digest
from tokencompose_core.store.tables import read_rows_of

_COLUMNS = ("key", "image_sha256", "caption", "phrases")
_DIGEST_CHARACTERS = 16


@dataclass(frozen=True)
class RowChanges:
    """Keys of samples that are in one data set only, or differ.

    Attributes:
        added, removed: In the later and in the earlier data set only.
        changed: In both, with another image, caption, phrase, box or mask.
    """

    added: list[str]
    removed: list[str]
    changed: list[str]


def compare_rows(before: Iterable[Path], after: Iterable[Path]) -> RowChanges:
    """Compare the indexes of shards; those that both data sets have may be left out of both.

    Memory grows with the number of rows, by a key and a digest for each.
    """
    old, new = _digests(before), _digests(after)
    return RowChanges(
        added=sorted(new.keys() - old.keys()),
        removed=sorted(old.keys() - new.keys()),
        changed=sorted(key for key in old.keys() & new.keys() if old[key] != new[key]),
    )


def read_indexed(paths: Iterable[Path], keys: Collection[str]) -> dict[str, IndexedCaption]:
    """Some samples of the indexes, by their keys."""
    return {
        row["key"]: IndexedCaption.model_validate(row)
        for path in paths
        for row in read_rows_of(path, keys)
    }


def read_reasons(paths: Iterable[Path], keys: Collection[str]) -> dict[str, Rejection]:
    """Why samples were left out, by their keys; what cost a phrase only does not count."""
    rejections = (
        Rejection.model_validate(row) for path in paths for row in read_rows_of(path, keys)
    )
    return {found.key: found for found in rejections if found.reason not in PHRASE_REASONS}


def describe_change(old: IndexedCaption, new: IndexedCaption) -> list[str]:
    """What is different about a sample, in words."""
    said = []
    if old.image_sha256 != new.image_sha256:
        said.append("another image")
    if old.caption != new.caption:
        said.append(f"caption “{old.caption}” → “{new.caption}”")
    before, after = _by_place(old.phrases), _by_place(new.phrases)
    for place, phrase in after.items():
        if place not in before:
            said.append(f"phrase {phrase.text} is new: {_found(phrase)}")
        elif (was := _found(before[place])) != (now := _found(phrase)):
            said.append(f"{phrase.text}: {was} → {now}")
        elif before[place] != phrase:
            said.append(f"{phrase.text}: another box or mask")
    said += [f"phrase {was.text} is gone" for place, was in before.items() if place not in after]
    return said


def _by_place(phrases: Sequence[IndexedPhrase]) -> dict[tuple[str, int], IndexedPhrase]:
    return {(phrase.text, phrase.start): phrase for phrase in phrases}


def _found(phrase: IndexedPhrase) -> str:
    if phrase.mask is None:
        return "no mask"
    score = "" if phrase.score is None else f", score {phrase.score:.3f}"
    share = 0.0 if phrase.mask_share is None else 100 * phrase.mask_share
    return f"{len(phrase.boxes)} box{'es' if len(phrase.boxes) != 1 else ''}, {share:.1f} %{score}"


def _digests(paths: Iterable[Path]) -> dict[str, str]:
    return {
        row["key"]: text_digest(canonical_json(row))[:_DIGEST_CHARACTERS]
        for path in paths
        for batch in read_batches(path, _COLUMNS)
        for row in batch.to_pylist()
    }
