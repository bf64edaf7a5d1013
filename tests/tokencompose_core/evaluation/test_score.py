import random
from statistics import fmean, pstdev, stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokencompose_core.evaluation.judge_images import SeenBox, SeenImage, judge_images
from tokencompose_core.evaluation.prompts import Prompt, prompts_digest
from tokencompose_core.evaluation.score import score_multigen

PROMPTS = [Prompt(0, "", ("a", "b", "c")), Prompt(1, "", ("a", "b", "d"))]


def seen(scores=(), rivals=(), blanked=False):
    """An image with one box a category, and one a category that is there instead."""
    boxes = [SeenBox(name, score) for name, score in dict(scores).items()]
    boxes += [SeenBox("a", 0.0, None, name, score) for name, score in dict(rivals).items()]
    return SeenImage(boxes, blanked)


def score(prompts, num_rounds, images, threshold=0.1):
    judged = judge_images(prompts, num_rounds, images, threshold=threshold)
    return score_multigen(prompts, num_rounds, judged)


IMAGES = {
    (0, 0): seen({"a": 0.9, "b": 0.2, "c": 0.11}),  # 3 found
    (1, 0): seen({"a": 0.5, "b": 0.1, "d": 0.05}),  # 1 found: 0.1 is not above 0.1
    (0, 1): seen({"a": 0.9, "c": 0.3}),  # 2 found
    (1, 1): seen({"b": 0.9, "d": 0.3, "x": 1.0}),  # 2 found, and one nobody asked for
}


def test_scores_by_hand():
    result = score(PROMPTS, 2, IMAGES)
    assert result.mean == {2: 75.0, 3: 25.0}
    assert result.deviation == {2: 25.0, 3: 25.0}
    assert result.sample_deviation == pytest.approx({2: 1250**0.5, 3: 1250**0.5})
    assert result.success == {"a": 75.0, "b": 50.0, "c": 100.0, "d": 50.0}
    assert result.missed == {"a": 1, "b": 2, "c": 0, "d": 1}
    assert (result.num_images, result.num_blanked) == (4, 0)
    assert result.prompts_digest == prompts_digest(PROMPTS, 2)


def test_one_round_has_no_sample_deviation():
    result = score(PROMPTS, 1, {key: image for key, image in IMAGES.items() if key[1] == 0})
    assert result.mean == {2: 50.0, 3: 50.0}
    assert result.deviation == {2: 0.0, 3: 0.0}
    assert result.sample_deviation == {2: None, 3: None}


def test_one_prompt_has_no_interval():
    images = {key: image for key, image in IMAGES.items() if key[0] == 0}
    result = score(PROMPTS[:1], 2, images)
    assert (result.mean, result.interval) == ({2: 100.0, 3: 50.0}, {2: None, 3: None})


def test_what_is_there_instead_is_counted_for_each_category_that_was_missed():
    images = {
        # b and c are missed; x and y are there, d only below the threshold, a was asked for.
        (0, 0): seen({"a": 0.9}, {"x": 0.5, "y": 0.2, "d": 0.1, "a": 0.8}),
        # c is missed here too; nobody asked for d.
        (0, 1): seen({"a": 0.9, "b": 0.9}, {"d": 0.11, "x": 0.3}),
        (1, 0): seen({"a": 0.9, "b": 0.9, "d": 0.9}, {"x": 0.3}),  # nothing is missed
        (1, 1): seen({"a": 0.9, "b": 0.9}),  # d is missed, and nothing is there instead
    }
    result = score(PROMPTS, 2, images)
    assert result.missed == {"a": 0, "b": 1, "c": 2, "d": 1}
    assert result.confusion == {"b": {"x": 1, "y": 1}, "c": {"d": 1, "x": 2, "y": 1}}


def test_blanked_images_are_counted_apart():
    images = {**IMAGES, (1, 0): seen({"a": 0.5}, {"x": 0.9}, blanked=True)}
    result = score(PROMPTS, 2, images)
    assert (result.num_images, result.num_blanked) == (4, 1)
    assert result.mean == pytest.approx({2: 100.0, 3: 100 / 3})
    assert result.deviation == {2: 0.0, 3: 50.0}  # 1 of 1 image, then 0 of 2
    assert result.success == {"a": 100 * 2 / 3, "b": 100 * 2 / 3, "c": 100.0, "d": 100.0}
    assert result.confusion == {}
    judged = judge_images(PROMPTS, 2, images, threshold=0.1)
    assert [image.blanked for image in judged] == [False, False, True, False]
    assert judged[2].found == []


def test_nothing_but_blanked_images_is_refused():
    images = dict.fromkeys(IMAGES, seen(blanked=True))
    with pytest.raises(ValueError, match="blanked all 4 images"):
        score(PROMPTS, 2, images)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            {(0, 0): seen()},
            r"needs 1 images of each of 2 prompts: 1 missing \[\(1, 0\)\], 0 too many",
        ),
        (
            {(0, 0): seen(), (1, 0): seen(), (1, 1): seen()},
            r"0 missing \[\], 1 too many \[\(1, 1\)\]",
        ),
    ],
)
def test_missing_and_surplus_images_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        score(PROMPTS, 1, images)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 6), st.integers(1, 4), st.integers(2, 4), st.floats(0, 0.9), st.integers(0, 999)
)
def test_any_images_are_counted_as_a_plain_loop_does(
    num_prompts, num_rounds, num_objects, threshold, seed
):
    rng = random.Random(seed)
    names = [f"n{i}" for i in range(num_objects + 2)]
    prompts = [Prompt(i, "", tuple(rng.sample(names, num_objects))) for i in range(num_prompts)]
    images = {
        (prompt.prompt_id, number): SeenImage(
            [
                SeenBox(rng.choice(prompt.categories), rng.random(), None, rng.choice(names), 0.5)
                for _ in range(rng.randrange(5))
            ],
            blanked=(prompt.prompt_id, number) != (0, 0) and rng.random() < 0.2,
        )
        for prompt in prompts
        for number in range(num_rounds)
    }
    result = score(prompts, num_rounds, images, threshold)
    for k in range(2, num_objects + 1):
        by_round = []
        total = []
        for number in range(num_rounds):
            own = []
            for prompt in prompts:
                image = images[prompt.prompt_id, number]
                if not image.blanked:
                    there = {b.category for b in image.boxes if b.score > threshold}
                    own.append(100.0 * (len(there) >= k))
            total += own
            if own:
                by_round.append(fmean(own))
        assert result.mean[k] == pytest.approx(fmean(total))
        assert result.deviation[k] == pytest.approx(pstdev(by_round), abs=1e-9)
        if len(by_round) > 1:
            assert result.sample_deviation[k] == pytest.approx(stdev(by_round), abs=1e-9)
    for asked, instead in result.confusion.items():
        for name, count in instead.items():
            expected = 0
            for prompt in prompts:
                for number in range(num_rounds):
                    image = images[prompt.prompt_id, number]
                    if image.blanked or asked not in prompt.categories or name in prompt.categories:
                        continue
                    if any(b.category == asked and b.score > threshold for b in image.boxes):
                        continue
                    expected += any(
                        b.rival == name and b.rival_score > threshold for b in image.boxes
                    )
            assert count == expected > 0


def test_interval_is_of_images_and_not_of_prompts():
    """Both prompts have two images of three with both categories, whichever prompts are drawn."""
    images = {
        (number, own): seen({"a": 0.9, "b": 0.9 if own != number else 0.0})
        for number in (0, 1)
        for own in (0, 1, 2)
    }
    result = score([Prompt(0, "", ("a", "b")), Prompt(1, "", ("a", "b"))], 3, images)
    assert result.mean[2] == pytest.approx(200 / 3)
    assert result.interval[2] == pytest.approx((200 / 3, 200 / 3))
