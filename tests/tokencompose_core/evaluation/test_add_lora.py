import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny_models import KINDS, write_model
from tokencompose_core.evaluation.generate import (
    Sampler,
    generate_images,
    load_pipeline,
    request_images,
)
from tokencompose_core.evaluation.prepare_pipeline import add_lora, find_lora
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.training.trainable import choose_trainable, save_model

REQUESTS = request_images([Prompt(0, "a cat", ("cat",))], 1, 0)
NAME = "pytorch_lora_weights.safetensors"


def draw(pipeline):
    (image,) = generate_images(pipeline, REQUESTS, Sampler(3, 7.5, 32, 32), batch_size=1)
    return np.asarray(image).astype(int)


def write_lora(base, root):
    """What the fine-tuning stage saves when it trained LoRA layers: the model, and them alone."""
    pipeline = load_pipeline(base)
    chosen = choose_trainable(pipeline.unet, "lora", lora_rank=2, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in chosen.items():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    save_model(pipeline, "lora", root / "model", root / "lora")
    return root / "lora"


@pytest.mark.parametrize("kind", KINDS)
def test_layers_give_the_model_they_were_trained_with(tmp_path, kind):
    base = write_model(tmp_path / "base", kind)
    lora = write_lora(base, tmp_path)
    plain = draw(load_pipeline(base))
    tuned = draw(load_pipeline(tmp_path / "model"))
    assert np.abs(tuned - plain).max() > 10
    for path in (lora, lora / NAME):
        pipeline = load_pipeline(base)
        names = {name for name, _ in pipeline.unet.named_parameters()}
        add_lora(pipeline, path)
        assert {name for name, _ in pipeline.unet.named_parameters()} == names
        assert np.abs(draw(pipeline) - tuned).max() <= 2


def test_layers_of_another_model_are_refused(tmp_path):
    base = write_model(tmp_path / "base", "sd1")
    lora = write_lora(base, tmp_path)
    layers = load_file(lora / NAME)
    wrong = {
        "shape": {name: torch.cat([value, value], -1) for name, value in layers.items()},
        "names": {f"other.{name}": value for name, value in layers.items()},
        "none": {"unet.conv_in.weight": torch.zeros(1)},
    }
    for name, values in wrong.items():
        save_file(values, tmp_path / f"{name}.safetensors")
        with pytest.raises(ValueError, match=f"lora: .*{name}.safetensors"):
            add_lora(load_pipeline(base), tmp_path / f"{name}.safetensors")


def test_a_folder_has_to_say_which_file(tmp_path):
    with pytest.raises(ValueError, match=r"holds 0 \.safetensors files"):
        find_lora(tmp_path)
    for name in ("a", "b"):
        save_file({"x": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match=r"holds 2 \.safetensors files"):
        find_lora(tmp_path)
    assert find_lora(tmp_path / "a.safetensors").name == "a.safetensors"
    save_file({"x": torch.zeros(1)}, tmp_path / NAME)
    assert find_lora(tmp_path).name == NAME
