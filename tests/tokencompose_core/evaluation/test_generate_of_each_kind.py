"""Images and attention of each kind of Stable Diffusion."""

import json

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, EulerAncestralDiscreteScheduler
from transformers import CLIPTokenizerFast

from tests.tiny_models import KINDS, write_model
from tokencompose_core.attention.capture import capture_attention
from tokencompose_core.attention.layers import cross_attention_layers, layer_key
from tokencompose_core.evaluation.generate import (
    Sampler,
    generate_images,
    load_pipeline,
    request_images,
)
from tokencompose_core.evaluation.prepare_pipeline import prepare_pipeline
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.evaluation.record_attention import record_attention

SAMPLER = Sampler(num_inference_steps=3, guidance_scale=7.5, height=32, width=32)
PROMPTS = [
    Prompt(0, "a surfboard and a kite", ("surfboard", "kite")),
    Prompt(1, "a cat", ("cat",)),
    Prompt(2, "", ()),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: write_model(root / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def pipelines(folders):
    return {kind: load_pipeline(folder) for kind, folder in folders.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_sampler_is_pndm_and_keeps_the_prediction_of_the_model(pipelines, kind):
    config = pipelines[kind].scheduler.config
    assert type(pipelines[kind].scheduler).__name__ == "PNDMScheduler"
    assert config.skip_prk_steps
    assert config.beta_start == 0.00085
    assert config.prediction_type == ("v_prediction" if kind == "sd2" else "epsilon")
    assert getattr(pipelines[kind], "safety_checker", None) is None


def test_own_sampler_draws_its_noise_from_each_images_seed(tmp_path):
    """With a sampler that adds noise on the way, as diffusers draws each image alone."""
    folder = write_model(tmp_path, "sd1")
    plain = DiffusionPipeline.from_pretrained(folder)
    plain.scheduler = EulerAncestralDiscreteScheduler.from_config(plain.scheduler.config)
    plain.save_pretrained(folder)
    pipeline = load_pipeline(folder, scheduler="own")
    assert type(pipeline.scheduler) is EulerAncestralDiscreteScheduler
    requests = request_images(PROMPTS, 1, 0)
    ours = generate_images(pipeline, requests, SAMPLER, batch_size=3)
    for request, image in zip(requests, ours, strict=True):
        expected = plain(
            request.prompt.text,
            height=SAMPLER.height,
            width=SAMPLER.width,
            num_inference_steps=SAMPLER.num_inference_steps,
            guidance_scale=SAMPLER.guidance_scale,
            generator=torch.Generator().manual_seed(request.seed),
        ).images[0]
        assert np.abs(np.asarray(image, dtype=int) - np.asarray(expected, dtype=int)).max() <= 1


def test_schedule_that_ends_in_noise_alone_is_not_for_pndm(tmp_path):
    folder = write_model(tmp_path, "sd2")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rescale_betas_zero_snr": True}))
    with pytest.raises(ValueError, match=r"rescale_betas_zero_snr.* set sampler.scheduler to own"):
        load_pipeline(folder)
    pipeline = load_pipeline(folder, scheduler="own")
    assert float(pipeline.scheduler.alphas_cumprod[-1]) == 0.0
    (image,) = generate_images(pipeline, request_images(PROMPTS[:1], 1, 0), SAMPLER, batch_size=1)
    assert np.asarray(image).std() > 1


@pytest.mark.parametrize("kind", KINDS)
def test_image_is_the_same_in_any_batch(pipelines, kind):
    requests = request_images(PROMPTS, 1, 0)
    together = generate_images(pipelines[kind], requests, SAMPLER, batch_size=3)
    apart = generate_images(pipelines[kind], requests, SAMPLER, batch_size=1)
    for one, other in zip(together, apart, strict=True):
        assert one.size == (32, 32)
        assert np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max() <= 1
    assert np.abs(np.asarray(apart[0], dtype=int) - np.asarray(apart[1], dtype=int)).max() > 20


@pytest.mark.parametrize("zeros_for_empty", [True, False])
@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
@pytest.mark.parametrize("kind", KINDS)
def test_images_are_those_of_diffusers_with_prompts_as_text(
    pipelines, kind, guidance_scale, zeros_for_empty
):
    pipeline = pipelines[kind]
    if kind == "sdxl":
        pipeline.register_to_config(force_zeros_for_empty_prompt=zeros_for_empty)
    requests = request_images(PROMPTS, 1, 0)
    ours = generate_images(pipeline, requests, Sampler(3, guidance_scale, 32, 32), batch_size=2)
    for request, image in zip(requests, ours, strict=True):
        expected = pipeline(
            request.prompt.text,
            height=32,
            width=32,
            num_inference_steps=3,
            guidance_scale=guidance_scale,
            generator=torch.Generator().manual_seed(request.seed),
        ).images[0]
        assert np.abs(np.asarray(image, dtype=int) - np.asarray(expected, dtype=int)).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_all_networks_compute_in_bfloat16_and_give_nearly_the_same(folders, pipelines, kind):
    half = prepare_pipeline(load_pipeline(folders[kind]), precision="bfloat16")
    networks = [part for part in half.components.values() if isinstance(part, torch.nn.Module)]
    assert {p.dtype for network in networks for p in network.parameters()} == {torch.bfloat16}
    requests = request_images(PROMPTS, 1, 0)
    ours = generate_images(half, requests, SAMPLER, batch_size=2)
    exact = generate_images(pipelines[kind], requests, SAMPLER, batch_size=2)
    one, other = (np.stack([np.asarray(i, float) for i in images]) for images in (ours, exact))
    assert 0 < np.abs(one - other).mean() < 3
    assert np.abs(np.roll(other, 1, axis=0) - other).mean() > 10


def test_other_families_are_refused_by_name(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(ValueError, match=r"is a FluxPipeline; expected a StableDiffusionPipeline"):
        load_pipeline(tmp_path)


@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
@pytest.mark.parametrize("kind", KINDS)
def test_recorded_maps_are_those_of_the_prompt(folders, pipelines, kind, guidance_scale):
    """Of the first step, against a single pass of the UNet with nothing but the prompt."""
    pipeline, unet = pipelines[kind], pipelines[kind].unet
    sampler = Sampler(3, guidance_scale, 32, 32)
    (request,) = request_images(PROMPTS[:1], 1, 0)
    tokenizer = CLIPTokenizerFast.from_pretrained(folders[kind] / "tokenizer")
    (record,) = record_attention(pipeline, tokenizer, [request], sampler)
    (plain,) = generate_images(pipeline, [request], sampler, batch_size=1)
    assert np.array_equal(np.asarray(plain), np.asarray(record.image))
    of_first_level = set() if kind == "sdxl" else {"down_16", "up_16"}
    assert set(record.maps) == {"down_8", "mid_8", "up_8"} | of_first_level
    noise = torch.randn((1, 4, 16, 16), generator=torch.Generator().manual_seed(request.seed))
    encoded = pipeline.encode_prompt(
        request.prompt.text,
        device="cpu",
        num_images_per_prompt=1,
        do_classifier_free_guidance=False,
    )
    added = None
    if kind == "sdxl":
        sizes = torch.tensor([[32.0, 32.0, 0.0, 0.0, 32.0, 32.0]])
        added = {"text_embeds": encoded[2], "time_ids": sizes}
    layers = cross_attention_layers(unet, ["down", "mid", "up"], 16)
    with torch.no_grad(), capture_attention(unet, layers) as attention:
        unet(noise, record.timesteps[0], encoded[0], added_cond_kwargs=added)
    expected: dict[str, list[torch.Tensor]] = {}
    for name, maps in attention.maps.items():
        # Start of text, a, surf, board, and, a, kite.
        nouns = torch.stack([maps[0, ..., 2:4].mean(dim=-1), maps[0, ..., 6]], dim=-1)
        expected.setdefault(layer_key(unet, name, 16), []).append(nouns)
    for key, maps in record.maps.items():
        assert torch.allclose(maps[0], torch.stack(expected[key]), atol=1e-5), key
