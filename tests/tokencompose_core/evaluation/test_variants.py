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


def test_without_an_effect_of_seeds_intervals_equal_a_plain_resampling_of_prompts() -> None:
    rng = np.random.default_rng(3)
    base = rng.integers(0, 6, (1, 40, 2))
    # Better by one category on every third prompt, in every seed.
    tuned = np.concatenate([base + (np.arange(40) % 3 == 0)[None, :, None]] * 3)
    scores = compare_variants({"base": base, "tuned": tuned}, "base", num_objects=5)
    generator = np.random.default_rng(8)
    plain = []
    for _ in range(4000):
        prompts = generator.integers(0, 40, 40)
        plain.append(100.0 * np.mean((tuned[:, prompts] >= 3) * 1.0 - (base[:, prompts] >= 3)))
    low, high = np.percentile(plain, [2.5, 97.5])
    difference = scores["tuned"].difference[3]
    assert difference.low == pytest.approx(low, abs=0.8)
    assert difference.high == pytest.approx(high, abs=0.8)
    # Prompts are paired, so the difference is surer than either score.
    own = scores["tuned"].score[3]
    assert difference.high - difference.low < own.high - own.low
    # Held the other way, all is turned round.
    turned = compare_variants({"base": base, "tuned": tuned}, "tuned", num_objects=5)["base"]
    assert turned.difference[3].low == pytest.approx(-difference.high)


def test_what_seeds_differ_by_widens_the_interval_as_the_analysis_of_variance_says() -> None:
    # All prompts alike, so that seeds alone differ: 0, 50 and 100 % of images.
    counts = np.zeros((3, 30, 2), int)
    counts[1, :, 0] = counts[2] = 2
    score = compare_variants({"a": counts}, "a", num_objects=2)["a"].score[2]
    # No residual: the deviation of the mean is that of three seeds, 50, by the root of three.
    assert score.value == pytest.approx(50.0)
    half = 1.96 * 50 / np.sqrt(3)
    assert half > 50
    assert (score.low, score.high) == (0.0, 100.0)
    base = np.full((1, 30, 2), 2)
    found = compare_variants({"a": counts, "base": base}, "base", num_objects=2)["a"].difference[2]
    assert (found.low, found.high) == pytest.approx((-50 - half, -50 + half))
    # Paired by number: an effect that both variants have with a seed cancels out.
    both = compare_variants({"a": counts, "b": counts.copy()}, "a", num_objects=2)["b"]
    assert (both.difference[2].low, both.difference[2].high) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("num_seeds", "num_prompts", "seed_effect", "least", "most"),
    [
        (3, 64, 0.0, 0.02, 0.07),
        (2, 128, 0.0, 0.015, 0.07),
        # 2 percentage points, and 4, where prompts alone would give 16 %.
        (3, 64, 0.1, 0.02, 0.09),
        (3, 64, 0.2, 0.05, 0.13),
    ],
)
def test_equal_variants_seem_to_differ_in_about_one_of_twenty_comparisons(
    num_seeds: int, num_prompts: int, seed_effect: float, least: float, most: float
) -> None:
    """Images are hits by the logit of their prompt, the effect of the seed, and chance."""
    rng = np.random.default_rng(17)
    num_alarms, num_comparisons = 0, 500
    for _ in range(num_comparisons):
        prompts = rng.normal(-0.75, 1, (num_prompts, 1))
        counts = {}
        for label in ("a", "b"):
            seeds = rng.normal(0, seed_effect, (num_seeds, 1, 1))
            chance = rng.logistic(size=(num_seeds, num_prompts, 2))
            counts[label] = np.where(prompts + seeds + chance > 0, 2, 0)
        scores = compare_variants(counts, "a", num_objects=2, num_resamples=400)
        num_alarms += scores["b"].starred[2]
    assert least < num_alarms / num_comparisons < most


@pytest.mark.parametrize("turned", [False, True], ids=["hits are rare", "misses are rare"])
@pytest.mark.parametrize(
    # Logits that give 0.8 %, where hardly any is starred at all, and 4 %, where two thirds may be.
    ("logit", "least_without_the_rule"),
    [(-5.25, 0.08), (-3.5, 0.0)],
)
def test_equal_variants_of_a_rare_figure_are_not_starred_more_often_than_promised(
    logit: float, least_without_the_rule: float, turned: bool
) -> None:
    """One seed against three, as of a model that was not trained."""
    rng = np.random.default_rng(17)
    num_stars, num_excluding, num_comparisons = 0, 0, 500
    for _ in range(num_comparisons):
        prompts = rng.normal(logit, 1, (64, 1))
        counts = {
            label: np.where((prompts + rng.logistic(size=(num_seeds, 64, 2)) > 0) != turned, 2, 0)
            for label, num_seeds in (("frozen", 1), ("tuned", 3))
        }
        score = compare_variants(counts, "tuned", num_objects=2, num_resamples=400)["frozen"]
        num_stars += score.starred[2]
        num_excluding += score.difference[2].excludes_zero
    assert num_stars / num_comparisons < 0.07
    # The interval alone would not hold the promise.
    assert num_excluding / num_comparisons >= least_without_the_rule


@pytest.mark.parametrize("turned", [False, True], ids=["hits", "misses"])
@pytest.mark.parametrize(("num_rare", "starred"), [(0, False), (4, False), (5, True)])
def test_a_difference_that_stands_on_a_handful_of_images_has_an_interval_but_no_star(
    num_rare: int, starred: bool, turned: bool
) -> None:
    counts = {"few": np.zeros((1, 64, 2), int), "many": np.zeros((3, 64, 2), int)}
    counts["few"][0, :num_rare, 0] = 1
    counts["many"][:, :40] = 1
    if turned:
        counts = {label: 1 - values for label, values in counts.items()}
    for label, reference in (("few", "many"), ("many", "few")):
        score = compare_variants(counts, reference, num_objects=1)[label]
        assert score.difference[1].excludes_zero
        assert score.starred[1] is starred


def test_no_hit_of_128_images_against_four_of_384_is_not_starred() -> None:
    counts = {"frozen": np.zeros((1, 64, 2), int), "tuned": np.zeros((3, 64, 2), int)}
    for number in range(4):
        counts["tuned"][number % 3, 10 * number, 0] = 5
    score = compare_variants(counts, "tuned", num_objects=5)["frozen"]
    assert score.difference[5].excludes_zero
    assert not score.starred[5]


def test_of_prompts_of_one_object_the_share_with_it_is_compared() -> None:
    counts = {"a": np.array([[[1, 0], [1, 1]]]), "b": np.array([[[0, 0], [1, 0]]])}
    scores = compare_variants(counts, "a", num_objects=1)
    assert scores["a"].score[1].value == pytest.approx(75.0)
    assert scores["b"].difference[1].value == pytest.approx(-50.0)


def test_a_single_prompt_is_refused() -> None:
    counts = {"a": np.zeros((3, 1, 2), int), "b": np.ones((3, 1, 2), int)}
    with pytest.raises(ValueError, match="at least 2 prompts, received 1"):
        compare_variants(counts, "a", num_objects=1)


def test_equal_variants_do_not_differ() -> None:
    counts = np.random.default_rng(0).integers(0, 6, (1, 30, 2))
    difference = compare_variants({"a": counts, "b": counts}, "a", num_objects=5)["b"].difference[3]
    assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)
    assert not difference.excludes_zero


def test_other_prompts_are_refused() -> None:
    counts = {"a": np.zeros((1, 3, 2), int), "b": np.zeros((1, 4, 2), int)}
    with pytest.raises(ValueError, match="same prompts and rounds"):
        compare_variants(counts, "a", num_objects=5)


def test_other_numbers_of_seeds_are_refused_unless_there_is_one() -> None:
    counts = {str(n): np.zeros((n, 3, 2), int) for n in (1, 2, 3)}
    with pytest.raises(ValueError, match="as many seeds, or one"):
        compare_variants(counts, "1", num_objects=5)
    del counts["2"]
    assert compare_variants(counts, "1", num_objects=5)["3"].num_seeds == 3


def test_variance_of_seeds_by_hand():
    """Shares of three seeds on two prompts, whose means over seeds are equal: 50 %.

    Seeds have 87.5, 62.5 and 0 %, of variance 2031.25. Of the residuals four are 12.5 and two are
    0, over (3 - 1) (2 - 1) degrees of freedom 312.5. So Var(b) is 2031.25 - 312.5 / 2 = 1875, and
    the half-width 1.96 (1875 / 3) ** 0.5 = 49.
    """
    hits = [[4, 3], [2, 3], [0, 0]]  # of four images each
    counts = np.array([[[1] * own + [0] * (4 - own) for own in row] for row in hits])
    score = compare_variants({"one": counts}, "one", num_objects=1)["one"].score[1]
    assert (score.value, score.low, score.high) == pytest.approx((50.0, 1.0, 99.0))
