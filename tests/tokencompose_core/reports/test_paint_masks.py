"""Masks over pictures of any size."""

import colorsys

import numpy as np
import pytest
from PIL import Image

from tests.tokencompose_core.reports.grounded_rows import GREY, phrase, sample, write_index
from tokencompose_core.reports.paint_masks import COLOURS, colour_of, crop_phrase, paint_sample
from tokencompose_core.reports.pick_samples import read_rows

CAPTION = "A cat and a dog."


def indexed(tmp_path, phrases, size):
    row = sample(tmp_path, "a", CAPTION, phrases, size)
    return Image.open(tmp_path / "a.png"), read_rows(
        write_index(tmp_path / "s", [row], tmp_path), {"a"}
    )["a"]


def test_each_phrase_has_its_colour_on_its_mask_and_nothing_else_changes(tmp_path):
    image, row = indexed(
        tmp_path,
        [
            phrase(CAPTION, "cat", (0, 0, 40, 80), 0.5, (160, 80)),
            phrase(CAPTION, "dog", (120, 0, 160, 80), 0.5, (160, 80)),
        ],
        (160, 80),
    )
    pixels = np.asarray(paint_sample(image, row, 160)).astype(int)
    assert pixels.shape == (80, 160, 3)
    for number, columns in ((0, slice(4, 36)), (1, slice(124, 156))):
        expected = 0.55 * GREY + 0.45 * np.array(colour_of(number))
        assert np.abs(pixels[4:-4, columns] - expected).max() <= 1
    assert np.array_equal(pixels[:, 44:116], np.full((80, 72, 3), GREY))
    assert tuple(pixels[40, 39]) == colour_of(0)  # the outline


def test_colours_differ_and_none_is_red():
    assert len(set(COLOURS)) == len(COLOURS)
    for colour in COLOURS:
        hue = 360 * colorsys.rgb_to_hsv(*(value / 255 for value in colour))[0]
        assert 30 < hue < 330


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3000, 40), (33, 2000)])
def test_any_size_is_drawn_and_a_mask_of_one_pixel_still_shows(tmp_path, size):
    image, row = indexed(tmp_path, [phrase(CAPTION, "cat", (0, 0, 1, 1), 0.5, size)], size)
    drawn = paint_sample(image, row, 100)
    assert max(drawn.size) == 100
    assert np.asarray(drawn)[0, 0].tolist() == pytest.approx(list(colour_of(0)), abs=60)
    assert np.asarray(drawn)[0, 0].tolist() != [GREY] * 3
    crop = crop_phrase(Image.open(tmp_path / "a.png"), row, 0, 50)
    assert max(crop.size) == 50
    assert np.asarray(crop)[0, 0].tolist() != [GREY] * 3


def test_crop_shows_the_box_or_without_one_the_mask(tmp_path):
    size = (400, 300)
    scored = phrase(CAPTION, "cat", (200, 100, 300, 200), 0.5, size)
    unscored = phrase(CAPTION, "dog", (200, 100, 300, 200), None, size)
    assert unscored.boxes == []
    image, row = indexed(tmp_path, [scored, unscored], size)
    for number in range(2):
        pixels = np.asarray(crop_phrase(image, row, number, 140)).astype(int)
        assert pixels.shape == (140, 140, 3)
        # 100 pixels of the mask within 140 of the picture.
        painted = (pixels != GREY).any(axis=2)
        assert painted[:19].sum() == painted[:, :19].sum() == painted[-19:].sum() == 0
        assert painted[21:119, 21:119].all()
