"""Tables of an evaluation's page, from results by hand."""

import pytest

from data_schemas.configs.evaluate_config import DetectorConfig, EvaluateConfig
from data_schemas.evaluation_records import ClipScoredImage
from data_schemas.results import MultiGenResult
from tasks.benchmark_tables import (
    confusion_table,
    difference_cell,
    published_cells,
    score_table,
    success_chart,
)
from tasks.benchmarks import Benchmark
from tasks.quality_tables import clip_difference, clip_difference_table, latency_table
from tokencompose_core.evaluation.paired import Difference
from tokencompose_core.evaluation.prompts import Prompt

FIVE = ("cat", "cup", "kite", "boat", "car")
CONFIG = EvaluateConfig.load()


def benchmark(
    name, categories=FIVE, kind="multigen", architecture="owlv2", threshold=0.1
) -> Benchmark:
    detector: DetectorConfig = CONFIG.detector.model_copy(
        update={"architecture": architecture, "threshold": threshold}
    )
    prompt = Prompt(0, "", tuple(categories), "above" if kind == "visor" else "")
    return Benchmark(kind=kind, name=name, prompts=[prompt], num_rounds=1, detector=detector)


def result(success, confusion, missed) -> MultiGenResult:
    return MultiGenResult(
        num_images=8,
        num_blanked=1,
        prompts_digest="",
        mean={2: 50.0},
        deviation={2: 1.0},
        sample_deviation={2: None},
        interval={2: (40.0, 60.0)},
        success=success,
        missed=missed,
        confusion=confusion,
    )


BASE = result(
    {"cat": 80.0, "cup": 10.0}, {"cat": {"dog": 3}, "cup": {"bowl": 4}}, {"cat": 5, "cup": 9}
)
OWN = result({"cat": 90.0, "cup": 60.0}, {"cat": {"dog": 2}}, {"cat": 2, "cup": 4})


def test_published_rows_stand_beside_their_own_benchmark_only():
    assert published_cells(benchmark("multigen-coco")) == {
        "Stable Diffusion 1.4": {
            "MG2": "90.72 (1.33)", "MG3": "50.74 (0.89)",
            "MG4": "11.68 (0.45)", "MG5": "0.88 (0.21)",
        },
        "TokenCompose": {
            "MG2": "98.08 (0.40)", "MG3": "76.16 (1.04)",
            "MG4": "28.81 (0.95)", "MG5": "3.28 (0.48)",
        },
    }  # fmt: skip
    assert published_cells(benchmark("multigen-pocket")) == {}
    assert published_cells(benchmark("multigen-coco", FIVE[:4])) == {}
    assert published_cells(benchmark("multigen-coco", (*FIVE[:4], "unicorn"))) == {}
    visor = benchmark("visor", ("cat", "cup"), "visor", "owlvit")
    assert published_cells(visor)["TokenCompose"] == {"OA": "52.15"}
    assert published_cells(benchmark("visor", ("cat", "cup"), "visor")) == {}
    # The paper's prompts, but not its detector, or another score counts.
    assert published_cells(benchmark("multigen-coco", architecture="owlvit")) == {}
    assert published_cells(benchmark("multigen-coco", threshold=0.175)) == {}
    assert published_cells(benchmark("visor", ("cat", "cup"), "visor", "owlvit", 0.2)) == {}


def test_published_rows_are_quoted_and_fill_their_columns():
    table = score_table(benchmark("multigen-coco"), {"base": BASE})
    assert table.columns == ["model", "MG2", "images", "blanked"]
    assert [row.cells for row in table.rows] == [
        ["base", "50.0 (1.0)\n[40.0, 60.0]", "8", "1"],
        ["Stable Diffusion 1.4", "90.72 (1.33)", "", ""],
        ["TokenCompose", "98.08 (0.40)", "", ""],
    ]
    assert [row.is_quoted for row in table.rows] == [False, True, True]
    assert not any(
        row.is_quoted for row in score_table(benchmark("multigen-pocket"), {"base": BASE}).rows
    )


def test_difference_that_excludes_zero_is_marked():
    assert difference_cell(Difference(4.25, (0.5, 8.0), 0.0004, 9, 0)) == (
        "+4.2 *\n[+0.5, +8.0]\np < 0.001"
    )
    assert difference_cell(Difference(-1.0, (-3.0, 1.0), 0.25, 1, 2)) == (
        "-1.0\n[-3.0, +1.0]\np 0.250"
    )
    assert difference_cell(Difference(2.0, None, None, 1, 0)) == "+2.0"
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
    (row,) = clip_difference_table(scored, scale=scale).rows
    assert row.cells == ["own", cell]


def test_difference_of_clip_scores_leaves_out_blanked_images():
    own = clip_difference(rows(20.0, 22.0, None, 30.0), rows(21.0, 26.0, 50.0, None))
    assert own.value == pytest.approx(2.5)
    assert (own.num_better, own.num_worse) == (2, 0)
    assert clip_difference(rows(None), rows(1.0)) is None


def test_published_seconds_belong_to_images_that_are_made_as_the_papers():
    assert latency_table([], CONFIG.sampler).rows == []
    large = CONFIG.sampler.model_copy(update={"height": 512, "width": 512})
    assert [row.cells[:2] for row in latency_table([], large).rows] == [
        ["Stable Diffusion 1.4", "7.54 (0.17)"],
        ["TokenCompose", "7.56 (0.14)"],
    ]
    for change in (
        {"guidance_scale": 1.0},
        {"precision": "bfloat16"},
        {"compile_unet": True},
        {"num_inference_steps": 20},
    ):
        assert latency_table([], large.model_copy(update=change)).rows == []
    assert len(latency_table([], EvaluateConfig.load("paper").sampler).rows) == 2


def test_the_profile_of_the_paper_is_compared_with_its_figures():
    config = EvaluateConfig.load("paper")
    coco = benchmark("multigen-coco").model_copy(update={"detector": config.detector})
    visor = benchmark("visor", ("cat", "cup"), "visor")
    visor = visor.model_copy(update={"detector": config.visor.detector})
    assert len(published_cells(coco)) == len(published_cells(visor)) == 2
