"""Sheets of pictures with masks."""

import tracemalloc

import numpy as np
from PIL import Image

from data_schemas.records import GroundedPhrase
from tokencompose_core.reports.contact_sheet import draw_mask_sheet
from tokencompose_core.store.run_lengths import encode_mask


def phrase(box: tuple[int, int, int, int], size: tuple[int, int]) -> GroundedPhrase:
    left, top, right, bottom = box
    mask = np.zeros(size[::-1], dtype=bool)
    mask[top:bottom, left:right] = True
    return GroundedPhrase(
        text="cat", start=2, end=5, boxes=[list(box)], scores=[0.5], mask_counts=encode_mask(mask)
    )


def test_large_picture_looks_on_the_sheet_like_the_same_picture_small():
    sheets = []
    for scale in (1, 6):
        size = (640 * scale, 320 * scale)
        own = phrase((160 * scale, 80 * scale, 480 * scale, 240 * scale), size)
        image = Image.new("RGB", size, "white")
        sheets.append(np.asarray(draw_mask_sheet([image], ["A cat"], [[own]])).astype(int))
    assert np.array_equal(*sheets)
    margin = 6
    assert tuple(sheets[0][margin + 50, margin + 100]) == (242, 156, 162)  # half of red, on white
    assert tuple(sheets[0][margin + 10, margin + 100]) == (255, 255, 255)


def test_large_pictures_are_opened_and_painted_one_after_the_other():
    """Of the memory that Python counts: masks and colours, of which there were nine at a time."""
    size = (3000, 2000)
    own = phrase((1000, 500, 2000, 1500), size)
    tracemalloc.start()
    opened = []

    def open_pictures():
        for number in range(9):
            opened.append(number)
            yield Image.new("RGB", size, "white")

    draw_mask_sheet(open_pictures(), ["A cat"] * 9, [[own]] * 9)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert opened == list(range(9))
    assert peak < 4 * size[0] * size[1]  # a byte a pixel of a mask; colours at full size take 12
