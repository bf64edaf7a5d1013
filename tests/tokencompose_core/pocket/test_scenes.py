import random

import numpy as np
import pytest

from tokencompose_core.pocket.categories import CATEGORIES, COLOURS
from tokencompose_core.pocket.drawing import draw_object_indices, draw_scene
from tokencompose_core.pocket.pools import draw_pool
from tokencompose_core.pocket.scenes import (
    Scene,
    SceneObject,
    relation_of,
    sample_habitual_names,
    sample_scene,
    sample_varied_names,
)


def make_scene(seed, **options):
    rng = random.Random(seed)
    return sample_scene(rng, sample_varied_names(rng), width=200, height=160, **options)


def test_world_has_categories_of_two_words_and_one_that_clip_splits():
    import open_clip

    names = [category.name for category in CATEGORIES]
    assert len(names) >= 16
    assert len(set(names)) == len(names)
    assert sum(" " in name for name in names) >= 3
    tokenizer = open_clip.SimpleTokenizer()
    assert any(" " not in name and len(tokenizer.encode(name)) == 2 for name in names)


def test_scene_is_a_function_of_its_seed():
    assert make_scene(3) == make_scene(3)
    assert make_scene(3) != make_scene(4)
    assert np.array_equal(
        np.asarray(draw_scene(make_scene(3))), np.asarray(draw_scene(make_scene(3)))
    )


def test_every_object_is_visible_and_lies_in_the_picture():
    for seed in range(60):
        scene = make_scene(seed, twin_share=0.2)
        assert 1 <= len(scene.objects) <= 5
        indices = draw_object_indices(scene)
        assert indices.min() >= -1
        assert indices.max() < len(scene.objects)
        for number, item in enumerate(scene.objects):
            rows, columns = np.nonzero(indices == number)
            assert len(rows) > 40, (seed, item.category.name)
            x0, y0, x1, y1 = item.box_xyxy
            assert columns.min() >= x0 - 3
            assert columns.max() <= x1 + 3
            assert rows.min() >= y0 - 3
            assert rows.max() <= y1 + 3


def test_object_in_front_hides_the_one_behind():
    def item(category, colour):
        return SceneObject(category, colour, 50.0, 50.0, 60.0, 0.0, False, "plain")

    cup, donut = CATEGORIES[5], CATEGORIES[7]
    scene = Scene(100, 100, "snow", 0.5, 0.0, (item(cup, "red"), item(donut, "blue")))
    alone = Scene(100, 100, "snow", 0.5, 0.0, (item(donut, "blue"),))
    front = draw_object_indices(scene) == 1
    assert np.array_equal(front, draw_object_indices(alone) == 0)
    assert 0 < (draw_object_indices(scene) == 0).sum() < front.sum()


def test_colours_say_nothing_about_categories():
    seen = {}
    for seed in range(1500):
        for item in make_scene(seed).objects:
            seen.setdefault(item.category.name, set()).add(item.colour)
    assert all(colours == set(COLOURS) for colours in seen.values())
    assert len(seen) == len(CATEGORIES)


def test_habitual_scenes_stay_within_their_surroundings_and_varied_ones_do_not():
    group = {category.name: category.supercategory for category in CATEGORIES}
    habitual = [sample_habitual_names(random.Random(seed)) for seed in range(400)]
    assert all(len({group[name] for name in names}) == 1 for names in habitual)
    assert 0.35 < sum(len(names) == 1 for names in habitual) / 400 < 0.55
    varied = [sample_varied_names(random.Random(seed)) for seed in range(400)]
    mixed = sum(len({group[name] for name in names}) > 1 for names in varied)
    assert mixed > 300


def test_too_many_or_no_categories_are_refused():
    rng = random.Random(0)
    for names in ([], [category.name for category in CATEGORIES[:6]]):
        with pytest.raises(ValueError, match="1 to 5 categories"):
            sample_scene(rng, names, width=64, height=64)


def test_relation_is_read_off_the_boxes():
    def item(x, y):
        return SceneObject(CATEGORIES[0], "red", x, y, 20.0, 0.0, False, "plain")

    assert relation_of(item(10, 50), item(80, 55), subject_in_front=False) == "left of"
    assert relation_of(item(80, 55), item(10, 50), subject_in_front=False) == "right of"
    assert relation_of(item(50, 10), item(55, 80), subject_in_front=False) == "above"
    assert relation_of(item(50, 80), item(55, 10), subject_in_front=False) == "below"
    assert relation_of(item(50, 50), item(55, 55), subject_in_front=True) == "in front of"
    assert relation_of(item(50, 50), item(55, 55), subject_in_front=False) == "behind"


def test_pool_does_not_depend_on_how_the_work_is_split():
    small = draw_pool("varied", 20, size=(32, 32), seed=1, with_indices=True)
    large = draw_pool("varied", 300, size=(32, 32), seed=1, with_indices=True)
    assert large.scenes[:20] == small.scenes
    assert np.array_equal(large.images[:20], small.images)
    assert np.array_equal(large.indices[:20], small.indices)
