import numpy as np
import pytest
import torch

from data_schemas.records import GroundedPhrase
from tests.tokencompose_core.masking.detection_settings import SETTINGS
from tokencompose_core.masking.ground_phrases import ground_phrases
from tokencompose_core.masking.precision import PrecisionCheck, check_precision, compute_in
from tokencompose_core.pocket.floors.held_out import draw_held_out
from tokencompose_core.store.run_lengths import decode_mask, encode_mask, mask_iou

BATCH_SIZE = 3


@pytest.fixture
def models(detector, segmenter):
    return detector, segmenter


@pytest.fixture(scope="module")
def held_out():
    return [item for item in draw_held_out(30, seed=5) if item.image.size == (240, 180)][:5]


def ground(models, held_out, precision=None):
    return dict(
        ground_phrases(
            *models,
            lambda index: held_out[index].image,
            [item.image.size for item in held_out],
            [item.phrases for item in held_out],
            **SETTINGS,
            batch_size=BATCH_SIZE,
            precision=precision,
        )
    )


def phrase(mask: np.ndarray) -> GroundedPhrase:
    counts = encode_mask(mask) if mask.any() else ""
    return GroundedPhrase(text="cat", start=0, end=3, boxes=[], scores=[], mask_counts=counts)


def rectangle(columns: int) -> np.ndarray:
    mask = np.zeros((4, 10), dtype=bool)
    mask[:, :columns] = True
    return mask


def test_overlap_of_two_masks():
    half, whole = encode_mask(rectangle(5)), encode_mask(rectangle(10))
    assert mask_iou(half, whole, 4, 10) == 0.5
    assert mask_iou(half, half, 4, 10) == 1.0
    assert mask_iou(half, "", 4, 10) == mask_iou("", "", 4, 10) == 0.0


def test_mean_overlap_counts_masks_that_one_precision_lacks():
    check = PrecisionCheck("bfloat16", 0.3)
    found = [[phrase(rectangle(5)), phrase(rectangle(0))], [phrase(rectangle(0))]]
    exact = [[phrase(rectangle(8)), phrase(rectangle(3))], [phrase(rectangle(0))]]
    assert check.is_due
    check.compare(found, exact, [(10, 4)] * 2)
    assert check.iou == pytest.approx((5 / 8 + 0) / 2)
    assert check.is_due
    strict = PrecisionCheck("bfloat16", 0.4, least_masks=2)
    with pytest.raises(ValueError, match=r"the first 2 masks .* IoU of 0\.3125 with .* = 0\.4"):
        strict.compare(found, exact, [(10, 4)] * 2)


def test_batches_are_compared_until_there_are_enough_masks():
    check = PrecisionCheck("bfloat16", 0.9, least_masks=3)
    same = [[phrase(rectangle(5)), phrase(rectangle(2))]]
    for due in (True, False):
        check.compare(same, same, [(10, 4)])
        assert check.is_due is due
    assert (check.iou, len(check.overlaps)) == (1.0, 4)


def test_single_mask_that_is_lost_among_few_stops_nothing_and_two_do():
    """As in a partition of which all but one row are known: its first batch is one image."""
    lost, found = [[phrase(rectangle(0))]], [[phrase(rectangle(3))]]
    check = PrecisionCheck("bfloat16", 0.95)
    check.compare(lost, found, [(10, 4)])
    assert check.iou == 0.0
    with pytest.raises(
        ValueError, match=r"first 2 .* IoU of 0\.0000 \(0\.9000 with 18 equal ones\)"
    ):
        check.compare(found, lost, [(10, 4)])


def test_batch_without_masks_leaves_the_check_due():
    check = PrecisionCheck("bfloat16", 0.9)
    check.compare([[phrase(rectangle(0))]], [[phrase(rectangle(0))]], [(10, 4)])
    assert check.iou is None
    assert check.is_due
    assert not PrecisionCheck("float32", 0.9).is_due


def test_masks_in_bfloat16_are_close_to_those_in_float32(models, held_out):
    check = PrecisionCheck("bfloat16", 0.95, least_masks=1)
    found, exact = ground(models, held_out, check), ground(models, held_out)
    assert 0.95 < check.iou < 1.0
    # The first batch is measured as a slow loop over decoded masks would.
    overlaps, boxes_differ = [], False
    for index in range(3):
        height, width = held_out[index].image.size[::-1]
        for one, other in zip(found[index], exact[index], strict=True):
            boxes_differ |= one.boxes != other.boxes
            if one.mask_counts and other.mask_counts:
                a, b = (decode_mask(p.mask_counts, height, width) for p in (one, other))
                overlaps.append((a & b).sum() / (a | b).sum())
            elif one.mask_counts or other.mask_counts:
                overlaps.append(0.0)
    assert check.iou == pytest.approx(np.mean(overlaps))
    assert boxes_differ


def test_masks_too_far_from_float32_stop_the_stage(models, held_out):
    with pytest.raises(ValueError, match=r"mask\.precision.*bfloat16.*min_precision_iou = 1\.0"):
        ground(models, held_out, PrecisionCheck("bfloat16", 1.0))


def test_positions_of_boxes_are_not_rounded(models):
    """The corner of a box at 200.3 would become 200 or 201 with the digits of bfloat16."""
    _, segmenter = models
    seen = []
    hook = segmenter.model.prompt_encoder.register_forward_hook(
        lambda module, args, output: seen.append(output[0])
    )
    features = segmenter.encode(torch.zeros(1, 3, 256, 256))
    boxes = torch.tensor([[200.3, 10.1, 230.7, 20.9]])
    for precision in ("float32", "bfloat16"):
        with torch.inference_mode(), compute_in(torch.device("cpu"), precision):
            segmenter.decode(features, boxes)
    hook.remove()
    assert torch.equal(seen[0], seen[1])


def test_half_precision_is_refused_without_a_gpu():
    with pytest.raises(ValueError, match=r"mask\.precision: float16 needs a GPU; take bfloat16"):
        check_precision("cpu", "float16")
    check_precision("cpu", "bfloat16")
    check_precision("cpu", "float32")
