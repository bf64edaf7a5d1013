from collections import Counter

import pytest

from data_schemas.records import SelectedImage
from tokencompose_core.evaluation.caption_pairs import draw_pairs


def images(count: int) -> list[SelectedImage]:
    return [
        SelectedImage(
            key=f"{n:04d}", image_path=f"{n}.jpg", image_sha256=str(n), captions=list("abcde")
        )
        for n in range(count)
    ]


def test_pairs_are_different_images_each_with_a_caption_of_its_own():
    drawn = draw_pairs(images(1000), 400, seed=1)
    assert [pair.prompt_id for pair in drawn] == list(range(400))
    assert len({pair.key for pair in drawn}) == 400
    assert all(pair.image_path == f"{int(pair.key)}.jpg" for pair in drawn)
    # Five captions, 80 of each expected, with a deviation of 8.
    assert all(48 < count < 112 for count in Counter(pair.caption for pair in drawn).values())
    assert 150 < sum(int(pair.key) < 500 for pair in drawn) < 250


def test_draw_depends_on_the_seed_and_not_on_the_order():
    drawn = draw_pairs(images(50), 20, seed=1)
    assert draw_pairs(images(50)[::-1], 20, seed=1) == drawn
    assert {p.key for p in draw_pairs(images(50), 20, seed=2)} != {p.key for p in drawn}


def test_growing_set_keeps_what_was_drawn_but_for_what_comes_before():
    before = {pair.key: pair.caption for pair in draw_pairs(images(90), 50, seed=1)}
    after = {pair.key: pair.caption for pair in draw_pairs(images(100), 50, seed=1)}
    kept = before.keys() & after.keys()
    assert len(kept) >= 40
    assert all(before[key] == after[key] for key in kept)


def test_more_pairs_than_images_are_refused():
    with pytest.raises(ValueError, match="6 pairs are asked for, but 5 images can be used"):
        draw_pairs(images(5), 6, seed=0)
