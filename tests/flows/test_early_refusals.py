"""Settings of an evaluation that are refused before anything is computed, by every flow with one.

The flows' own functions are called: what they refuse needs no server.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from data_schemas.configs.ablate_config import AblateConfig
from data_schemas.configs.curate_config import CurateConfig
from data_schemas.configs.evaluate_config import EvaluateConfig
from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.configs.reproduce_config import ReproduceConfig
from flows.ablate import ablate
from flows.curate import curate
from flows.evaluate import evaluate
from flows.finetune import finetune
from flows.reproduce import reproduce
from tasks.model_under_test import ModelUnderTest
from tasks.prepare_source import check_source
from tests.conftest import MODELS

BASE = ModelUnderTest(label="base", name="pocket:stable_diffusion")


def run_evaluate(settings: dict[str, Any]) -> object:
    return evaluate.fn([BASE], EvaluateConfig.load(**settings))


def run_reproduce(settings: dict[str, Any]) -> object:
    return reproduce.fn(ReproduceConfig.load(evaluate=settings))


def run_ablate(settings: dict[str, Any]) -> object:
    return ablate.fn(AblateConfig.load(evaluate=settings))


@pytest.fixture(autouse=True)
def nothing_is_computed(store_dir: Path):
    yield
    assert not list(store_dir.glob("*-v*"))


@pytest.fixture
def query_of_a_long_category(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "prompts.json"
    entry = {"unique_id": 0, "num_objects": 1, "text": "a car"}
    path.write_text(json.dumps([{**entry, "obj_1_attributes": ["very " * 20 + "long car"]}]))
    return {"multigen": {"pocket": {"prompts": {"kind": "file", "path": str(path)}}}}


@pytest.mark.parametrize("run", [run_evaluate, run_reproduce, run_ablate])
def test_prompts_and_detectors(run: Callable, query_of_a_long_category: dict[str, Any]):
    prompts = {"kind": "file", "path": "nowhere.json"}
    with pytest.raises(ValueError, match=r"evaluate\.multigen\.pocket\.prompts\.path: there is no"):
        run({"multigen": {"pocket": {"prompts": prompts}}})
    with pytest.raises(FileNotFoundError, match="multigen-pocket: model 'pocket:owlv3'"):
        run({"detector": {"model": "pocket:owlv3"}})
    with pytest.raises(ValueError, match=r"multigen-pocket: query: category 'very .* reads 16"):
        run(query_of_a_long_category)


def test_a_file_of_one_prompt_for_variants_that_are_compared_over_prompts(tmp_path: Path):
    path = tmp_path / "prompts.json"
    entry = {"unique_id": 0, "num_objects": 1, "text": "a photo of a car."}
    path.write_text(json.dumps([{**entry, "obj_1_attributes": ["car"]}]))
    prompts = {"kind": "file", "path": str(path)}
    with pytest.raises(ValueError, match=r"^evaluate\.multigen\.pocket\.prompts: .* at least 2$"):
        run_ablate({"multigen": {"pocket": {"prompts": prompts}}})


@pytest.mark.parametrize("run", [run_evaluate, run_reproduce])
def test_figures_beside_multigen(run: Callable, tmp_path: Path):
    benchmarks = ["quality", "multigen", "clip_score"]
    with pytest.raises(FileNotFoundError, match=r"^evaluate\.clip_score\.model: model 'pocket:clo"):
        run({"benchmarks": benchmarks, "clip_score": {"model": "pocket:clop"}})
    # Real images come first in the list, and are not looked at before the detector was.
    with pytest.raises(FileNotFoundError, match="multigen-pocket: model 'pocket:owlv3'"):
        run({"benchmarks": benchmarks, "detector": {"model": "pocket:owlv3"}})
    quality = {"extractor": {"kind": "inception", "weights": "nowhere.pth"}, "num_pairs": 2048}
    with pytest.raises(FileNotFoundError, match=r"quality\.pocket\.extractor\.weights: .*nowhere"):
        run({"benchmarks": benchmarks, "quality": {"pocket": quality}})
    (tmp_path / "page.pth").write_text("<html>")
    quality["extractor"] = {"kind": "inception", "weights": str(tmp_path / "page.pth")}
    with pytest.raises(ValueError, match=r"quality\.pocket\.extractor\.weights: .* no weights"):
        run({"benchmarks": benchmarks, "quality": {"pocket": quality}})
    source = {"kind": "image_folder", "images_dir": str(tmp_path)}
    with pytest.raises(FileNotFoundError, match=r"pocket\.source needs .*/metadata\.jsonl, which"):
        run({"benchmarks": benchmarks, "quality": {"pocket": {"source": source}}})


def test_layers_that_the_base_model_lacks():
    has = r"the UNet has no cross-attention 'up_64'; it has .*up_16"
    objective = {"layers": ["mid", "up_64"]}
    with pytest.raises(ValueError, match=rf"^grounded: finetune\.objective\.layers: {has}"):
        reproduce.fn(ReproduceConfig.load(finetune={"objective": objective}))
    with pytest.raises(ValueError, match=rf"^mine: finetune\.objective\.layers: {has}"):
        finetune.fn("none", FinetuneConfig.load(objective=objective), "mine")
    heads = rf"^evaluate\.attention\.heads_of: {has}.*; name one of these, or leave it empty"
    with pytest.raises(ValueError, match=heads):
        run_reproduce({"attention": {"heads_of": "up_64"}})
    variants = [
        {"label": "all"},
        {"label": "finest", "changes": {"objective": objective}},
    ]
    studies = {"layers": variants}
    with pytest.raises(ValueError, match=rf"^finest, seed 1: finetune\.objective\.layers: {has}"):
        ablate.fn(AblateConfig.load(studies=studies, run=["layers"]))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which is not refused")
def test_a_training_on_a_gpu_that_is_not_there():
    for run in (
        lambda: finetune.fn("none", FinetuneConfig.load(device="cuda")),
        lambda: reproduce.fn(ReproduceConfig.load(finetune={"device": "cuda"})),
    ):
        with pytest.raises(ValueError, match="device is 'cuda', but torch sees no GPU"):
            run()


NO_HUB = (
    " is not on this machine, and no hub is asked with the profile pocket or HF_HUB_OFFLINE=1. Use"
    " --profile paper, or HF_HUB_OFFLINE=0"
)


def test_models_of_a_hub_that_is_not_asked():
    config = FinetuneConfig.load(base_model="nobody/sd")
    for run in (
        lambda: finetune.fn("no data set is looked for", config),
        lambda: reproduce.fn(ReproduceConfig.load(finetune={"base_model": "nobody/sd"})),
        lambda: ablate.fn(AblateConfig.load(finetune={"base_model": "nobody/sd"})),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            run()
        assert str(caught.value) == f"finetune.base_model: 'nobody/sd'{NO_HUB}"
    with pytest.raises(FileNotFoundError) as caught:
        evaluate.fn([BASE, ModelUnderTest(label="other", name="nobody/sd")])
    assert str(caught.value) == f"models.other: 'nobody/sd'{NO_HUB}"
    with pytest.raises(FileNotFoundError) as caught:
        run_evaluate({"detector": {"model": "nobody/owl"}})
    assert str(caught.value) == f"detector of multigen-pocket: 'nobody/owl'{NO_HUB}"


def test_models_of_a_caption_set():
    for settings, message in (
        ({"parse": {"model": "nobody/tagger"}}, r"^parse\.model: 'nobody/tagger' is not on this"),
        (
            {"rank": {"model": "ViT-L-14-33"}},
            r"^rank\.model: 'ViT-L-14-33' .* which has ViT-L-14-336, ",
        ),
    ):
        with pytest.raises((FileNotFoundError, ValueError), match=message):
            curate.fn(CurateConfig.load(**settings))


def test_models_are_refused_before_real_images_are_looked_at(tmp_path: Path):
    folder = tmp_path / "model"
    shutil.copytree(MODELS / "owlv2", folder)
    config = EvaluateConfig.load(benchmarks=["quality"])
    with pytest.raises(OSError, match=r"^models\.wrong: .* there is no model_index\.json"):
        evaluate.fn([ModelUnderTest(label="wrong", name=str(folder))], config)


def test_a_model_without_its_weights_is_refused_by_every_flow_that_loads_it(tmp_path: Path):
    folder = tmp_path / "model"
    shutil.copytree(MODELS / "stable_diffusion", folder)
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    name, lacks = str(folder), r".*/unet has no diffusion_pytorch_model\.safetensors, without"
    base = {"base_model": name}
    for run in (
        lambda: finetune.fn("no data set is looked for", FinetuneConfig.load(**base)),
        lambda: reproduce.fn(ReproduceConfig.load(finetune=base)),
        lambda: ablate.fn(AblateConfig.load(finetune=base)),
    ):
        with pytest.raises(FileNotFoundError, match=rf"^finetune\.base_model: {lacks}"):
            run()
    other = tmp_path / "model_index.json"
    other.write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(ValueError, match=r"^grounded: finetune\.base_model: .* is a FluxPip"):
        reproduce.fn(ReproduceConfig.load(finetune={"base_model": str(tmp_path)}))
    with pytest.raises(FileNotFoundError, match=rf"^models\.other: {lacks}"):
        evaluate.fn([BASE, ModelUnderTest(label="other", name=name)])


@pytest.mark.parametrize(
    ("field", "kind", "changes"),
    [
        ("detector", "grounding-dino", {"detector_config": "", "text_encoder": ""}),
        ("segmenter", "sam_hq", {"segmenter_config": ""}),
    ],
)
def test_a_mask_model_without_its_weights(
    tmp_path: Path, field: str, kind: str, changes: dict[str, str]
):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    mask = {f"{field}_backend": "transformers", f"{field}_checkpoint": str(tmp_path), **changes}
    with pytest.raises(FileNotFoundError) as caught:
        curate.fn(CurateConfig.load(mask=mask))
    said = str(caught.value)
    assert said.startswith(f"mask.{field}_checkpoint: {tmp_path} has no model.safetensors, without")


def test_a_text_encoder_without_its_weights(tmp_path: Path):
    shutil.copy(MODELS / "grounding_dino/bert/config.json", tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"^mask\.text_encoder: .* no model\.safetensors, wi"
    ):
        curate.fn(CurateConfig.load(mask={"text_encoder": str(tmp_path)}))


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "vsr_coco", "vsr_path": "a", "captions_paths": ["b"], "images_dir": "c"},
        {"kind": "coco_captions", "captions_paths": ["a", "b"], "images_dir": "c"},
        {"kind": "json", "paths": ["a", "b"], "images_dir": "fetched/later"},
        {"kind": "webdataset", "paths": ["a", "b"], "images_dir": "unpacked/later"},
    ],
    ids=lambda source: source["kind"],
)
def test_every_file_of_a_caption_set_is_looked_for(
    source: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    settings = EvaluateConfig.load(quality={"pocket": {"source": source}}).quality["pocket"].source
    names = ["a", "b"] + ["c"] * (source["images_dir"] == "c")
    for name in names:
        with pytest.raises(FileNotFoundError, match=f"set needs {name}, which is not there"):
            check_source(settings, "set")
        (tmp_path / name).mkdir()
    check_source(settings, "set")
