import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from data_schemas.configs.curate_config import CurateConfig, ImageLimits
from data_schemas.records import NounPhrase
from tests.conftest import MODELS
from tests.tokencompose_core.masking.detection_settings import SETTINGS
from tokencompose_core.checkpoints.locate import require
from tokencompose_core.masking.detect_phrases import (
    assign_boxes,
    detect_phrases,
    prepare_image,
    prepared_size,
)
from tokencompose_core.masking.ground_phrases import ground_phrases
from tokencompose_core.masking.grounding_dino import (
    load_grounding_dino,
    load_grounding_dino_config,
)
from tokencompose_core.masking.prompts import (
    build_prompt,
    phrase_token_masks,
    split_phrases,
)
from tokencompose_core.masking.sam_hq import load_sam_hq
from tokencompose_core.masking.segment_boxes import segment_boxes
from tokencompose_core.pocket.floors.held_out import draw_held_out
from tokencompose_core.store.run_lengths import decode_mask


def test_prompt_says_where_each_phrase_stands():
    phrases = ["Wine  Glass", "cat", "St. Bernard?", "CAT"]
    prompt, spans = build_prompt(phrases)
    assert prompt == "wine glass . cat . st bernard ."
    assert [prompt[a:b] for a, b in spans] == ["wine glass", "cat", "st bernard", "cat"]


def test_tokens_of_a_phrase_are_found_by_place_and_not_by_spelling(detector):
    prompt, spans = build_prompt(["cat", "cat cup", "zebra"])
    masks = phrase_token_masks(detector.tokenizer, prompt, spans, 32)
    tokens = detector.tokenizer.convert_ids_to_tokens(detector.tokenizer(prompt).input_ids)
    spelt = [[tokens[i] for i in mask.nonzero()[:, 0]] for mask in masks]
    assert spelt == [["cat"], ["cat", "cup"], ["z", "##e", "##b", "##r", "##a"]]
    assert not bool((masks[0] & masks[1]).any())


NONSENSE = [f"{a}{b}{c}qzx" for a in "bdfgh" for b in "aeou" for c in "klm"]


def test_sixty_nouns_are_split_over_prompts_that_the_text_encoder_holds(detector):
    assert len(NONSENSE) == 60
    groups = split_phrases(detector.tokenizer, NONSENSE, 64)
    assert [index for group in groups for index in group] == list(range(60))
    lengths = [
        len(detector.tokenizer(build_prompt([NONSENSE[i] for i in group])[0]).input_ids)
        for group in groups
    ]
    # Six letters and a full stop each: one more would not have fitted, but in the last prompt.
    assert max(lengths) <= 64
    assert all(length + 7 > 64 for length in lengths[:-1])


def test_each_phrase_has_a_prompt_of_its_own_if_asked(detector):
    phrases = ["Cat", "cup", "cat", "...", "St. Bernard", "st bernard"]
    assert split_phrases(detector.tokenizer, phrases, 256, "phrase") == [[0], [1], [4]]
    assert split_phrases(detector.tokenizer, phrases, 256) == [[0, 1, 4]]
    assert split_phrases(detector.tokenizer, ["cat", "z" * 99, "cup"], 32) == [[0], [1], [2]]


def test_nouns_beyond_the_first_prompt_are_found(detector):
    item = draw_held_out(1, seed=12)[0]
    names = item.scene.names
    first = detect_phrases(detector, [item.image], [[*names, *NONSENSE]], **SETTINGS)[0]
    last = detect_phrases(detector, [item.image], [[*NONSENSE, *names]], **SETTINGS)[0]
    assert len(split_phrases(detector.tokenizer, [*NONSENSE, *names], 256)) > 1
    found = {box.phrase_index for box in first if box.phrase_index < len(names)}
    assert found == set(range(len(names)))
    assert found <= {box.phrase_index - len(NONSENSE) for box in last}
    assert [b.score for b in last] == sorted((b.score for b in last), reverse=True)


@pytest.mark.parametrize("is_wide", [True, False])
def test_thinnest_image_that_is_selected_goes_through_both_models(detector, segmenter, is_wide):
    size = (32 * ImageLimits().max_ratio, 32)
    image = Image.new("RGB", size if is_wide else size[::-1], "white")
    detect_phrases(detector, [image], [["cat"]], **SETTINGS)
    mask = segment_boxes(segmenter, image, [[0, 0, *image.size]])[0]
    assert mask.shape == image.size[::-1]


def test_thinnest_image_that_may_be_allowed_has_a_place_for_each_query_of_the_papers_detector():
    """Grounding DINO takes the best places of all scales for its queries, so it needs as many."""
    settings = CurateConfig.load("paper").mask
    config = load_grounding_dino_config(require(settings.detector_config), "")
    assert (config.backbone, config.num_feature_levels) == ("swin_T_224_1k", 4)
    (limit,) = (m.le for m in ImageLimits.model_fields["max_ratio"].metadata if hasattr(m, "le"))
    sides = {"short_side": settings.short_side, "long_side": settings.long_side}
    for width, height in [(32, 32 * limit), (32 * limit, 32), (4_000, 100), (limit, 1)]:
        width, height = prepared_size(width, height, **sides)
        # Swin's three last stages and a convolution above them; each rounds its sides up.
        places = sum(-(-width // stride) * -(-height // stride) for stride in (8, 16, 32, 64))
        assert places >= config.num_queries


def test_box_goes_to_the_phrase_that_it_answers_to_on_average():
    # Tokens: [CLS] car . car ##p ##e ##t . teddy bear .
    masks = torch.zeros(3, 11, dtype=torch.bool)
    masks[0, 1] = masks[1, 3:7] = masks[2, 8:10] = True
    probabilities = torch.tensor(
        [
            [0.99, 0.8, 0.1, 0.9, 0.1, 0.1, 0.1, 0.99, 0.1, 0.1, 0.99],  # a car
            [0.01, 0.5, 0.1, 0.6, 0.7, 0.6, 0.6, 0.01, 0.1, 0.9, 0.01],  # a carpet
            [0.01, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.3, 0.5, 0.01],  # a teddy bear
        ]
    )
    phrase, scores = assign_boxes(probabilities, masks)
    assert phrase.tolist() == [0, 1, 2]
    assert torch.allclose(scores, torch.tensor([0.8, 0.7, 0.5]))


def test_phrases_without_a_token_get_no_box(detector):
    item = draw_held_out(1, seed=12)[0]
    words = ["...", *item.scene.names, "\u200b"]
    found = detect_phrases(detector, [item.image] * 2, [words, ["?"]], **SETTINGS)
    assert {box.phrase_index for box in found[0]} == set(range(1, len(words) - 1))
    assert found[1] == []


def test_one_phrase_a_call_finds_what_is_there(detector):
    item = draw_held_out(1, seed=12)[0]
    found = detect_phrases(
        detector, [item.image], [item.scene.names], **SETTINGS, prompting="phrase"
    )[0]
    for index, name in enumerate(item.scene.names):
        alone = detect_phrases(detector, [item.image], [[name]], **SETTINGS)[0]
        own = [box.box_xyxy for box in found if box.phrase_index == index]
        assert own
        assert np.allclose(own, [box.box_xyxy for box in alone], rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((240, 180), (108, 144)), ((200, 200), (112, 112)), ((60, 300), (144, 29))],
)
def test_sides_of_prepared_images(size, expected):
    assert prepare_image(Image.new("RGB", size), 112, 144).shape[1:] == expected


def test_prepared_pixels_are_normalised_with_the_colours_of_imagenet():
    prepared = prepare_image(Image.new("RGB", (120, 60), (255, 128, 0)), 112, 144)
    red, green, blue = prepared.mean(dim=(1, 2)).tolist()
    assert red == pytest.approx((1.0 - 0.485) / 0.229, abs=1e-5)
    assert green == pytest.approx((128 / 255 - 0.456) / 0.224, abs=1e-5)
    assert blue == pytest.approx(-0.406 / 0.225, abs=1e-5)


def test_batch_finds_what_single_images_give(detector):
    held_out = draw_held_out(40, seed=3)
    images = [item.image for item in held_out]
    phrases = [[p.text for p in item.phrases] + ["kite", "left"] for item in held_out]
    together = detect_phrases(detector, images, phrases, **SETTINGS)
    for index in range(len(images)):
        alone = detect_phrases(
            detector, images[index : index + 1], phrases[index : index + 1], **SETTINGS
        )
        assert [b.phrase_index for b in alone[0]] == [b.phrase_index for b in together[index]]
        for name, tolerance in (("box_xyxy", 1e-3), ("score", 1e-4)):
            values = [[getattr(b, name) for b in found] for found in (alone[0], together[index])]
            assert np.allclose(*values, rtol=0, atol=tolerance)


def test_boxes_lie_inside_the_image(detector):
    held_out = draw_held_out(6, seed=4)
    found = detect_phrases(
        detector, [i.image for i in held_out], [i.scene.names for i in held_out], **SETTINGS
    )
    boxes = 0
    for item, own in zip(held_out, found, strict=True):
        for box in own:
            x0, y0, x1, y1 = box.box_xyxy
            assert 0 <= x0 < x1 <= item.image.width
            assert 0 <= y0 < y1 <= item.image.height
            assert 0.25 < box.score <= 1.0
            boxes += 1
    assert boxes > 0


def test_image_without_phrase_is_refused(detector):
    with pytest.raises(ValueError, match="image 1 of the batch"):
        detect_phrases(detector, [Image.new("RGB", (9, 9))] * 2, [["cat"], []], **SETTINGS)


def test_boxes_of_an_image_are_segmented_together_as_one_by_one(segmenter):
    image = draw_held_out(1, seed=5)[0].image
    boxes = [[10.0, 20.0, 90.0, 120.0], [60.0, 30.0, 150.0, 160.0]]
    together = segment_boxes(segmenter, image, boxes)
    assert together.shape == (2, image.height, image.width)
    for box, mask in zip(boxes, together, strict=True):
        alone = segment_boxes(segmenter, image, [box])[0]
        assert (alone != mask).mean() < 1e-3
    assert segment_boxes(segmenter, image, []).shape == (0, image.height, image.width)


def test_masks_of_a_phrase_are_united_and_repeated_phrases_share_them(detector, segmenter):
    item = next(i for i in draw_held_out(60, seed=6) if len(i.scene.objects) > len(i.scene.names))
    names = [o.category.name for o in item.scene.objects]
    twin = next(name for name in names if names.count(name) == 2)
    words = [
        NounPhrase(text=twin, start=0, end=len(twin)),
        NounPhrase(text=twin.upper(), start=50, end=60),
    ]
    [(_, (first, second))] = ground_phrases(
        detector,
        segmenter,
        lambda _: item.image,
        [item.image.size],
        [words],
        **SETTINGS,
        batch_size=1,
    )
    assert (first.boxes, first.mask_counts) == (second.boxes, second.mask_counts)
    assert first.scores == sorted(first.scores, reverse=True)
    own = segment_boxes(segmenter, item.image, first.boxes)
    united = decode_mask(first.mask_counts, item.image.height, item.image.width)
    assert np.array_equal(united, own.any(axis=0))


def test_images_of_all_sizes_are_grounded_as_one_by_one(detector, segmenter):
    held_out = draw_held_out(9, seed=8)
    assert len({item.image.size for item in held_out}) > 2

    def ground(items, batch_size):
        return dict(
            ground_phrases(
                detector,
                segmenter,
                lambda index: items[index].image,
                [item.image.size for item in items],
                [item.phrases for item in items],
                **SETTINGS,
                batch_size=batch_size,
            )
        )

    together = ground(held_out, 4)
    assert sorted(together) == list(range(9))
    for index, item in enumerate(held_out):
        alone = ground([item], 1)[0]
        for one, other in zip(alone, together[index], strict=True):
            assert (one.text, one.start, len(one.boxes)) == (
                other.text,
                other.start,
                len(other.boxes),
            )
            if one.mask_counts:
                a, b = (decode_mask(p.mask_counts, *item.image.size[::-1]) for p in (one, other))
                assert (a != b).mean() < 1e-3


def test_more_boxes_than_are_decoded_at_once_get_their_masks(segmenter):
    image = draw_held_out(1, seed=5)[0].image
    boxes = [[10.0 + n, 20.0, 90.0 + n, 120.0] for n in range(70)]
    masks = segment_boxes(segmenter, image, boxes)
    assert masks.shape == (70, image.height, image.width)
    assert (masks[69] != segment_boxes(segmenter, image, boxes[69:])[0]).mean() < 1e-3


def test_checkpoint_of_another_model_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"level_embed": torch.zeros(1)}, tmp_path / "x.safetensors")
    folder = MODELS / "grounding_dino"
    with pytest.raises(ValueError, match=r"x\.safetensors lacks \d+ weights"):
        load_grounding_dino(
            folder / "config.json", tmp_path / "x.safetensors", str(folder / "bert")
        )
    with pytest.raises(ValueError, match=r"x\.safetensors lacks \d+ weights"):
        load_sam_hq(MODELS / "sam_hq/config.json", tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="no type 'vit_z'"):
        load_sam_hq("vit_z", tmp_path / "x.safetensors")


def test_checkpoint_of_another_size_is_refused(tmp_path):
    state = load_file(MODELS / "sam_hq/model.safetensors")
    name = "image_encoder.patch_embed.proj.weight"
    torch.save({**state, name: state[name][:2]}, tmp_path / "vit_b.pth")
    with pytest.raises(ValueError, match=rf"^.*b\.pth does not belong to .*: size .* {name}: .*$"):
        load_sam_hq(MODELS / "sam_hq/config.json", tmp_path / "vit_b.pth")


def test_detector_of_plain_names_is_loaded(tmp_path):
    folder = MODELS / "grounding_dino"
    torch.save(load_file(folder / "model.safetensors"), tmp_path / "plain.pth")
    load_grounding_dino(folder / "config.json", tmp_path / "plain.pth", str(folder / "bert"))
