"""A real safety checker with tiny random weights, whose thresholds make it fire or not."""

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPImageProcessor

from tests.tiny_models import build_pipeline, write_model
from tokencompose_core.evaluation.generate import (
    Sampler,
    generate_batches,
    load_pipeline,
    request_images,
)
from tokencompose_core.evaluation.prompts import Prompt

SAMPLER = Sampler(2, 7.5, 32, 32)
REQUESTS = request_images([Prompt(0, "a cat", ("cat",)), Prompt(1, "a boat", ("boat",))], 2, 0)


def build_checker() -> StableDiffusionSafetyChecker:
    tower = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "projection_dim": 8,
    }
    vision = tower | {"image_size": 32, "patch_size": 8}
    checker = StableDiffusionSafetyChecker(CLIPConfig(tower, vision, projection_dim=8)).eval()
    torch.nn.init.normal_(checker.concept_embeds)
    torch.nn.init.normal_(checker.special_care_embeds)
    return checker


def write_checked_model(folder, threshold):
    """A model whose checker blanks pictures with a cosine above the threshold."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = build_pipeline("sd1")
        checker = build_checker()
    checker.concept_embeds_weights.fill_(threshold)
    checker.special_care_embeds_weights.fill_(2.0)
    pipeline.register_modules(
        safety_checker=checker,
        feature_extractor=CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
    )
    pipeline.register_to_config(requires_safety_checker=True)
    pipeline.save_pretrained(folder)
    return folder


def draw(pipeline, batch_size=4, decode_batch_size=None):
    batches = generate_batches(
        pipeline, REQUESTS, SAMPLER, batch_size=batch_size, decode_batch_size=decode_batch_size
    )
    return [picture for batch in batches for picture in batch]


def pixels(pictures):
    return np.stack([np.asarray(picture.image) for picture in pictures])


def test_what_it_blanks_is_black_and_marked(tmp_path):
    folder = write_checked_model(tmp_path / "strict", -2.0)  # every cosine is above
    unchecked = draw(load_pipeline(folder))
    assert not any(picture.is_blanked for picture in unchecked)
    assert pixels(unchecked).max() > 0
    strict = draw(load_pipeline(folder, safety_checker=True))
    assert all(picture.is_blanked for picture in strict)
    assert pixels(strict).max() == 0
    lenient = write_checked_model(tmp_path / "lenient", 2.0)  # none is
    passed = draw(load_pipeline(lenient, safety_checker=True))
    assert not any(picture.is_blanked for picture in passed)
    assert np.array_equal(pixels(passed), pixels(unchecked))


@pytest.mark.parametrize(("batch_size", "decode_batch_size"), [(4, None), (3, 2)])
def test_it_blanks_what_diffusers_blanks(tmp_path, batch_size, decode_batch_size):
    """Beside the pipeline's own call, with a threshold between the pictures."""
    pipeline = load_pipeline(write_checked_model(tmp_path, 2.0), safety_checker=True)
    kept = []
    projection = pipeline.safety_checker.visual_projection
    hook = projection.register_forward_hook(lambda *call: kept.append(call[2]))
    images = [picture.image for picture in draw(pipeline)]
    hook.remove()
    concepts = torch.nn.functional.normalize(pipeline.safety_checker.concept_embeds)
    largest = (torch.nn.functional.normalize(kept[0]) @ concepts.T).max(dim=1).values.sort().values
    between = float(largest[1] + largest[2]) / 2
    # The checker rounds to three digits.
    assert largest[2] - largest[1] > 2e-3, largest
    pipeline.safety_checker.concept_embeds_weights.fill_(between)
    theirs = [
        pipeline(
            request.prompt.text,
            height=32,
            width=32,
            num_inference_steps=2,
            guidance_scale=7.5,
            generator=torch.Generator().manual_seed(request.seed),
        )
        for request in REQUESTS
    ]
    expected = [result.nsfw_content_detected[0] for result in theirs]
    assert sorted(expected) == [False, False, True, True]
    ours = draw(pipeline, batch_size, decode_batch_size)
    assert [picture.is_blanked for picture in ours] == expected
    for picture, image, result in zip(ours, images, theirs, strict=True):
        shown = np.asarray(result.images[0], dtype=int)
        drawn, before = (np.asarray(one, dtype=int) for one in (picture.image, image))
        assert np.abs(drawn - shown).max() <= 1
        assert picture.is_blanked or np.abs(drawn - before).max() <= 1


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_a_model_without_one_is_refused_before_it_loads(tmp_path, kind):
    folder = write_model(tmp_path, kind)
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    with pytest.raises(ValueError, match="has no safety checker"):
        load_pipeline(folder, safety_checker=True)
