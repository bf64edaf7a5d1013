"""Figures of sets that were counted by hand, and of the published one."""

import json

import pytest

from data_schemas.records import INDEX_SCHEMA, GroundedCaption, GroundedPhrase
from tests.tokencompose_core.reports.grounded_rows import phrase, sample, two_captions, write_index
from tokencompose_core.reports.dataset_figures import (
    NUM_BINS,
    Noun,
    grounded_best_and_worst,
    measure_dataset,
)
from tokencompose_core.shards.write_shard import index_row
from tokencompose_core.store.tables import write_table


def test_figures_of_two_captions(tmp_path):
    figures = measure_dataset([write_index(tmp_path / "s", two_captions(tmp_path), tmp_path)])
    assert figures.numbers == {
        "captions": 2,
        "words a caption": 5.0,
        "noun phrases": 5,
        "noun phrases a caption": 2.5,
        "grounded phrases": 4,
        "grounded phrases a caption": 2.0,
        "grounded share": 0.8,
        "distinct nouns": 4,
        "mean share of the image that a mask covers": pytest.approx((0.25 + 0.01 + 0.5 + 0.25) / 4),
        "share of masks below 1 % of the image": 0.0,
        "share of masks above 50 % of the image": 0.0,
        "phrases with a score": 4,
        "mean score": 0.625,
        "shortest side of an image in pixels": 20,
        "longest side of an image in pixels": 40,
    }
    assert figures.words == {4: 1, 6: 1}
    assert figures.phrases == {2: 1, 3: 1}
    assert figures.grounded == {1: 1, 3: 1}
    assert figures.nouns == [
        Noun("cat", 2, 2),
        Noun("dog", 1, 1),
        Noun("kite", 1, 1),
        Noun("something", 1, 0),
    ]
    expected = [0] * NUM_BINS
    expected[0], expected[NUM_BINS // 4], expected[NUM_BINS // 2] = 1, 2, 1
    assert figures.mask_shares == expected
    # A score of 1 is in the last bin.
    assert [figures.scores[i * NUM_BINS // 4] for i in range(4)] == [0, 1, 1, 1]
    assert figures.scores[-1] == 1
    assert json.loads(json.dumps(figures.to_json()))["figures"] == figures.numbers


def test_cut_into_shards_changes_no_figure(tmp_path):
    rows = two_captions(tmp_path)
    whole = measure_dataset([write_index(tmp_path / "s", rows, tmp_path)])
    parts = [write_index(tmp_path / f"s{i}", [row], tmp_path) for i, row in enumerate(rows)]
    parts.append(write_index(tmp_path / "empty", [], tmp_path))
    assert measure_dataset(parts) == whole


def test_masks_without_scores_are_grounded_phrases(tmp_path):
    caption = "A cat."
    row = sample(tmp_path, "a", caption, [phrase(caption, "cat", (0, 0, 40, 20))])
    figures = measure_dataset([write_index(tmp_path / "s", [row], tmp_path)])
    assert figures.numbers["grounded share"] == 1.0
    assert figures.numbers["share of masks above 50 % of the image"] == 1.0
    assert figures.numbers["phrases with a score"] == 0
    assert figures.numbers["mean score"] is None
    assert sum(figures.scores) == 0


def test_set_without_samples_has_no_means(tmp_path):
    figures = measure_dataset([write_index(tmp_path / "s", [], tmp_path)])
    assert figures.numbers["captions"] == 0
    assert figures.numbers["words a caption"] is None
    assert figures.numbers["grounded share"] is None
    assert figures.nouns == []


def test_published_set_has_its_published_figures(tmp_path, shared_data):
    """Every second caption of the released set, so means agree within their sampling error."""
    rows = []
    for line in (shared_data / "tokencompose/metadata_part.jsonl").read_text().splitlines():
        row = json.loads(line)
        rows.append(
            GroundedCaption(
                key=row["file_name"].removesuffix(".jpg"),
                image_path=row["file_name"],
                image_sha256="",
                width=10,
                height=10,
                caption=row["text"],
                phrases=[
                    GroundedPhrase(
                        text=noun,
                        start=0,
                        end=0,
                        boxes=[],
                        scores=[],
                        mask_counts="0T3" if m else "",
                    )
                    for noun, m in row["attn_list"]
                ],
            )
        )
    path = tmp_path / "index.parquet"
    write_table(path, [index_row(row, "jpg") for row in rows], INDEX_SCHEMA)
    figures = measure_dataset([path])
    numbers = figures.numbers
    assert numbers["captions"] == 2263
    assert numbers["noun phrases a caption"] == pytest.approx(3.35, abs=0.03)
    assert numbers["grounded phrases a caption"] == pytest.approx(3.01, abs=0.03)
    assert numbers["grounded share"] == pytest.approx(0.900, abs=0.005)
    assert numbers["words a caption"] == pytest.approx(11.15, abs=0.05)
    assert [noun.text for noun in figures.nouns[:3]] == ["cat", "man", "dog"]
    _, worst = grounded_best_and_worst(figures, 20, 5)
    assert {"side", "back"} <= {noun.text for noun in worst}


def test_best_and_worst_nouns_are_split_at_the_usual_share(tmp_path):
    texts = {
        "cat": (3, 3),
        "dog": (2, 2),
        "kite": (3, 1),
        "side": (3, 0),
        "top": (2, 0),
        "owl": (1, 0),
    }
    rows = []
    for text, (count, grounded) in texts.items():
        for number in range(count):
            box = (0, 0, 9, 9) if number < grounded else None
            rows.append(sample(tmp_path, f"{text}{number}", text, [phrase(text, text, box)]))
    figures = measure_dataset([write_index(tmp_path / "s", rows, tmp_path)])
    assert figures.numbers["grounded share"] == 6 / 14
    best, worst = grounded_best_and_worst(figures, least_occurrences=2, num=10)
    assert [noun.text for noun in best] == ["cat", "dog"]
    assert [noun.text for noun in worst] == ["side", "top", "kite"]
    assert [len(nouns) for nouns in grounded_best_and_worst(figures, 2, 1)] == [1, 1]
    assert grounded_best_and_worst(figures, 100, 10) == ([], [])
