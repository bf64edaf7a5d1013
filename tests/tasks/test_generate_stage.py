"""The stages `generate` and `latency` without a server, on the pocket Stable Diffusion."""

import json

import numpy as np
import pytest
import torch
import webdataset
from torch.nn.modules.module import register_module_forward_hook

from data_schemas.configs.evaluate_config import EvaluateConfig
from data_schemas.evaluation_records import GeneratedImage
from tasks.devices import describe_machine
from tasks.generate_images import IMAGES_NAME, INDEX_NAME, GenerateSpec, generate_partition
from tasks.measure_latency import LATENCY_NAME, LatencySpec, measure_model
from tasks.model_under_test import ModelUnderTest, check_models
from tasks.stage import open_store
from tests.tiny_models import write_model
from tests.tokencompose_core.evaluation.test_safety_checker import write_checked_model
from tokencompose_core.evaluation.image_tar import read_images
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.store.tables import read_table

CONFIG = EvaluateConfig.load(
    sampler={"num_inference_steps": 2, "height": 32, "width": 32, "batch_size": 3}, device="cpu"
)
PROMPTS = [Prompt(4, "a cat", ("cat",)), Prompt(7, "a boat and a café", ("boat", "café"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"), "sd1")


def make_spec(name, *, sampler=CONFIG.sampler, lora="", prompts=PROMPTS, round_number=1):
    return GenerateSpec(
        model=ModelUnderTest(label="tiny", name=str(name), lora=lora),
        part="part-00000",
        prompts=prompts,
        round=round_number,
        sampler=sampler,
        device="cpu",
    )


def change(**values):
    return CONFIG.sampler.model_copy(update=values)


def test_tar_and_index_say_what_made_each_image(store_dir, folder):
    spec = make_spec(folder)
    manifest = generate_partition.fn(spec)
    output = open_store().path(manifest)
    rows = read_table(output / INDEX_NAME, GeneratedImage)
    assert [row.image for row in rows] == ["4_1", "7_1"]
    assert not any(row.blanked for row in rows)
    samples = list(webdataset.WebDataset(str(output / IMAGES_NAME), shardshuffle=False))
    for row, sample in zip(rows, samples, strict=True):
        assert sample["__key__"] == row.image
        settings = json.loads(sample["json"])
        assert settings.pop("model") == spec.model.identity
        assert settings.pop("sampler") == {
            "scheduler": "pndm",
            "num_inference_steps": 2,
            "guidance_scale": 7.5,
            "height": 32,
            "width": 32,
            "seed": 0,
            "precision": "float32",
            "safety_checker": False,
        }
        assert GeneratedImage(**settings) == row
    assert (output / "sheet.jpg").stat().st_size > 0


def test_an_image_is_the_same_in_another_partition_and_batch(store_dir, folder):
    whole = read_images(open_store().path(generate_partition.fn(make_spec(folder)), IMAGES_NAME))
    part = make_spec(folder, prompts=PROMPTS[1:], sampler=change(batch_size=1))
    alone = read_images(open_store().path(generate_partition.fn(part), IMAGES_NAME))
    assert list(alone) == ["7_1"]
    for name, image in alone.items():
        difference = np.abs(np.asarray(image, dtype=int) - np.asarray(whole[name], dtype=int))
        assert difference.max() <= 1


def test_key_holds_what_decides_the_images_alone(tmp_path, folder):
    key = make_spec(folder).key
    for same in (change(batch_size=9), change(decode_batch_size=1), change(compile_unet=True)):
        assert make_spec(folder, sampler=same).key == key
    lora = tmp_path / "a.safetensors"
    lora.write_bytes(b"one")
    other = tmp_path / "b.safetensors"
    other.write_bytes(b"two")
    keys = {
        key,
        make_spec(folder, sampler=change(precision="bfloat16")).key,
        make_spec(folder, sampler=change(safety_checker=True)).key,
        make_spec(folder, sampler=change(seed=1)).key,
        make_spec(folder, sampler=change(scheduler="own")).key,
        make_spec(folder, lora=str(lora)).key,
        make_spec(folder, lora=str(other)).key,
    }
    assert len(keys) == 7
    with pytest.raises(FileNotFoundError, match=r"there is no nowhere\.safetensors"):
        make_spec(folder, lora="nowhere.safetensors").key  # noqa: B018


def test_blanked_images_are_black_marked_and_counted(store_dir, tmp_path):
    folder = write_checked_model(tmp_path / "strict", -2.0)
    manifest = generate_partition.fn(make_spec(folder, sampler=change(safety_checker=True)))
    output = open_store().path(manifest)
    assert all(row.blanked for row in read_table(output / INDEX_NAME, GeneratedImage))
    assert manifest.facts == {"blanked by the safety checker": 2}
    assert all(
        image.getextrema() == ((0, 0),) * 3 for image in read_images(output / IMAGES_NAME).values()
    )


@pytest.mark.parametrize(
    ("changes", "models", "message"),
    [
        ({}, [{"label": "a"}, {"label": "a"}], "have one label"),
        ({"sampler": {"safety_checker": True}}, [{"label": "a"}], "has no safety checker"),
        ({"sampler": {"precision": "float16"}}, [{"label": "a"}], "float16 needs a GPU"),
        ({}, [{"label": "a", "lora": "nowhere"}], "there is no nowhere"),
        ({}, [{"label": "a", "lora": "."}], r"holds 0 \.safetensors files"),
    ],
)
def test_models_are_checked_before_anything_is_computed(
    tmp_path, monkeypatch, changes, models, message
):
    monkeypatch.chdir(tmp_path)
    config = EvaluateConfig.load(device="cpu", **changes)
    models = [ModelUnderTest(name="pocket:stable_diffusion", **model) for model in models]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        check_models(models, config)
    check_models(
        [ModelUnderTest(label="base", name="pocket:stable_diffusion")],
        EvaluateConfig.load(device="cpu"),
    )


def test_model_that_pndm_cannot_follow_is_refused_and_drawn_by_its_own_sampler(store_dir, tmp_path):
    folder = write_model(tmp_path / "model", "sd2")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rescale_betas_zero_snr": True}))
    model = ModelUnderTest(label="a", name=str(folder))
    with pytest.raises(ValueError, match=r"rescale_betas_zero_snr.* set sampler\.scheduler to own"):
        check_models([model], EvaluateConfig.load(device="cpu"))
    check_models([model], EvaluateConfig.load(device="cpu", sampler={"scheduler": "own"}))
    spec = make_spec(folder, sampler=change(scheduler="own"))
    images = read_images(open_store().path(generate_partition.fn(spec), IMAGES_NAME))
    assert [image.size for image in images.values()] == [(32, 32), (32, 32)]


def test_latency_is_measured_one_image_at_a_time_and_kept_for_the_machine(store_dir, folder):
    spec = LatencySpec(
        model=ModelUnderTest(label="tiny", name=str(folder)),
        sampler=CONFIG.sampler,
        settings=CONFIG.latency.model_copy(update={"num_images": 3, "num_warmup": 1}),
        machine=describe_machine("cpu"),
        device="cpu",
    )
    assert f"{torch.get_num_threads()} threads" in spec.machine
    assert spec.model_copy(update={"machine": "another"}).key != spec.key
    assert spec.model_copy(update={"sampler": change(batch_size=9, seed=5)}).key == spec.key
    assert spec.model_copy(update={"sampler": change(num_inference_steps=3)}).key != spec.key
    rows = []
    hook = register_module_forward_hook(
        lambda module, inputs, output: (
            rows.append(len(inputs[0])) if type(module).__name__ == "UNet2DConditionModel" else None
        )
    )
    manifest = measure_model.fn(spec)
    hook.remove()
    assert rows == [2] * 3 * 4  # two steps of PNDM are three calls
    values = json.loads(open_store().path(manifest, LATENCY_NAME).read_text())
    assert len(values["seconds"]) == 3
    assert values["mean"] == pytest.approx(np.mean(values["seconds"]))
    assert values["deviation"] == pytest.approx(np.std(values["seconds"]))
    assert min(values["seconds"]) > 0
    assert values["machine"] == spec.machine
