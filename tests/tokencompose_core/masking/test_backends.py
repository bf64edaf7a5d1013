"""The models of both packages with the same weights, which were written independently."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import MODELS
from tests.tokencompose_core.masking.detection_settings import SETTINGS
from tokencompose_core.masking.convert_grounding_dino import convert_grounding_dino, renumber
from tokencompose_core.masking.convert_sam_hq import convert_sam_hq
from tokencompose_core.masking.detect_phrases import detect_phrases, prepare_image
from tokencompose_core.masking.grounding_dino import (
    PackagedGroundingDino,
    build_grounding_dino,
    load_grounding_dino,
    load_grounding_dino_config,
)
from tokencompose_core.masking.prompts import build_prompt
from tokencompose_core.masking.sam_hq import load_sam_hq
from tokencompose_core.masking.segment_boxes import segment_boxes
from tokencompose_core.masking.transformers_grounding_dino import (
    PHRASE_ENDS,
    load_transformers_grounding_dino,
)
from tokencompose_core.masking.transformers_sam_hq import load_transformers_sam_hq
from tokencompose_core.pocket.floors.held_out import HeldOut, draw_held_out
from tokencompose_core.pocket.floors.overlap import box_of, mask_iou

DINO = MODELS / "grounding_dino"
SAM = MODELS / "sam_hq"
OF_DINO = (DINO / "config.json", DINO / "model.safetensors", str(DINO / "bert"))
OF_SAM = (SAM / "config.json", SAM / "model.safetensors")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted")
    convert_grounding_dino(*OF_DINO, folder / "dino")
    convert_sam_hq(*OF_SAM, folder / "sam")
    return folder


@pytest.fixture(scope="module")
def detectors(converted):
    return load_grounding_dino(*OF_DINO), load_transformers_grounding_dino(str(converted / "dino"))


@pytest.fixture(scope="module")
def segmenters(converted):
    return load_sam_hq(*OF_SAM), load_transformers_sam_hq(str(converted / "sam"))


@pytest.fixture(scope="module")
def held_out():
    return draw_held_out(16, seed=7)


def of_one_shape(held_out: Sequence[HeldOut]) -> tuple[torch.Tensor, list[str]]:
    """Images that make a batch, with prompts of unlike lengths."""
    pixels = [prepare_image(item.image, 112, 144) for item in held_out]
    same = [n for n, image in enumerate(pixels) if image.shape == pixels[0].shape]
    assert len(same) > 2
    words = [[p.text for p in held_out[n].phrases] + ["zebra crossing"] * (n % 2) for n in same]
    return torch.stack([pixels[n] for n in same]), [build_prompt(own)[0] for own in words]


@torch.inference_mode()
def differences(detectors, pixels, prompts) -> tuple[float, float]:
    """Largest difference of a probability, and of a side of a box."""
    ours, theirs = (detector.detect(pixels, prompts) for detector in detectors)
    return tuple(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))


def test_both_detectors_give_the_same_probabilities_and_boxes(detectors, held_out):
    pixels, prompts = of_one_shape(held_out)
    assert max(differences(detectors, pixels, prompts)) < 1e-5
    noise = torch.randn(2, 3, 97, 141, generator=torch.Generator().manual_seed(0))
    assert max(differences(detectors, noise, prompts[:2])) < 1e-5


def test_prompts_longer_than_the_text_encoder_are_cut_alike(detectors, held_out):
    pixels = prepare_image(held_out[0].image, 112, 144)[None]
    for prompt in ("cat . " * 200, "cat . " + "umbrella qzx " * 120 + " . dog ."):
        assert len(detectors[0].tokenizer(prompt).input_ids) > detectors[1].max_text_len
        assert max(differences(detectors, pixels, [prompt])) < 1e-5


def test_phrases_get_the_same_boxes_from_both_detectors(detectors, held_out):
    images = [item.image for item in held_out]
    phrases = [[phrase.text for phrase in item.phrases] for item in held_out]
    ours, theirs = (detect_phrases(d, images, phrases, **SETTINGS) for d in detectors)
    assert sum(map(len, ours)) > 20
    for own, other in zip(ours, theirs, strict=True):
        assert [b.phrase_index for b in own] == [b.phrase_index for b in other]
        boxes = [[box.box_xyxy for box in found] for found in (own, other)]
        assert np.allclose(*boxes, rtol=0, atol=1e-2)


def test_texts_of_a_batch_disturb_each_other_unless_kept_apart(detectors, held_out):
    """Transformers confirms what `keep_texts_apart` mends in groundingdino-py."""
    config, _, text_encoder = OF_DINO
    plain = build_grounding_dino(load_grounding_dino_config(config, text_encoder)).eval()
    plain.load_state_dict(detectors[0].model.state_dict())
    as_packaged = (PackagedGroundingDino(plain), detectors[1])
    pixels, prompts = of_one_shape(held_out)
    assert max(differences(as_packaged, pixels[:1], prompts[:1])) < 1e-5
    assert max(differences(as_packaged, pixels, prompts)) > 1e-3


def test_detectors_part_at_boxes_thinner_than_a_thousandth(tmp_path, held_out):
    """Refinement starts at 1/1,000 of the image in groundingdino-py, 1/100,000 in transformers."""
    state = load_file(DINO / "model.safetensors")
    for name in state:
        if name.endswith("enc_out_bbox_embed.layers.2.bias"):
            state[name] = torch.tensor([0.0, 0.0, -9.0, 0.0])
    save_file(state, tmp_path / "thin.safetensors")
    config, _, text_encoder = OF_DINO
    convert_grounding_dino(config, tmp_path / "thin.safetensors", text_encoder, tmp_path / "thin")
    ours = load_grounding_dino(config, tmp_path / "thin.safetensors", text_encoder)
    theirs = load_transformers_grounding_dino(str(tmp_path / "thin"))
    pixels, prompts = of_one_shape(held_out)
    with torch.inference_mode():
        widths = [d.detect(pixels, prompts)[1][..., 2].median() for d in (ours, theirs)]
    assert widths[0] > 10 * widths[1]


def test_both_segmenters_give_the_same_masks(segmenters, held_out):
    overlaps = []
    for item in held_out[:6]:
        boxes = [
            box_of(item.indices == number)
            for number in range(len(item.scene.objects))
            if (item.indices == number).sum() > 40
        ]
        ours, theirs = (segment_boxes(model, item.image, boxes) for model in segmenters)
        assert ours.any(axis=(1, 2)).all()
        overlaps += [mask_iou(one, other) for one, other in zip(ours, theirs, strict=True)]
    assert len(overlaps) > 10
    assert min(overlaps) > 0.999


def test_words_keep_their_embeddings_when_ends_of_phrases_move():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "?", *(f"w{n}" for n in range(100))]
    embeddings = torch.randn(len(words), 3)
    order, moved = renumber({word: place for place, word in enumerate(words)}, embeddings)
    assert moved.shape == (len(order), 3)
    assert len(order) == len(set(order)) == 1030
    assert {word: order.index(word) for word in PHRASE_ENDS} == PHRASE_ENDS
    assert order[0] == "[PAD]"
    for place, word in enumerate(words):
        assert torch.equal(moved[order.index(word)], embeddings[place])


def test_vocabulary_of_bert_stays_as_it_is():
    words = [f"w{n}" for n in range(1200)]
    for word, place in PHRASE_ENDS.items():
        words[place] = word
    embeddings = torch.randn(1200, 2)
    order, same = renumber({word: place for place, word in enumerate(words)}, embeddings)
    assert order == words
    assert same is embeddings


def test_models_that_transformers_would_take_in_silence_are_refused(tmp_path, converted):
    with pytest.raises(ValueError, match=r"type 'sam_hq', but 'grounding-dino' is needed"):
        load_transformers_grounding_dino(str(converted / "sam"))
    with pytest.raises(ValueError, match=r"type 'grounding-dino', but 'sam_hq' is needed"):
        load_transformers_sam_hq(str(converted / "dino"))
    for kind in ("dino", "sam"):
        (tmp_path / kind).mkdir()
        for path in (converted / kind).iterdir():
            (tmp_path / kind / path.name).write_bytes(path.read_bytes())
    state = load_file(tmp_path / "sam/model.safetensors")
    del state["mask_decoder.hq_token.weight"]
    save_file(state, tmp_path / "sam/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights of the model, .*hq_token"):
        load_transformers_sam_hq(str(tmp_path / "sam"))
    for path in (DINO / "bert").glob("*token*"):
        (tmp_path / "dino" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=r"'\[CLS\]': 2.*convert_grounding_dino"):
        load_transformers_grounding_dino(str(tmp_path / "dino"))


def test_model_without_a_place_in_transformers_is_not_converted(tmp_path):
    config = json.loads((DINO / "config.json").read_text()) | {"pe_temperatureW": 10}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"one temperature for both sides.*20 and 10"):
        convert_grounding_dino(tmp_path / "config.json", *OF_DINO[1:], tmp_path / "out")
