import pytest

from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.evaluation.score import score_multigen

PROMPTS = [Prompt(0, "", ("a", "b", "c")), Prompt(1, "", ("a", "b", "d"))]


def test_scores_by_hand():
    best = {
        (0, 0): {"a": 0.9, "b": 0.2, "c": 0.11},  # 3 found
        (1, 0): {"a": 0.5, "b": 0.1, "d": 0.05},  # 1 found: 0.1 is not above 0.1
        (0, 1): {"a": 0.9, "c": 0.3},  # 2 found
        (1, 1): {"b": 0.9, "d": 0.3, "x": 1.0},  # 2 found, and one nobody asked for
    }
    score = score_multigen(PROMPTS, 2, best, threshold=0.1)
    assert score.mean == {2: 75.0, 3: 25.0}
    assert score.deviation == {2: 25.0, 3: 25.0}
    assert score.success == {"a": 75.0, "b": 50.0, "c": 100.0, "d": 50.0}
    assert score.num_images == 4


@pytest.mark.parametrize(
    ("best", "message"),
    [
        ({(0, 0): {}}, r"1 missing \[\(1, 0\)\], 0 too many"),
        ({(0, 0): {}, (1, 0): {}, (1, 1): {}}, r"0 missing \[\], 1 too many \[\(1, 1\)\]"),
    ],
)
def test_missing_and_surplus_images_are_refused(best, message):
    with pytest.raises(ValueError, match=message):
        score_multigen(PROMPTS, 1, best, threshold=0.1)
