"""Which samples and phrases are shown."""

from tests.tokencompose_core.reports.grounded_rows import phrase, sample, two_captions, write_index
from tokencompose_core.reports.pick_samples import (
    Place,
    extreme_phrases,
    read_rows,
    sample_places,
)


def many(folder, num):
    caption = "A cat."
    return [
        sample(folder, f"k{i}", caption, [phrase(caption, "cat", (0, 0, 9, 9), i / num)])
        for i in range(num)
    ]


def test_sample_depends_on_seed_and_keys_alone(tmp_path):
    rows = many(tmp_path, 30)
    one = [write_index(tmp_path / "one", rows, tmp_path)]
    two = [
        write_index(tmp_path / "two-a", rows[20:], tmp_path),
        write_index(tmp_path / "two-b", rows[:20], tmp_path),
    ]
    keys = [place.key for place in sample_places(one, 6, seed=1)]
    assert [place.key for place in sample_places(two, 6, seed=1)] == keys
    assert {place.key for place in sample_places(one, 6, seed=2)} != set(keys)
    assert len(set(keys)) == 6
    assert len(sample_places(one, 100, seed=1)) == 30
    for place in sample_places(two, 6, seed=1):
        assert place.key in read_rows(two[place.shard], {place.key})
    # What a set that grows still shows, it showed before.
    grown = sample_places([write_index(tmp_path / "all", many(tmp_path, 40), tmp_path)], 6, seed=1)
    old = {f"k{i}" for i in range(30)}
    assert {place.key for place in grown} & old <= set(keys)


def test_extremes_are_the_lowest_and_highest_scores_of_all_shards(tmp_path):
    rows = two_captions(tmp_path)
    paths = [write_index(tmp_path / f"s{i}", [row], tmp_path) for i, row in enumerate(rows)]
    lowest, highest = extreme_phrases(paths, 8)
    assert [(p.place, p.number, p.score) for p in lowest] == [
        (Place(1, "b"), 0, 0.25),
        (Place(0, "a"), 0, 0.5),
    ]
    assert [(p.place, p.number, p.score) for p in highest] == [
        (Place(1, "b"), 2, 1.0),
        (Place(1, "b"), 1, 0.75),
    ]


def test_equal_scores_are_in_one_list_only_and_missing_ones_in_none(tmp_path):
    caption = "A cat."
    rows = [
        sample(tmp_path, key, caption, [phrase(caption, "cat", (0, 0, 9, 9), score)])
        for key, score in (("a", 0.5), ("b", 0.5), ("c", 0.5), ("d", None))
    ]
    paths = [write_index(tmp_path / "s", rows, tmp_path)]
    lowest, highest = extreme_phrases(paths, 8)
    assert [p.place.key for p in lowest] == ["a"]
    assert [p.place.key for p in highest] == ["c"]
    paths = [write_index(tmp_path / "unscored", rows[3:], tmp_path)]
    assert extreme_phrases(paths, 8) == ([], [])
