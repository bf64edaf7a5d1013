import numpy as np
import pytest

from tokencompose_core.evaluation.variants import compare_variants


def test_scores_and_deviation_of_a_hand_worked_case() -> None:
    # Two seeds, two prompts, two rounds; of four images of a seed 3 and 1 show at least two.
    counts = {
        "base": np.array([[[2, 1], [0, 0]]]),
        "tuned": np.array([[[2, 3], [2, 0]], [[1, 1], [3, 1]]]),
    }
    scores = compare_variants(counts, "base", num_objects=3)
    assert scores["tuned"].score[2].value == pytest.approx(50.0)
    assert scores["tuned"].seed_deviation[2] == pytest.approx(25.0)
    assert scores["tuned"].score[3].value == pytest.approx(25.0)
    assert scores["tuned"].difference[2].value == pytest.approx(25.0)
    assert scores["base"].num_seeds == 1
    assert scores["tuned"].num_images == 8


def test_intervals_equal_a_plain_resampling() -> None:
    rng = np.random.default_rng(3)
    base = rng.integers(0, 6, (1, 40, 2))
    # Better by one category on every third prompt, in every seed.
    tuned = np.concatenate([base + (np.arange(40) % 3 == 0)[None, :, None]] * 3)
    scores = compare_variants({"base": base, "tuned": tuned}, "base", num_objects=5)
    generator = np.random.default_rng(8)
    plain = []
    for _ in range(4000):
        prompts = generator.integers(0, 40, 40)
        seeds = generator.integers(0, 3, 3)
        own = np.mean([100.0 * (tuned[s][prompts] >= 3).mean() for s in seeds])
        plain.append(own - 100.0 * (base[0][prompts] >= 3).mean())
    low, high = np.percentile(plain, [2.5, 97.5])
    difference = scores["tuned"].difference[3]
    assert difference.low == pytest.approx(low, abs=0.8)
    assert difference.high == pytest.approx(high, abs=0.8)
    # Prompts are paired, so the difference is surer than either score.
    own = scores["tuned"].score[3]
    assert difference.high - difference.low < own.high - own.low


def test_equal_variants_do_not_differ() -> None:
    counts = np.random.default_rng(0).integers(0, 6, (1, 30, 2))
    difference = compare_variants({"a": counts, "b": counts}, "a", num_objects=5)["b"].difference[3]
    assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)
    assert not difference.excludes_zero


def test_other_prompts_are_refused() -> None:
    counts = {"a": np.zeros((1, 3, 2), int), "b": np.zeros((1, 4, 2), int)}
    with pytest.raises(ValueError, match="same prompts and rounds"):
        compare_variants(counts, "a", num_objects=5)
