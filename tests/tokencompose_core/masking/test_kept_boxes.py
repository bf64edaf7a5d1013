"""Which of a detector's boxes are kept, by hand: the detector says what the test has it say."""

import pytest
import torch
from PIL import Image

from data_schemas.records import NounPhrase
from tests.tokencompose_core.masking.detection_settings import SETTINGS
from tokencompose_core.masking.detect_phrases import detect_phrases
from tokencompose_core.masking.ground_phrases import ground_phrases

# Of an image of 100 by 200 pixels, centre, width and height as shares of it.
PLACE = (0.5, 0.5, 0.4, 0.4)  # 30, 60 to 70, 140
ALIKE = (0.5, 0.5, 0.4, 0.36)  # of which it holds nine tenths
CORNER = (0.1, 0.1, 0.1, 0.1)  # 5, 10 to 15, 30
BESIDE = (1.2, 0.5, 0.2, 0.2)  # begins where the image has ended
CAT, CUP = 1, 3  # places in "[CLS] cat . cup . [SEP]"
SAID = [
    (ALIKE, CAT, 0.625),
    (BESIDE, CAT, 0.875),
    (PLACE, CUP, 0.6875),
    (CORNER, CAT, 0.3125),
    (PLACE, CAT, 0.75),
    (CORNER, CUP, 0.25),  # at the threshold and not above it
]


class SayingDetector:
    """Answers every prompt with the same boxes."""

    max_text_len = 256
    device = torch.device("cpu")

    def __init__(self, tokenizer) -> None:
        self.tokenizer = tokenizer

    def detect(self, pixels, prompts):
        probabilities = torch.full((len(prompts), len(SAID), 256), 0.001)
        for row, (_, token, score) in enumerate(SAID):
            probabilities[:, row, token] = score
        return probabilities, torch.tensor([box for box, *_ in SAID]).repeat(len(prompts), 1, 1)


KEPT = [(0, 0.75, (30, 60, 70, 140)), (1, 0.6875, (30, 60, 70, 140)), (0, 0.3125, (5, 10, 15, 30))]


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        ((0.25, 0.25), KEPT),
        ((0.25, 0.5), KEPT[:2]),
        ((0.5, 0.25), KEPT[:2]),
        ((0.25, 0.6875), KEPT[:1]),
        ((0.9, 0.25), []),
    ],
)
def test_boxes_above_both_thresholds_and_the_best_of_a_phrase_in_a_place(
    detector, segmenter, thresholds, expected
):
    own = SayingDetector(detector.tokenizer)
    image = Image.new("RGB", (100, 200))
    options = SETTINGS | dict(zip(("box_threshold", "text_threshold"), thresholds, strict=True))
    (found,) = detect_phrases(own, [image], [["cat", "cup"]], **options)
    assert [(box.phrase_index, box.score) for box in found] == [box[:2] for box in expected]
    for box, (*_, corners) in zip(found, expected, strict=True):
        assert box.box_xyxy == pytest.approx(corners, abs=1e-3)
    words = [NounPhrase(text="cat", start=0, end=3), NounPhrase(text="cup", start=4, end=7)]
    [(_, phrases)] = ground_phrases(
        own, segmenter, lambda _: image, [image.size], [words], **options, batch_size=1
    )
    assert [phrase.scores for phrase in phrases] == [
        [score for index, score, _ in expected if index == number] for number in (0, 1)
    ]
