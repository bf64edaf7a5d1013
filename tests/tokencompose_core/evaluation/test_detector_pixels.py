"""Pixels are those of transformers' slow processors, for every size."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from transformers import Owlv2ImageProcessor, OwlViTImageProcessor

from tests.conftest import MODELS
from tokencompose_core.evaluation.owlv2_pixels import check_owlv2_processor, owlv2_pixels
from tokencompose_core.evaluation.owlvit_pixels import check_owlvit_processor, owlvit_pixels

CPU = torch.device("cpu")
# The processors take a picture of 1 or 3 rows for one with its channels first.
sides = st.integers(1, 330).filter(lambda side: side not in (1, 3))


def noise(width: int, height: int) -> Image.Image:
    """The hardest picture: no pixel says anything about the next."""
    rng = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def largest_difference(pixels, processor, image: Image.Image) -> float:
    images = [image, ImageOps.mirror(image)]
    wanted = processor(images, return_tensors="pt").pixel_values
    found = pixels(images, processor, CPU)
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max())


@given(sides, sides, st.integers(8, 130), st.integers(8, 130))
@example(64, 64, 96, 96)  # the pocket profile
@example(96, 96, 96, 96)
@example(97, 96, 96, 96)  # shrinks, but too little for a Gaussian of more than one pixel
@example(330, 2, 8, 130)  # nearly all padding, smoothed over its whole length
@settings(max_examples=60, deadline=None)
def test_owlv2_pixels_are_those_of_the_slow_processor(width, height, out_width, out_height):
    processor = Owlv2ImageProcessor(size={"height": out_height, "width": out_width})
    assert largest_difference(owlv2_pixels, processor, noise(width, height)) < 2e-4


@pytest.mark.parametrize("size", [(512, 512), (640, 427), (1200, 1100)])
def test_owlv2_pixels_at_the_published_size(size):
    processor = Owlv2ImageProcessor(size={"height": 1008, "width": 1008})
    assert largest_difference(owlv2_pixels, processor, noise(*size)) < 2e-4


def test_owlv2_pixels_with_the_pocket_models_processor():
    processor = Owlv2ImageProcessor.from_pretrained(MODELS / "owlv2")
    assert largest_difference(owlv2_pixels, processor, noise(240, 180)) < 2e-4


@given(sides, sides, st.integers(8, 130), st.integers(8, 130))
@example(512, 512, 768, 768)
@settings(max_examples=40, deadline=None)
def test_owlvit_pixels_are_those_of_the_slow_processor(width, height, out_width, out_height):
    processor = OwlViTImageProcessor(size={"height": out_height, "width": out_width})
    assert largest_difference(owlvit_pixels, processor, noise(width, height)) < 1e-5


def test_a_processor_that_does_something_else_is_refused():
    with pytest.raises(ValueError, match="do_pad = false; it must be true"):
        check_owlv2_processor(Owlv2ImageProcessor(do_pad=False))
    with pytest.raises(ValueError, match="do_center_crop = true; it must be false"):
        check_owlvit_processor(OwlViTImageProcessor(do_center_crop=True))
    check_owlv2_processor(Owlv2ImageProcessor())
    check_owlvit_processor(OwlViTImageProcessor())
