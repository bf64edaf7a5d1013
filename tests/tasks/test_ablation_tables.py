import numpy as np

from tasks.ablation_tables import NOTES, difference_table, score_table
from tokencompose_core.evaluation.variants import Estimate, VariantScore, compare_variants


def test_a_star_marks_differences_that_are_told_from_chance_and_no_rare_ones() -> None:
    counts = {"frozen": np.zeros((1, 64, 2), int), "tuned": np.zeros((3, 64, 2), int)}
    counts["frozen"][:, :20] = 2
    counts["tuned"][:, :50] = 2
    counts["tuned"][:, :20] = 3
    scores = compare_variants(counts, "tuned", num_objects=3)
    columns, (label, often, rare) = difference_table(scores, "tuned")
    assert columns == ["difference to tuned", "MG2", "MG3"]
    assert label == "frozen"
    assert often.startswith("-46.9 [")
    assert often.endswith(" *")
    # No image of `frozen` has three.
    assert rare.startswith("-31.2 [")
    assert rare.endswith("]")
    assert "fewer than 5 images that count" in NOTES[0]


def test_of_prompts_of_one_object_the_tables_have_the_share_with_it() -> None:
    counts = {"a": np.array([[[1, 0], [1, 1]]]), "b": np.array([[[0, 0], [1, 0]]])}
    scores = compare_variants(counts, "a", num_objects=1)
    none: dict[str, dict] = {"a": {}, "b": {}}
    assert score_table(scores, {"a": {1: 80.0}, "b": {}}, none)[0][3] == "MG1"
    assert score_table(scores, {"a": {1: 80.0}, "b": {}}, none)[2][3] == "80.00"
    # The paper has nothing on single objects, so it has no row.
    assert len(score_table(scores, {"a": {2: 90.72}, "b": {}}, none)) == 3
    assert difference_table(scores, "a")[0] == ["difference to a", "MG1"]


def test_cells_of_a_hand_made_result() -> None:
    def made(num_seeds: int, value: float, low: float, high: float) -> VariantScore:
        return VariantScore(
            score={2: Estimate(value, low, high)},
            seed_deviation={2: 2.25},
            difference={2: Estimate(-3.0, -5.0, -1.0)},
            starred={2: True},
            num_seeds=num_seeds,
            num_images=8,
        )

    scores = {"first": made(1, 50.0, 40.0, 61.0), "second": made(3, 47.0, 45.5, 49.0)}
    facts = {
        "first": {"inside": 0.25, "preference": 0.75},
        "second": {"inside": 0.5, "denoising": 0.125},
    }
    assert score_table(scores, {"first": {}, "second": {2: 46.5}}, facts) == [
        ["variant", "seeds", "images", "MG2", "inside", "preference", "denoising"],
        ["first", "1", "8", "50.0 [40.0, 61.0]", "0.2500", "0.7500", ""],
        ["second", "3", "8", "47.0 (2.2) [45.5, 49.0]", "0.5000", "", "0.1250"],
        ["(paper)", "", "", "46.50", "", "", ""],
    ]
    assert difference_table(scores, "first")[1:] == [["second", "-3.0 [-5.0, -1.0] *"]]
