import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokencompose_core.evaluation.judge_images import SeenBox, SeenImage, judge_images
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.evaluation.visor import score_visor
from tokencompose_core.evaluation.visor_prompts import (
    RELATIONS,
    draw_visor_prompts,
    visor_prompts,
    with_article,
)
from tokencompose_core.evaluation.vocabularies import read_vocabulary

# Three places in an image of 100 by 100 pixels, whose rows are counted from the top.
TOP_LEFT, TOP_RIGHT, BOTTOM_LEFT = (0, 0, 20, 20), (80, 0, 100, 20), (0, 80, 20, 100)


def judge(relation, boxes, blanked=False):
    prompt = Prompt(0, "", ("cat", "cup"), relation)
    image = SeenImage([SeenBox(name, score, box) for name, score, box in boxes], blanked)
    return judge_images([prompt], 1, {(0, 0): image}, threshold=0.1)[0]


def test_all_prompts_of_coco_are_as_many_as_published_and_different():
    prompts = visor_prompts(read_vocabulary("coco"))
    assert len(prompts) == 80 * 79 * 4 == 25_280
    assert len({prompt.text for prompt in prompts}) == 25_280
    assert len({prompt.prompt_id for prompt in prompts}) == 25_280
    # The published list ends with 80 prompts of one category, after ten of each pair.
    assert prompts[-1].prompt_id == 31_680 - 80 - 3


def test_ids_and_texts_are_those_that_the_release_shows():
    texts = {p.prompt_id: p.text for p in visor_prompts(read_vocabulary("coco"))}
    assert texts[1103] == "a kite to the right of a bicycle"
    assert texts[11036] == "a cat below a bottle"


def test_articles():
    coco = read_vocabulary("coco")
    an = {name for name in coco if with_article(name).startswith("an ")}
    assert an == {"airplane", "apple", "elephant", "orange", "oven", "umbrella"}
    assert with_article("hair drier") == "a hair drier"


def test_every_prompt_has_its_mirror_image():
    prompts = {(p.categories, p.relation) for p in visor_prompts(["a", "b", "c"])}
    assert len(prompts) == 3 * 2 * 4
    assert all(((b, a), relation) in prompts for (a, b), relation in prompts)


def test_a_subset_is_a_function_of_its_seed():
    names = read_vocabulary("coco")
    first = draw_visor_prompts(names, num_prompts=50, seed=1)
    assert first == draw_visor_prompts(names, num_prompts=50, seed=1)
    assert first != draw_visor_prompts(names, num_prompts=50, seed=2)
    assert set(first) <= set(visor_prompts(names))
    assert len({p.prompt_id for p in first}) == 50
    for more in (51, 9000, 0):
        assert draw_visor_prompts(names, num_prompts=more, seed=1)[:50] == first
    every = draw_visor_prompts(names, num_prompts=0, seed=1)
    assert every == draw_visor_prompts(names, num_prompts=25_280, seed=1)
    assert sorted(p.prompt_id for p in every) == [p.prompt_id for p in visor_prompts(names)]
    with pytest.raises(ValueError, match="2 categories give 8 prompts, fewer than 9"):
        draw_visor_prompts(["a", "b"], num_prompts=9, seed=1)


@pytest.mark.parametrize(
    ("cat", "cup", "true"),
    [
        (TOP_LEFT, TOP_RIGHT, {"to the left of"}),
        (TOP_RIGHT, TOP_LEFT, {"to the right of"}),
        (TOP_LEFT, BOTTOM_LEFT, {"above"}),
        (BOTTOM_LEFT, TOP_LEFT, {"below"}),
        (BOTTOM_LEFT, TOP_RIGHT, {"to the left of", "below"}),
        (TOP_LEFT, TOP_LEFT, set()),
        ((0, 0, 100, 20), TOP_LEFT, {"to the right of"}),  # by centres, although the boxes overlap
    ],
)
def test_relations_are_those_of_centres_as_a_person_sees_them(cat, cup, true):
    for relation in RELATIONS:
        judged = judge(relation, [("cat", 0.9, cat), ("cup", 0.9, cup)])
        assert judged.related == (relation in true), relation


def test_any_pair_of_boxes_may_lie_as_asked():
    boxes = [("cat", 0.9, TOP_LEFT), ("cup", 0.9, TOP_RIGHT), ("cat", 0.2, TOP_RIGHT)]
    boxes.append(("cup", 0.2, TOP_LEFT))
    assert judge("to the left of", boxes).related
    assert judge("to the right of", boxes).related
    assert not judge("above", boxes).related


def test_a_box_counts_if_its_score_is_above_the_threshold():
    boxes = [("cat", 0.9, TOP_LEFT), ("cup", 0.1, TOP_RIGHT)]
    judged = judge("to the left of", boxes)
    assert (judged.found, judged.related) == (["cat"], False)
    # The cup that counts lies on the other side.
    judged = judge("to the right of", [*boxes, ("cup", 0.5, (-60, 0, -40, 20))])
    assert (judged.num_found, judged.related) == (2, True)
    assert not judge("to the left of", [*boxes, ("cup", 0.5, (-60, 0, -40, 20))]).related


def test_unknown_relation_is_refused():
    with pytest.raises(ValueError, match="no relation 'behind'"):
        judge("behind", [("cat", 0.9, TOP_LEFT), ("cup", 0.9, TOP_RIGHT)])


def image(kind):
    """An image of a cat to the left of a cup: right, mirrored, with the cat alone, or black."""
    there = {
        "right": [SeenBox("cat", 0.9, TOP_LEFT), SeenBox("cup", 0.9, TOP_RIGHT)],
        "mirrored": [SeenBox("cat", 0.9, TOP_RIGHT), SeenBox("cup", 0.9, TOP_LEFT)],
        "alone": [SeenBox("cat", 0.9, TOP_LEFT)],
        "black": [],
    }
    return SeenImage(there[kind], blanked=kind == "black")


def score(*rows):
    prompts = [Prompt(i, "", ("cat", "cup"), "to the left of") for i in range(len(rows))]
    images = {(i, n): image(kind) for i, row in enumerate(rows) for n, kind in enumerate(row)}
    judged = judge_images(prompts, len(rows[0]), images, threshold=0.1)
    return score_visor(prompts, len(rows[0]), judged)


def test_scores_by_hand():
    result = score(
        ["right", "right", "mirrored", "alone"],
        ["alone", "alone", "alone", "alone"],
        ["right", "mirrored", "mirrored", "mirrored"],
    )
    # Of 12 images 7 have both, and 3 of those are right; two prompts have one right, one has two.
    assert result.object_accuracy.percent == pytest.approx(100 * 7 / 12)
    assert result.unconditional.percent == pytest.approx(100 * 3 / 12)
    assert result.conditional.percent == pytest.approx(100 * 3 / 7)
    assert {n: share.percent for n, share in result.at_least.items()} == pytest.approx(
        {1: 100 * 2 / 3, 2: 100 / 3, 3: 0.0, 4: 0.0}
    )
    assert (result.num_images, result.num_blanked) == (12, 0)
    # A draw may hold the second prompt alone, in which nothing could be right.
    assert result.conditional.interval is None
    low, high = result.object_accuracy.interval
    assert low == 0.0
    assert high == 100.0


def test_blanked_images_are_counted_apart():
    result = score(["right", "black"], ["mirrored", "alone"], ["right", "right"])
    assert (result.num_images, result.num_blanked) == (6, 1)
    assert result.object_accuracy.percent == pytest.approx(100 * 4 / 5)
    assert result.unconditional.percent == pytest.approx(100 * 3 / 5)
    assert result.conditional.percent == pytest.approx(100 * 3 / 4)
    # The first prompt has one chance less than the others, so it is not among those counted.
    assert {n: share.percent for n, share in result.at_least.items()} == {1: 50.0, 2: 50.0}


def test_where_nothing_is_found_the_conditional_score_is_empty():
    result = score(["alone", "alone"], ["alone", "alone"])
    assert result.object_accuracy.percent == 0.0
    assert result.object_accuracy.interval == (0.0, 0.0)
    assert result.conditional.percent is None


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 999))
def test_unconditional_is_object_accuracy_times_conditional(num_prompts, num_rounds, seed):
    rng = random.Random(seed)
    rows = [rng.choices(["right", "mirrored", "alone"], k=num_rounds) for _ in range(num_prompts)]
    result = score(*rows)
    if result.conditional.percent is not None:
        product = result.object_accuracy.percent * result.conditional.percent / 100
        assert result.unconditional.percent == pytest.approx(product)
    # Each image that is right adds one to the prompts with at least n, for one n.
    total = sum(share.percent for share in result.at_least.values()) / num_rounds
    assert result.unconditional.percent == pytest.approx(total)


@pytest.mark.parametrize(
    ("relation", "small", "large"),
    [
        # Its left edge, and its upper one, lie further on than those of the large box.
        ("to the left of", (30, 0, 40, 10), (0, 0, 100, 10)),
        ("above", (0, 30, 10, 40), (0, 0, 10, 100)),
        ("to the right of", (60, 0, 70, 10), (0, 0, 100, 10)),
        ("below", (0, 60, 10, 70), (0, 0, 10, 100)),
    ],
)
def test_centres_are_compared_and_not_edges(relation, small, large):
    assert judge(relation, [("cat", 0.9, small), ("cup", 0.9, large)]).related
    assert not judge(relation, [("cat", 0.9, large), ("cup", 0.9, small)]).related
