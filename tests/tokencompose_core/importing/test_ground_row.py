import numpy as np
import pytest
from PIL import Image

from data_schemas.records import SelectedImage
from tokencompose_core.importing.digest_rows import digest_rows
from tokencompose_core.importing.ground_row import ground_row
from tokencompose_core.importing.read_rows import ListedNoun, ListedRow
from tokencompose_core.selection.candidates import roots_of
from tokencompose_core.store.run_lengths import decode_mask

LEFT = np.zeros((6, 9), dtype=bool)
LEFT[2:4, 1:3] = True
RIGHT = np.zeros((6, 9), dtype=bool)
RIGHT[1:6, 7:9] = True
IMAGE = SelectedImage(key="k", image_path="k.png", image_sha256="0", captions=["A cat, a dog."])


@pytest.fixture
def masks_dir(tmp_path):
    for name, mask in (("left", LEFT), ("right", RIGHT), ("black", np.zeros_like(LEFT))):
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
    return tmp_path


def ground(masks_dir, *nouns, black_masks="whole_image"):
    row = ListedRow("A cat, a dog.", tuple(ListedNoun(*noun) for noun in nouns))
    return ground_row(IMAGE, (9, 6), row, roots_of(masks_dir), black_masks)


def test_masks_of_a_noun_that_is_listed_again_are_united(masks_dir):
    nouns = [("cat", "left.png"), ("dog", None), ("cat", "right.png"), ("cat", "left.png")]
    caption, rejections, facts = ground(masks_dir, *nouns)
    cat, dog = caption.phrases
    assert np.array_equal(decode_mask(cat.mask_counts, 6, 9), LEFT | RIGHT)
    assert (cat.boxes, cat.scores) == ([[1, 1, 9, 6]], [])
    assert (dog.boxes, dog.mask_counts) == ([], "")
    assert [(str(r.reason), r.detail) for r in rejections] == [("phrase-without-mask", "dog: null")]
    assert facts["nouns_listed_again"] == 2
    assert facts["masks_of_two_nouns"] == 0


def test_mask_of_two_nouns_is_given_to_both_and_counted(masks_dir):
    caption, rejections, facts = ground(masks_dir, ("dog", "left.png"), ("cat", "left.png"))
    assert [phrase.text for phrase in caption.phrases] == ["cat", "dog"]
    assert {phrase.mask_counts for phrase in caption.phrases} == {caption.phrases[0].mask_counts}
    assert rejections == []
    assert facts["masks_of_two_nouns"] == 1


@pytest.mark.parametrize(("black_masks", "area"), [("whole_image", 54), ("none", 4)])
def test_black_mask_is_the_whole_image_or_nothing(masks_dir, black_masks, area):
    caption, rejections, facts = ground(
        masks_dir, ("cat", "black.png"), ("cat", "left.png"), black_masks=black_masks
    )
    assert decode_mask(caption.phrases[0].mask_counts, 6, 9).sum() == area
    assert [str(r.reason) for r in rejections] == ["phrase-without-mask"] * (area == 4)
    assert facts["black_masks"] == 1


@pytest.mark.parametrize(
    ("nouns", "reasons"),
    [
        ([], ["no-noun"]),
        ([("cat", None)], ["phrase-without-mask", "no-mask"]),
        ([("cow", "left.png")], ["phrase-not-in-caption", "no-mask"]),
    ],
)
def test_caption_without_a_mask_is_left_out_with_all_reasons(masks_dir, nouns, reasons):
    caption, rejections, _ = ground(masks_dir, *nouns)
    assert caption is None
    assert [str(rejection.reason) for rejection in rejections] == reasons


def test_digest_follows_the_masks_by_content_and_no_other_image(masks_dir):
    rows = {key: [ListedRow("A cat.", (ListedNoun("cat", f"{key}.png"),))] for key in ("left", "x")}

    def digests():
        return [digest_rows([key], rows, masks_dir) for key in rows]

    left, absent = digests()
    Image.fromarray(LEFT).save(masks_dir / "x.png")
    arrived = digests()
    assert arrived[0] == left
    assert arrived[1] != absent
    Image.fromarray(RIGHT).save(masks_dir / "left.png")
    assert digests()[0] != left
    assert digests()[1] == arrived[1]
