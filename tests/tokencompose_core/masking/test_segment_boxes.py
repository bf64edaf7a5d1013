import numpy as np
import pytest
import torch
from PIL import Image
from segment_anything_hq import SamPredictor

from tests.conftest import MODELS
from tokencompose_core.masking.sam_hq import load_sam_hq
from tokencompose_core.masking.segment_boxes import (
    decode_boxes,
    prepare_for_segmenter,
    segment_boxes,
    unite_masks,
)
from tokencompose_core.pocket.floors.held_out import draw_held_out


class BoxesThemselves:
    """A segmenter whose masks are the boxes, and that counts how many it is given at once."""

    image_size = 256
    device = torch.device("cpu")

    def __init__(self):
        self.given = []

    def encode(self, pixels):
        assert pixels.shape == (1, 3, 256, 256)
        self.seen = pixels[0]
        return pixels

    def decode(self, features, boxes_xyxy):
        self.given.append(len(boxes_xyxy))
        centres = torch.arange(64) * 4 + 2
        left, top, right, bottom = boxes_xyxy.T[:, :, None]
        columns = (left < centres) & (centres < right)
        rows = (top < centres) & (centres < bottom)
        return (rows[:, :, None] & columns[:, None, :]).float() * 2 - 1


@pytest.mark.parametrize("size", [(512, 384), (200, 300), (90, 90)])
def test_masks_lie_where_boxes_are_at_the_size_of_the_image(size):
    width, height = size
    box = [width * 0.25, height * 0.5, width * 0.75, height]
    mask = segment_boxes(BoxesThemselves(), Image.new("RGB", size), [box])[0]
    assert mask.shape == (height, width)
    true = np.zeros_like(mask)
    true[round(box[1]) :, round(box[0]) : round(box[2])] = True
    assert (mask != true).mean() < 0.03


def test_encoder_sees_normalised_colours_and_zeros_beside_the_image():
    """Colours that SAM was trained with, as its authors' `build_sam` has them."""
    segmenter = BoxesThemselves()
    segment_boxes(segmenter, Image.new("RGB", (100, 50), (255, 128, 0)), [[0, 0, 9, 9]])
    red, green, blue = segmenter.seen
    for colour, value, mean, deviation in (
        *((red, 255, 123.675, 58.395), (green, 128, 116.28, 57.12)),
        (blue, 0, 103.53, 57.375),
    ):
        expected = torch.full((128, 256), (value - mean) / deviation)
        torch.testing.assert_close(colour[:128], expected, rtol=0, atol=1e-5)
        assert not colour[128:].any()


def test_no_more_boxes_are_decoded_at_once_than_asked_for():
    segmenter, image = BoxesThemselves(), Image.new("RGB", (512, 384))
    boxes = [[n, n, n + 200.0, n + 150.0] for n in range(0, 230, 10)]
    pixels = prepare_for_segmenter(segmenter, image)
    logits = decode_boxes(segmenter, pixels, image.size, boxes, boxes_at_once=10)
    assert segmenter.given == [10, 10, 3]
    alone = decode_boxes(segmenter, pixels, image.size, boxes[22:], boxes_at_once=10)
    assert torch.equal(alone[0], logits[22])


def test_united_mask_is_everything_in_any_of_the_masks():
    segmenter, image = BoxesThemselves(), Image.new("RGB", (120, 160))
    boxes = [[0.0, 0.0, 50.0, 50.0], [60.0, 90.0, 120.0, 160.0], [30.0, 30.0, 80.0, 70.0]]
    pixels = prepare_for_segmenter(segmenter, image)
    logits = decode_boxes(segmenter, pixels, image.size, boxes)
    united = unite_masks(segmenter, logits, pixels, image.size)
    assert np.array_equal(united, segment_boxes(segmenter, image, boxes).any(axis=0))
    assert not unite_masks(segmenter, logits[:0], pixels, image.size).any()


def test_masks_are_those_of_the_packages_own_predictor():
    segmenter = load_sam_hq(MODELS / "sam_hq/config.json", MODELS / "sam_hq/model.safetensors")
    predictor = SamPredictor(segmenter.model)
    boxes = [[10.0, 20.0, 90.0, 120.0], [60.0, 30.0, 150.0, 160.0]]
    for item in draw_held_out(3, seed=9):
        predictor.set_image(np.asarray(item.image))
        own = [predictor.predict(box=np.array(b), multimask_output=False)[0][0] for b in boxes]
        assert (segment_boxes(segmenter, item.image, boxes) != np.stack(own)).mean() < 1e-4
