import numpy as np
import pytest
from scipy.stats import bootstrap

from data_schemas.evaluation_records import ScoredImage
from tokencompose_core.evaluation.changed_prompts import ChangedPrompt, largest_changes
from tokencompose_core.evaluation.paired import (
    Counted,
    Difference,
    compare_images,
    count_multigen,
    count_visor,
    paired_difference,
)
from tokencompose_core.evaluation.variants import Estimate


def image(prompt_id, number, num_found, *, blanked=False, related=None) -> ScoredImage:
    return ScoredImage(
        prompt_id=prompt_id,
        round=number,
        blanked=blanked,
        found=["cat", "cup", "kite"][:num_found],
        num_found=num_found,
        instead=[],
        related=related,
    )


def images(*found: tuple[int, int]) -> list[ScoredImage]:
    """Two images a prompt."""
    return [image(i, number, n) for i, own in enumerate(found) for number, n in enumerate(own)]


def multigen(rows):
    return count_multigen(rows, shares=[2, 3])


def test_difference_by_hand():
    before = images((2, 0), (1, 1), (3, 1), (0, 0))
    after = images((2, 2), (3, 2), (3, 1), (1, 2))
    own = compare_images(before, after, multigen)["MG2"]
    # 2 of 8 images, then 6 of 8; better on prompts 0, 1 and 3, the same on 2.
    assert own.value == pytest.approx(50.0)
    assert (own.num_better, own.num_worse) == (3, 0)
    assert own.p_value == pytest.approx(2 / 2**3)  # three of three, on either side
    assert own.interval is not None
    assert own.interval[0] <= own.value <= own.interval[1]
    back = compare_images(after, before, multigen)["MG2"]
    assert back.value == -own.value
    assert back.p_value == own.p_value


def test_equal_models_do_not_differ():
    rows = images((2, 0), (1, 3), (3, 1))
    own = compare_images(rows, rows, multigen)["MG2"]
    assert (own.value, own.interval, own.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert not own.excludes_zero


def test_interval_is_that_of_scipy_on_pairs_of_prompts():
    rng = np.random.default_rng(1)
    ids = np.repeat(np.arange(80), 5)
    hard = rng.random(80)[ids]  # prompts are hard or easy for both
    first = (rng.random(400) < hard).astype(float)
    second = (rng.random(400) < 0.5 * hard + 0.5).astype(float)
    cases = np.ones(400)
    own = paired_difference(ids, Counted(first, cases), Counted(second, cases))
    change = 100 * (second - first).reshape(80, 5).mean(axis=1)
    theirs = bootstrap(
        (change,), np.mean, n_resamples=6000, method="percentile", rng=2
    ).confidence_interval
    width = theirs.high - theirs.low
    assert own.interval == pytest.approx((theirs.low, theirs.high), abs=0.1 * width)
    assert own.excludes_zero == (theirs.low > 0)


def test_image_that_either_had_blanked_is_left_out():
    before = [image(0, 0, 2), image(0, 1, 0), image(1, 0, 0, blanked=True), image(1, 1, 0)]
    after = [image(0, 0, 2), image(0, 1, 0, blanked=True), image(1, 0, 3), image(1, 1, 3)]
    own = compare_images(before, after, multigen)["MG2"]
    assert own.value == pytest.approx(50.0)  # 1 of 2, then 2 of 2
    blank = [one.model_copy(update={"blanked": True}) for one in before]
    assert compare_images(before, blank, multigen)["MG2"] is None


def test_relations_among_images_with_both_have_no_sign_test():
    before = [image(i, 0, 2, related=i == 0) for i in range(2)] + [image(2, 0, 1, related=False)]
    after = [image(i, 0, 2, related=i < 2) for i in range(3)]
    own = compare_images(before, after, count_visor)
    assert own["OA"].value == pytest.approx(100 / 3)
    assert own["uncond"].value == pytest.approx(100 / 3)
    assert own["cond"].value == pytest.approx(200 / 3 - 50)
    assert own["cond"].p_value is None
    assert own["OA"].p_value == 1.0


def test_one_prompt_has_no_interval_and_other_prompts_are_refused():
    one = images((0, 3))
    assert compare_images(one, one, multigen)["MG2"].interval is None
    with pytest.raises(ValueError, match="same prompts and rounds"):
        compare_images(one, images((0, 3), (1, 1)), multigen)


def test_largest_changes_by_hand():
    before = images((2, 0), (3, 3), (1, 1), (2, 2), (0, 1))
    after = images((2, 3), (1, 3), (1, 1), (1, 3), (2, 2))
    gains, losses = largest_changes(before, after, 3)
    assert gains == [ChangedPrompt(0, 1.5, 1), ChangedPrompt(4, 1.5, 0)]
    assert losses == [ChangedPrompt(1, -1.0, 0)]
    assert largest_changes(before, after, 1)[0] == gains[:1]


@pytest.mark.parametrize(
    ("interval", "excludes"),
    [
        ((0.1, 2.0), True),
        ((-2.0, -0.1), True),
        ((-1.0, 1.0), False),
        ((0.0, 1.0), False),
        ((-1.0, 0.0), False),
        (None, False),
    ],
)
def test_interval_on_either_side_of_zero_excludes_it(interval, excludes):
    assert Difference(0.0, interval, None, 0, 0).excludes_zero == excludes
    if interval is not None:
        assert Estimate(0.0, *interval).excludes_zero == excludes
