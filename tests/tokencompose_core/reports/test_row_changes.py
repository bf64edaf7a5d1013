"""How samples of two sets differ, from shards made by hand."""

from pathlib import Path

from data_schemas.records import GroundedCaption
from data_schemas.rejections import Rejection, RejectionReason
from tests.tokencompose_core.reports.grounded_rows import phrase, sample, two_captions, write_index
from tokencompose_core.reports.row_changes import (
    compare_rows,
    describe_change,
    read_indexed,
    read_reasons,
)
from tokencompose_core.store.rejections import write_rejections


def describe(
    tmp_path: Path, old: GroundedCaption, new: GroundedCaption, new_images: str = ""
) -> list[str]:
    before = write_index(tmp_path / "before", [old], tmp_path)
    after = write_index(tmp_path / "after", [new], tmp_path / new_images)
    was, now = (read_indexed([path], [old.key])[old.key] for path in (before, after))
    return describe_change(was, now)


def test_samples_are_added_removed_changed_or_equal_wherever_they_lie(tmp_path):
    first, second = two_captions(tmp_path)
    third = sample(tmp_path, "c", "A dog.", [phrase("A dog.", "dog", (0, 0, 9, 9), 0.5)])
    fourth = sample(tmp_path, "d", "A dog.", [phrase("A dog.", "dog", (0, 0, 9, 9), 0.5)])
    moved = second.model_copy(update={"phrases": second.phrases[:2]})
    old = [
        write_index(tmp_path / f"old{n}", [row], tmp_path) for n, row in enumerate((first, third))
    ]
    old.append(write_index(tmp_path / "old2", [second], tmp_path))
    new = [write_index(tmp_path / "new", [first, moved, fourth], tmp_path)]
    changes = compare_rows(old, new)
    assert (changes.added, changes.removed, changes.changed) == (["d"], ["c"], ["b"])
    same = compare_rows(old, old)
    assert (same.added, same.removed, same.changed) == ([], [], [])


def test_lost_masks_other_scores_and_gone_phrases_are_named(tmp_path):
    _, old = two_captions(tmp_path)
    text = old.caption
    new = old.model_copy(
        update={"phrases": [phrase(text, "Cat"), phrase(text, "dog", (0, 0, 40, 10), 0.5)]}
    )
    assert describe(tmp_path, old, new) == [
        "Cat: 1 box, 1.0 %, score 0.250 → no mask",
        "dog: 1 box, 50.0 %, score 0.750 → 1 box, 50.0 %, score 0.500",
        "phrase kite is gone",
    ]


def test_a_mask_of_equal_size_elsewhere_is_told(tmp_path):
    old, _ = two_captions(tmp_path)
    there = phrase(old.caption, "cat", (20, 0, 40, 10), 0.5)
    new = old.model_copy(update={"phrases": [there, old.phrases[1]]})
    assert describe(tmp_path, old, new) == ["cat: another box or mask"]


def test_another_caption_and_image_are_told(tmp_path):
    old, _ = two_captions(tmp_path)
    (tmp_path / "new").mkdir()
    size = (50, 20)
    found = phrase("A dog.", "dog", (0, 0, 20, 10), 0.5, size)
    new = sample(tmp_path / "new", "a", "A dog.", [found], size)
    said = describe(tmp_path, old, new, "new")
    assert said[:2] == ["another image", "caption “A cat and something.” → “A dog.”"]
    assert said[2] == "phrase dog is new: 1 box, 20.0 %, score 0.500"
    assert said[3:] == ["phrase cat is gone", "phrase something is gone"]


def test_reasons_are_those_that_cost_the_sample(tmp_path):
    lost = [
        Rejection(key="a", stage="mask", reason=RejectionReason.PHRASE_WITHOUT_BOX, detail="cat"),
        Rejection(key="b", stage="mask", reason=RejectionReason.NO_BOX, detail="A cat."),
        Rejection(key="c", stage="rank", reason=RejectionReason.IMAGE_UNREADABLE),
    ]
    write_rejections(tmp_path, lost)
    found = read_reasons([tmp_path / "rejections.parquet"], ["a", "b"])
    assert found == {"b": lost[1]}
    assert read_reasons([tmp_path / "rejections.parquet"], []) == {}
