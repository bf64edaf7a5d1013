"""Tables of an evaluation's page, from results by hand."""

import pytest

from data_schemas.configs.evaluate_config import EvaluateConfig
from data_schemas.evaluation_records import ClipScoredImage
from data_schemas.results import MultiGenResult
from tasks.benchmark_tables import (
    confusion_table,
    difference_cell,
    score_table,
    success_chart,
)
from tasks.benchmarks import Benchmark
from tasks.quality_tables import clip_difference, clip_difference_tables
from tokencompose_core.evaluation.paired import Difference
from tokencompose_core.evaluation.prompts import Prompt

CONFIG = EvaluateConfig.load()


MULTIGEN = Benchmark(
    kind="multigen",
    name="multigen-own",
    prompts=[Prompt(0, "", ("cat", "cup"))],
    num_rounds=2,
    detector=CONFIG.detector,
)


def result(success, confusion, missed) -> MultiGenResult:
    return MultiGenResult(
        num_images=8,
        num_blanked=1,
        prompts_digest="",
        mean={2: 50.0},
        deviation={2: 1.0},
        sample_deviation={2: 1.4},
        interval={2: (40.0, 60.0)},
        success=success,
        missed=missed,
        confusion=confusion,
    )


BASE = result(
    {"cat": 80.0, "cup": 10.0}, {"cat": {"dog": 3}, "cup": {"bowl": 4}}, {"cat": 5, "cup": 9}
)
OWN = result({"cat": 90.0, "cup": 60.0}, {"cat": {"dog": 2}}, {"cat": 2, "cup": 4})


def test_the_note_names_round_brackets_only_if_a_cell_has_them():
    sampler = CONFIG.sampler
    table = score_table(MULTIGEN, {"base": BASE}, sampler)
    assert [row.cells for row in table.rows] == [["base", "50.0 (1.0)\n[40.0, 60.0]", "8", "1"]]
    (note,) = table.notes
    assert note.endswith(
        "in percent; in round brackets the population standard deviation over rounds, in square"
        " ones the 95 % interval over prompts (bootstrap)."
    )
    once = BASE.model_copy(update={"deviation": {2: 0.0}, "sample_deviation": {2: None}})
    table = score_table(MULTIGEN, {"base": once}, sampler)
    assert [row.cells for row in table.rows] == [["base", "50.0\n[40.0, 60.0]", "8", "1"]]
    (note,) = table.notes
    assert note.endswith(
        "in percent; in square brackets the 95 % interval over prompts (bootstrap)."
    )


def test_difference_that_excludes_zero_is_marked():
    assert difference_cell(Difference(4.25, (0.5, 8.0), 0.0004, 9, 0)) == (
        "+4.2 *\n[+0.5, +8.0]\np < 0.001"
    )
    assert difference_cell(Difference(-1.0, (-3.0, 1.0), 0.25, 1, 2)) == (
        "-1.0\n[-3.0, +1.0]\np 0.250"
    )
    assert difference_cell(Difference(2.0, None, None, 1, 0)) == "+2.0"
    assert difference_cell(Difference(2.0, None, 0.0012, 9, 0)) == "+2.0\np 0.001"
    assert difference_cell(Difference(-3.0, (-5.0, -1.0), 0.02, 0, 9)) == (
        "-3.0 *\n[-5.0, -1.0]\np 0.020"
    )
    assert difference_cell(None) == "-"


def test_what_was_found_instead_most_frequent_first():
    table = confusion_table({"base": BASE, "own": OWN})
    assert [row.cells for row in table.rows] == [
        ["cat", "dog", "3 of 5", "2 of 2"],
        ["cup", "bowl", "4 of 9", "0 of 4"],
    ]


def test_chart_begins_with_what_the_first_model_finds_least():
    chart = success_chart({"base": BASE, "own": OWN})
    assert chart.rows == [("cup", [10.0, 60.0]), ("cat", [80.0, 90.0])]


def test_models_that_are_too_many_for_a_chart_are_said_to_be_left_out():
    many = {f"m{number}": BASE for number in range(8)}
    chart, table = success_chart(many), confusion_table(many)
    assert chart.labels == ["m0", "m7"]
    assert table.columns == ["missed", "found", "m0", "m7"]
    for part in (chart, table):
        assert part.notes[-1] == (
            "Only the first and the last model are shown, m0 and m7: 6 others are left out."
        )
    for number in (1, 6):
        few = dict(list(many.items())[:number])
        assert [len(part.notes) for part in (success_chart(few), confusion_table(few))] == [1, 1]


def rows(*scores):
    return [
        ClipScoredImage(image=f"{i}_0", prompt_id=i, round=0, blanked=s is None, score=s)
        for i, s in enumerate(scores)
    ]


@pytest.mark.parametrize(
    ("scale", "cell"),
    [
        (100.0, "+1.00 *\n[+1.00, +1.00]\np 0.250"),
        (2.5, "+0.0250 *\n[+0.0250, +0.0250]\np 0.250"),
        (1.0, "+0.0100 *\n[+0.0100, +0.0100]\np 0.250"),
    ],
)
def test_difference_of_clip_scores_has_the_digits_that_its_scale_needs(scale, cell):
    scored = {
        "base": rows(*(scale * cosine for cosine in (0.60, 0.65, 0.70))),
        "own": rows(*(scale * cosine for cosine in (0.61, 0.66, 0.71))),
    }
    (table,) = clip_difference_tables(scored, scale=scale)
    (row,) = table.rows
    assert row.cells == ["own", cell]


def test_every_model_is_compared_with_each_one_before_it():
    scored = {"base": rows(20.0), "denoising": rows(21.0), "grounded": rows(20.5)}
    tables = clip_difference_tables(scored, scale=100.0)
    assert [
        (t.title, [(row.cells[0], row.cells[1].split()[0]) for row in t.rows]) for t in tables
    ] == [
        ("Difference to base", [("denoising", "+1.00"), ("grounded", "+0.50")]),
        ("Difference to denoising", [("grounded", "-0.50")]),
    ]
    assert [len(table.notes) for table in tables] == [1, 0]


def test_difference_of_clip_scores_leaves_out_blanked_images():
    own = clip_difference(rows(20.0, 22.0, None, 30.0), rows(21.0, 26.0, 50.0, None))
    assert own.value == pytest.approx(2.5)
    assert (own.num_better, own.num_worse) == (2, 0)
    assert clip_difference(rows(None), rows(1.0)) is None
