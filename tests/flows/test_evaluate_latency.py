"""The flow `evaluate` with all that a model may be given, and latency beside the scores."""

import json
from pathlib import Path

import torch

from data_schemas.configs.evaluate_config import EvaluateConfig
from data_schemas.manifest import Manifest
from flows.evaluate import evaluate
from tasks.model_under_test import ModelUnderTest
from tests.conftest import MODELS
from tokencompose_core.evaluation.generate import load_pipeline
from tokencompose_core.training.trainable import choose_trainable, save_model

SAMPLED = {"kind": "sampled", "categories": ["cat", "boat"], "num_prompts": 3, "num_objects": 1}


def test_a_base_and_a_lora_are_scored_and_timed_once(
    store_dir: Path, tmp_path: Path, prefect_server: None
):
    pipeline = load_pipeline(MODELS / "stable_diffusion")
    chosen = choose_trainable(pipeline.unet, "lora", lora_rank=1, seed=0)
    with torch.no_grad():
        for parameter in chosen.values():
            parameter.fill_(0.05)
    save_model(pipeline, "lora", tmp_path / "model", tmp_path / "lora")
    config = EvaluateConfig.load(
        benchmarks=["multigen", "latency"],
        multigen={"pocket": {"num_images_per_prompt": 1, "prompts": SAMPLED | {"seed": 1}}},
        sampler={"num_inference_steps": 1, "height": 32, "width": 32},
        latency={"num_images": 2, "num_warmup": 0},
        partition_size=2,
        device="cpu",
    )
    base = ModelUnderTest(label="base", name="pocket:stable_diffusion")
    models = [base, base.model_copy(update={"label": "lora", "lora": str(tmp_path / "lora")})]
    found = evaluate(models, config)
    scored = [(score.label, score.result.num_images) for score in found.scores]
    assert scored == [("base", 3), ("lora", 3)]
    assert found.scores[0].generated != found.scores[1].generated
    assert [(one.label, one.num_images) for one in found.latencies] == [("base", 2), ("lora", 2)]
    stored = sorted(store_dir.glob("*/manifest.json"))
    manifests = [Manifest.model_validate_json(path.read_text()) for path in stored]
    counts = {stage: sum(m.stage == stage for m in manifests) for stage in ("generate", "latency")}
    assert counts == {"generate": 4, "latency": 2}
    timed = [
        json.loads((path.parent / "latency.json").read_text())["seconds"]
        for path in stored
        if path.parent.name.startswith("latency")
    ]
    assert [len(seconds) for seconds in timed] == [2, 2]
    times = [path.stat().st_mtime_ns for path in stored]
    assert evaluate(models, config) == found
    assert sorted(store_dir.glob("*/manifest.json")) == stored
    assert [path.stat().st_mtime_ns for path in stored] == times
