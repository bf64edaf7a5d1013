from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import MODELS
from tests.tokencompose_core.training.small_run import SETTINGS, make_unet, train
from tokencompose_core.evaluation.generate import (
    Sampler,
    generate_images,
    load_pipeline,
    request_images,
)
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.training.trainable import choose_trainable, save_model


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("cross_attention_keys", (".attn2.to_k.",)),
        ("cross_attention_keys_values", (".attn2.to_k.", ".attn2.to_v.")),
        ("lora", ("lora_A", "lora_B")),
    ],
)
def test_only_the_chosen_weights_change(tmp_path, encoded, kind, names):
    unet, before = make_unet(), make_unet().state_dict()
    train(encoded, tmp_path, replace(SETTINGS, trainable=kind), unet)
    changed = set()
    for name, value in unet.state_dict().items():
        old = before.get(name.replace(".base_layer", ""))
        if old is None or not torch.equal(old, value):
            changed.add(name)
    assert changed
    assert all(any(part in name for part in names) for name in changed)


def test_saved_lora_and_saved_folder_draw_the_same(tmp_path):
    requests = request_images([Prompt(0, "a photo of a cat.", ("cat",))], 1, 0)
    sampler = Sampler(num_inference_steps=3, guidance_scale=7.5, height=64, width=64)

    def draw(pipeline):
        (image,) = generate_images(pipeline, requests, sampler, batch_size=1)
        return np.asarray(image).astype(int)

    base = load_pipeline(MODELS / "stable_diffusion")
    plain = draw(base)
    chosen = choose_trainable(base.unet, "lora", lora_rank=4, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in chosen.items():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    tuned = draw(base)
    assert np.abs(tuned - plain).max() > 20
    save_model(base, "lora", tmp_path / "model", tmp_path / "lora")
    assert np.abs(draw(load_pipeline(tmp_path / "model")) - tuned).max() <= 2
    again = load_pipeline(MODELS / "stable_diffusion")
    again.load_lora_weights(tmp_path / "lora", weight_name="pytorch_lora_weights.safetensors")
    assert np.abs(draw(again) - tuned).max() <= 2
