import numpy as np
import pytest
from scipy.stats import bootstrap

from tokencompose_core.evaluation.bootstrap import share_intervals

RNG = np.random.default_rng(3)


def test_interval_is_that_of_scipy():
    cases = RNG.integers(1, 11, size=(150, 2))
    hits = RNG.binomial(cases, [0.2, 0.7])
    ours = share_intervals(hits, cases, num_resamples=6000)
    for figure in range(2):
        theirs = bootstrap(
            (hits[:, figure], cases[:, figure]),
            lambda hit, case, axis: 100 * hit.sum(axis) / case.sum(axis),
            paired=True,
            n_resamples=6000,
            method="percentile",
            rng=4,
        ).confidence_interval
        # Two draws of 6000 agree on the ends to about a tenth of their width.
        width = theirs.high - theirs.low
        assert ours[figure] == pytest.approx((theirs.low, theirs.high), abs=0.1 * width)


def test_interval_is_a_function_of_its_input_and_seed():
    cases = RNG.integers(4, 99, size=(30, 1))
    hits = RNG.integers(0, 5, size=(30, 1))
    assert share_intervals(hits, cases) == share_intervals(hits, cases)
    assert share_intervals(hits, cases) != share_intervals(hits, cases, seed=1)


def test_many_prompts_are_drawn_in_parts_with_the_same_result():
    cases = np.full((40, 1), 4)
    hits = RNG.integers(0, 5, size=(40, 1))
    whole = share_intervals(hits, cases, num_resamples=500)
    assert share_intervals(hits, cases, num_resamples=500, most_at_once=40 * 7) == whole
    assert share_intervals(hits, cases, num_resamples=500, most_at_once=1) == whole


def test_images_of_one_prompt_are_drawn_together():
    """Ten equal images of a prompt tell no more than one."""
    hits = RNG.integers(0, 2, size=(60, 1))
    one = share_intervals(hits, np.ones_like(hits))[0]
    ten = share_intervals(10 * hits, np.full_like(hits, 10))[0]
    assert ten == pytest.approx(one)


def test_figures_that_are_certain_have_no_width_and_those_without_cases_none():
    cases = np.array([[2, 0, 1], [2, 0, 0], [2, 0, 0]])
    hits = np.array([[2, 0, 1], [2, 0, 0], [2, 0, 0]])
    # In 8 of 27 draws the only prompt with a case of the third figure is not among the three.
    assert share_intervals(hits, cases) == [(100.0, 100.0), None, None]


def test_one_prompt_says_nothing_of_other_prompts():
    hits, cases = np.array([[3, 1], [2, 0]]), np.array([[4, 4], [4, 4]])
    assert share_intervals(hits[:1], cases[:1]) == [None, None]
    assert None not in share_intervals(hits, cases)
