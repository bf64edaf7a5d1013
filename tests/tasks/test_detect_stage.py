"""The stage `detect`: what it writes, and what its output depends on."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from data_schemas.configs.evaluate_config import DetectorConfig, EvaluateConfig
from data_schemas.evaluation_records import (
    GENERATED_SCHEMA,
    LOWEST_SCORE,
    DetectedBox,
    GeneratedImage,
)
from tasks.benchmarks import Benchmark, list_benchmarks
from tasks.detect_objects import (
    DETECTIONS_NAME,
    DetectSpec,
    check_detectors,
    detect_partition,
)
from tasks.generate_images import IMAGES_NAME, INDEX_NAME
from tasks.stage import Input, open_store
from tests.conftest import MODELS
from tests.tiny_detectors import write_owlvit
from tokencompose_core.evaluation.image_tar import ImageSample, write_images
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.pocket.floors.held_out import draw_held_out
from tokencompose_core.store.tables import read_table, write_table

VOCABULARY = ["boat", "car", "cat", "chair", "cup", "kite"]
ASKED = [["kite", "cat"], ["boat"], ["cup", "car", "cat"], ["chair", "boat"]]


@pytest.fixture
def generated(store_dir) -> Input:
    held_out = draw_held_out(len(ASKED), seed=71, square=True)
    rows = [
        GeneratedImage(
            image=f"{number}_0",
            prompt_id=number,
            round=0,
            seed=number,
            prompt="",
            categories=names,
            blanked=False,
        )
        for number, names in enumerate(ASKED)
    ]

    def write(folder: Path) -> dict[str, Any]:
        pictures = [item.image.resize((64, 64)) for item in held_out]
        samples = [ImageSample(r.image, p, {}) for r, p in zip(rows, pictures, strict=True)]
        write_images(folder / IMAGES_NAME, [samples])
        write_table(folder / INDEX_NAME, rows, GENERATED_SCHEMA)
        return {}

    return Input.of(open_store().publish("generate-v1-x", "generate", write))


def detector(**changes: object) -> DetectorConfig:
    return EvaluateConfig.load(detector=changes).detector


def spec(generated: Input, vocabulary: list[str] = VOCABULARY, **changes: object) -> DetectSpec:
    return DetectSpec(
        generated=generated,
        label="base",
        part="part-00000",
        vocabulary=vocabulary,
        settings=detector(**changes),
        device="cpu",
    )


def detect(spec: DetectSpec) -> list[DetectedBox]:
    return read_table(open_store().path(detect_partition.fn(spec), DETECTIONS_NAME), DetectedBox)


def test_every_box_has_a_category_of_its_prompt_and_a_rival(generated):
    boxes = detect(spec(generated))
    assert {box.image for box in boxes} == {f"{number}_0" for number in range(len(ASKED))}
    for box in boxes:
        assert box.category in ASKED[box.prompt_id]
        assert box.rival in VOCABULARY
        assert box.rival_score >= box.score
        assert box.rival_score > LOWEST_SCORE
    rivals = {box.rival for box in boxes if box.prompt_id == 1}
    assert len(rivals) > 1
    assert {box.category for box in boxes if box.prompt_id == 1} == {"boat"}


def test_batch_size_and_threshold_change_nothing_and_all_else_has_a_key_of_its_own(
    generated, tmp_path
):
    first = spec(generated)
    assert spec(generated, batch_size=1, threshold=0.4).key == first.key
    others = [
        spec(generated, VOCABULARY[:-1]),
        spec(generated, query="a {name}"),
        spec(generated, precision="bfloat16"),
        spec(generated, architecture="owlvit"),
        spec(generated, model=str(write_owlvit(tmp_path))),
    ]
    assert len({first.key, *(other.key for other in others)}) == len(others) + 1


def test_stage_takes_an_owlvit(generated, tmp_path):
    boxes = detect(spec(generated, architecture="owlvit", model=str(write_owlvit(tmp_path))))
    assert {box.category for box in boxes} <= {name for names in ASKED for name in names}
    assert boxes


def test_scores_are_kept_with_single_precision(generated):
    manifest = detect_partition.fn(spec(generated))
    schema = pq.read_schema(open_store().path(manifest, DETECTIONS_NAME))
    assert str(schema.field("rival_score").type) == "float"
    assert not schema.field("rival").nullable


def benchmark(**changes: object) -> Benchmark:
    prompts = [Prompt(number, "", tuple(names)) for number, names in enumerate(ASKED)]
    return Benchmark(
        kind="multigen",
        name="multigen-x",
        prompts=prompts,
        num_rounds=1,
        detector=detector(**changes),
    )


def test_vocabulary_is_what_the_prompts_ask_for():
    assert benchmark().vocabulary == VOCABULARY


def test_detectors_are_checked_before_images_are_generated(tmp_path):
    check_detectors(list_benchmarks(EvaluateConfig.load()), "cpu")
    with pytest.raises(ValueError, match=r"architecture is wrong: .* 'owlvit' is needed"):
        check_detectors([benchmark(architecture="owlvit")], "cpu")
    with pytest.raises(ValueError, match="multigen-x: precision: float16 needs a GPU"):
        check_detectors([benchmark(precision="float16")], "cpu")
    with pytest.raises(FileNotFoundError, match=r"multigen-x: model '.*nothing'"):
        check_detectors([benchmark(model=str(tmp_path / "nothing"))], "cpu")


@pytest.mark.parametrize("architecture", ["owlv2", "owlvit"])
def test_categories_that_the_detector_would_not_read_are_refused_before_weights_are_loaded(
    tmp_path, architecture
):
    folder = MODELS / "owlv2"
    if architecture == "owlvit":
        folder = write_owlvit(tmp_path / "whole")
    model = tmp_path / "model"
    shutil.copytree(folder, model, ignore=shutil.ignore_patterns("*.safetensors"))
    settings = {"architecture": architecture, "model": str(model)}
    with pytest.raises(FileNotFoundError) as caught:
        check_detectors([benchmark(**settings)], "cpu")
    assert str(caught.value) == (
        f"detector of multigen-x: {model} has no model.safetensors, without which the model cannot"
        " be loaded; see that its download came to its end"
    )
    save_file({"none of its own": torch.zeros(1)}, model / "model.safetensors")
    check_detectors([benchmark(**settings)], "cpu")
    long = "very " * 20 + "long boat"
    prompt = Prompt(9, "", ("cat", long))
    named = benchmark(**settings).model_copy(update={"prompts": [prompt]})
    message = (
        rf"multigen-x: query: category '{long}': .* tokens, but the detector reads 16; shorten"
    )
    with pytest.raises(ValueError, match=message):
        check_detectors([named], "cpu")
