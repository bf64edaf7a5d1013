import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPTokenizerFast

from tests.conftest import MODELS
from tokencompose_core.attention.capture import capture_attention
from tokencompose_core.attention.layers import cross_attention_layers
from tokencompose_core.evaluation.generate import (
    Sampler,
    generate_images,
    load_pipeline,
    request_images,
)
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.evaluation.record_attention import record_attention
from tokencompose_core.reports.attention_sheet import draw_attention_sheet, draw_map

SAMPLER = Sampler(num_inference_steps=3, guidance_scale=7.5, height=64, width=64)
PROMPT = Prompt(0, "a photo of a surfboard and a kite.", ("surfboard", "kite"))


@pytest.fixture(scope="module")
def pipeline():
    return load_pipeline(MODELS / "stable_diffusion")


@pytest.fixture(scope="module")
def request_():
    return request_images([PROMPT], 1, seed=3)[0]


@pytest.fixture(scope="module")
def record(pipeline, request_):
    tokenizer = CLIPTokenizerFast.from_pretrained(MODELS / "stable_diffusion/tokenizer")
    return record_attention(pipeline, tokenizer, [request_], SAMPLER)[0]


def test_images_of_a_batch_have_the_maps_of_their_own_prompts(pipeline, request_, record):
    tokenizer = CLIPTokenizerFast.from_pretrained(MODELS / "stable_diffusion/tokenizer")
    other = request_images([Prompt(1, "a cat", ("cat",))], 1, seed=4)[0]
    first, second = record_attention(
        pipeline, tokenizer, [request_, other], SAMPLER, batch_size=2, average_heads=True
    )
    assert (first.nouns, second.nouns) == (("surfboard", "kite"), ("cat",))
    (alone,) = record_attention(pipeline, tokenizer, [other], SAMPLER)
    for batched, single in ((first, record), (second, alone)):
        for key, maps in single.maps.items():
            mean = maps.mean(dim=2, keepdim=True)
            assert torch.allclose(batched.maps[key], mean, atol=1e-4), key


def test_recording_does_not_change_the_image(pipeline, request_, record):
    (plain,) = generate_images(pipeline, [request_], SAMPLER, batch_size=1)
    assert np.array_equal(np.asarray(plain), np.asarray(record.image))


def test_maps_have_every_place_resolution_and_step(record):
    assert set(record.maps) == {"down_16", "down_8", "down_4", "mid_4", "up_4", "up_8", "up_16"}
    assert len(record.timesteps) == 4  # PNDM repeats its second step
    assert list(record.timesteps) == sorted(record.timesteps, reverse=True)
    for key, maps in record.maps.items():
        side = int(key.split("_")[1])
        assert maps.shape[0] == 4
        assert maps.shape[3:] == (side, side, 2)
        assert float(maps.sum(dim=-1).max()) <= 1.0


def test_maps_of_the_last_step_are_those_of_the_prompt(pipeline, request_, record):
    (layer,) = cross_attention_layers(pipeline.unet, ("mid",), 16)
    last = {}

    def keep(pipeline, step, timestep, values):
        last["maps"] = attention.maps[layer][1]
        return values

    with capture_attention(pipeline.unet, [layer]) as attention:
        generate_images(pipeline, [request_], SAMPLER, batch_size=1, on_step_end=keep)
    # Start of text, a, photo, of, a, surf, board, and, a, kite: CLIP splits the surfboard.
    surfboard = (last["maps"][..., 5] + last["maps"][..., 6]) / 2
    assert torch.allclose(record.maps["mid_4"][-1, 0, ..., 0], surfboard, atol=1e-6)
    assert torch.allclose(record.maps["mid_4"][-1, 0, ..., 1], last["maps"][..., 9], atol=1e-6)


def test_reductions_are_means(record):
    maps = record.maps["up_8"]
    assert torch.allclose(record.by_layer()["up_8"], maps.mean(dim=(0, 1, 2)))
    assert record.by_head("up_8").shape == (maps.shape[2], 8, 8, 2)
    assert torch.allclose(record.by_head("up_8").mean(dim=0), record.by_layer()["up_8"])
    assert record.by_timestep().shape == (4, 16, 16, 2)
    of_mid = record.by_timestep(["mid"])
    assert torch.allclose(of_mid, record.maps["mid_4"].mean(dim=(1, 2)), atol=1e-6)
    with pytest.raises(KeyError):
        record.by_head("up_64")


def test_sheet_has_a_row_a_noun_and_model():
    maps = np.zeros((3, 4, 4, 2))
    maps[:, 1, 2, :] = 0.5
    images = {name: Image.new("RGB", (64, 64)) for name in ("base", "tuned")}
    sheet = draw_attention_sheet(
        images, ["cat", "kite"], ["a", "b", "c"], {name: list(maps) for name in images}
    )
    one = draw_attention_sheet(
        {"base": images["base"]}, ["cat"], ["a", "b", "c"], {"base": list(maps[..., :1])}
    )
    assert sheet.width == one.width
    assert 3.5 < sheet.height / one.height < 4.1


def test_brightest_colour_is_the_highest_value():
    pixels = np.asarray(draw_map(np.array([[0.0, 0.1], [0.2, 0.4]]))).astype(int).sum(axis=-1)
    assert pixels[1, 1] > pixels[1, 0] > pixels[0, 1] > pixels[0, 0]
