import itertools

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


def test_every_prompt_is_drawn_as_often_as_any_other():
    """Of all ways to draw as many prompts as there are, each as likely as any other."""
    hits = np.array([[0], [1], [4], [0], [2]])
    cases = np.full((5, 1), 4)
    shares = [
        100 * sum(int(hits[place, 0]) for place in drawn) / 20
        for drawn in itertools.product(range(5), repeat=5)
    ]
    for level in (0.5, 0.8, 0.95):
        expected = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2])
        (interval,) = share_intervals(hits, cases, level=level, num_resamples=20_000)
        assert interval == pytest.approx(tuple(expected), abs=5.0)  # one hit of twenty
    assert share_intervals(np.array([[0], [1]]), np.ones((2, 1))) == [(0.0, 100.0)]
    assert share_intervals(np.array([[1], [0]]), np.ones((2, 1))) == [(0.0, 100.0)]
