import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tokencompose_core.training.crop import (
    crop_holds,
    crop_image,
    crop_mask,
    describe_crop,
    reduce_mask,
)


def disc(side: int, radius: float, centre: tuple[float, float]) -> np.ndarray:
    rows, columns = np.indices((side, side))
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def test_image_and_mask_have_the_same_geometry():
    mask = np.zeros((60, 100), dtype=bool)
    mask[10:30, 40:70] = True
    image = Image.fromarray(np.where(mask[..., None], 255, 0).astype(np.uint8).repeat(3, axis=2))
    pixels = crop_image(image, 32)
    assert pixels.shape == (3, 32, 32)
    assert torch.allclose((pixels[0] + 1) / 2, crop_mask(mask, 32), atol=0.01)


@given(st.integers(16, 60), st.integers(16, 60))
def test_described_crop_begins_where_the_pixels_do(height, width):
    height, width = (16, width) if height < width else (height, 16)
    rows, columns = np.indices((height, width), dtype=np.uint8)
    image = Image.fromarray(np.stack([rows, columns, rows], axis=2))
    first = ((crop_image(image, 16)[:2, 0, 0] + 1) / 2 * 255).round().int().tolist()
    assert describe_crop(height, width, 16) == [height, width, *first, 16, 16]


def test_described_crop_is_of_the_resized_image():
    # 480 x 640 becomes 512 x 682, of which 85 columns to the left are cut off.
    assert describe_crop(480, 640, 512) == [480, 640, 0, 85, 512, 512]
    assert describe_crop(1024, 256, 64) == [1024, 256, 96, 0, 64, 64]


def test_crop_keeps_the_middle_of_the_long_side():
    mask = np.zeros((20, 60), dtype=bool)
    mask[:, :15] = True
    assert not crop_mask(mask, 20).any()
    mask[:, 20:40] = True
    assert bool((crop_mask(mask, 20) > 0.5).all())


@given(st.floats(1.0, 30.0), st.integers(0, 63), st.integers(0, 63), st.sampled_from([4, 8, 16]))
def test_coverage_loses_no_object_and_keeps_its_area(radius, row, column, size):
    mask = torch.from_numpy(disc(64, radius, (row, column)).astype(np.float32))
    reduced = reduce_mask(mask, size, "coverage")
    cells = float(mask.mean()) * size * size
    assert int(reduced.sum()) == max(1, round(cells))


def test_coverage_takes_the_cells_that_are_covered_most():
    mask = torch.zeros(8, 8)
    mask[0:4, 0:4] = 1.0
    mask[0:2, 4:6] = 1.0
    assert reduce_mask(mask, 2, "coverage").tolist() == [[True, False], [False, False]]
    assert not reduce_mask(torch.zeros(8, 8), 2, "coverage").any()


def test_reductions_of_random_ellipses_behave_as_published_code_did():
    """Without antialiasing small masks vanish, with it all swell; coverage does neither."""
    generator = np.random.default_rng(0)
    masks = []
    for _ in range(200):
        area = np.exp(generator.uniform(np.log(0.001), np.log(0.5))) * 512**2
        ratio = generator.uniform(0.5, 2.0)
        a, b = np.sqrt(area * ratio / np.pi), np.sqrt(area / ratio / np.pi)
        y, x = generator.uniform(60, 450, 2)
        rows, columns = np.indices((512, 512))
        mask = ((rows - y) / b) ** 2 + ((columns - x) / a) ** 2 <= 1
        masks.append(torch.from_numpy(mask.astype(np.float32)))
    truth = sum(float(mask.mean()) for mask in masks)
    vanished, area = {}, {}
    for reduction in ("released", "antialiased", "coverage"):
        reduced = [reduce_mask(mask, 8, reduction) for mask in masks]
        vanished[reduction] = sum(not bool(mask.any()) for mask in reduced) / len(masks)
        area[reduction] = sum(float(mask.float().mean()) for mask in reduced) / truth
    assert vanished["released"] > 0.2
    assert vanished["antialiased"] == vanished["coverage"] == 0.0
    assert area["antialiased"] > 2.5
    assert area["released"] == pytest.approx(1.0, abs=0.2)
    assert area["coverage"] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("image", "thing"),
    [
        ((3000, 4000), (slice(500, 2500), slice(1998, 2001))),  # a pole in a photograph
        ((3000, 4000), (slice(1500, 1504), slice(2000, 2004))),  # a kite far away
        ((480, 640), (slice(100, 300), slice(559, 560))),  # in the last column of the crop
        ((480, 640), (slice(0, 1), slice(80, 81))),  # in its corner
        ((64, 64), (slice(63, 64), slice(0, 1))),
    ],
)
def test_crop_holds_whatever_is_visible_and_coverage_finds_a_cell_for_it(image, thing):
    mask = np.zeros(image, dtype=bool)
    mask[thing] = True
    assert crop_holds(mask, 512)
    assert bool(reduce_mask(crop_mask(mask, 512), 64, "coverage").any())


@pytest.mark.parametrize(
    ("column", "is_seen"), [(1, False), (2, True), (3, True), (21, True), (22, True), (23, False)]
)
def test_crop_holds_pixels_that_its_border_cuts(column, is_seen):
    """A side of 16 is 20 pixels of 24: with 19 resized and 1 or 2 of them cut off, 2.5 to 22.5."""
    mask = np.zeros((20, 24), dtype=bool)
    mask[:, column] = True
    for own in (mask, mask.T):
        assert crop_holds(own, 16) == is_seen
        assert bool(crop_mask(own, 16).any()) == is_seen


def test_crop_holds_nothing_of_what_ends_at_its_border():
    mask = np.zeros((480, 640), dtype=bool)
    mask[:, :80] = mask[:, 560:] = True
    assert not crop_holds(mask, 480)
    assert not crop_holds(mask, 240)
    assert bool(crop_mask(mask, 240).any())  # resized, it reaches in


def test_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="'nearest' is none of"):
        reduce_mask(torch.zeros(8, 8), 2, "nearest")
