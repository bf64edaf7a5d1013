"""Guard rails, on a store whose lineage is made by hand."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_schemas.configs.evaluate_config import EvaluateConfig
from tasks.benchmarks import Benchmark
from tasks.evaluation import Evaluation
from tasks.guard_rails import find_guard_rails, list_warnings
from tasks.model_under_test import ModelUnderTest
from tasks.stage import Input, open_store
from tokencompose_core.checkpoints.locate import identity
from tokencompose_core.evaluation.prompts import Prompt

CONFIG = EvaluateConfig.load()
DETECTOR = identity(CONFIG.detector.model)
PROMPTS = [
    Prompt(0, "a photo of a cat and a cup.", ("cat", "cup")),
    Prompt(1, "a photo of a kite.", ("kite",)),
]
BENCHMARK = Benchmark(
    kind="multigen", name="multigen-own", prompts=PROMPTS, num_rounds=1, detector=CONFIG.detector
)
BASE = ModelUnderTest(label="base", name="pocket:stable_diffusion")


def publish(stage: str, number: int, inputs: dict[str, str], parts=None, captions=()) -> str:
    def write(folder: Path) -> dict[str, Any]:
        (folder / "model").mkdir()
        (folder / "model/model_index.json").write_text(f"{stage} {number}")
        table = pa.table({"caption": pa.array(captions, pa.string())})
        pq.write_table(table, folder / "index.parquet")
        return {}

    key = f"{stage}-v1-{number:032x}"
    open_store().publish(key, stage, write, inputs=inputs, parts=parts or {})
    return key


def trained(detector: str, captions: list[str]) -> ModelUnderTest:
    """A model that was fine-tuned on captions whose masks a detector made."""
    mask = publish("mask", 1, {}, {"detector": detector})
    shard = publish("shard", 2, {mask: ""}, captions=captions)
    encode = publish("encode", 3, {shard: ""})
    return ModelUnderTest(label="own", stored=publish("finetune", 4, {encode: ""}))


def warnings(model: ModelUnderTest) -> list[str]:
    guards = find_guard_rails([BASE, model], [BENCHMARK])
    return list_warnings(guards, [BENCHMARK], Evaluation())


def test_model_of_another_detector_and_other_captions_has_no_warning(store_dir):
    model = trained("sha256:other", ["A cat in a cup."])
    base, own = find_guard_rails([BASE, model], [BENCHMARK])
    assert (base.shared_detectors, base.seen) == (None, None)
    assert (own.shared_detectors, own.seen) == ([], {"multigen-own": []})
    assert warnings(model) == []


def test_detector_that_scores_and_made_the_masks_is_named(store_dir):
    (warning,) = warnings(trained(DETECTOR, ["A cat in a cup."]))
    assert warning.startswith("own: the detector that scores multigen-own also made")


def test_prompts_seen_in_training_are_counted_and_named(store_dir):
    (warning,) = warnings(trained("sha256:other", ["A photo of a KITE", "a boat"]))
    assert warning.startswith("own: 1 of 2 prompts of multigen-own are captions of its data set")
    assert '"a photo of a kite."' in warning


def test_lineage_with_a_gap_is_not_known_but_what_it_has_still_warns(store_dir):
    model = trained(DETECTOR, ["a photo of a kite"])
    shutil.rmtree(next(store_dir.glob("mask-*")))
    (own,) = find_guard_rails([model], [BENCHMARK])
    assert own.shared_detectors is None
    assert own.seen == {"multigen-own": ["a photo of a kite."]}


def test_what_made_imported_masks_is_not_known(store_dir):
    imported = publish("import", 5, {})
    shard = publish("shard", 6, {imported: ""}, captions=["a photo of a kite"])
    model = ModelUnderTest(label="own", stored=publish("finetune", 7, {shard: ""}))
    (own,) = find_guard_rails([model], [BENCHMARK])
    assert own.shared_detectors is None
    assert own.seen == {"multigen-own": ["a photo of a kite."]}
    # One shard whose masks a detector made says nothing of the other.
    mask = publish("mask", 1, {}, {"detector": "sha256:other"})
    both = {shard: "", publish("shard", 2, {mask: ""}): ""}
    model = ModelUnderTest(label="both", stored=publish("finetune", 8, both))
    assert find_guard_rails([model], [BENCHMARK])[0].shared_detectors is None


def test_model_of_the_store_is_named_by_its_key_alone(store_dir):
    model = trained("sha256:other", [])
    assert isinstance(model.stored, Input)
    assert model.stored.name == "model/"
    with pytest.raises(ValueError, match=r"has no model 'finetune-v1-1'; the flow `finetune`"):
        ModelUnderTest(label="own", stored="finetune-v1-1")
    with pytest.raises(ValueError, match=r"model 'own': give either its name, or stored"):
        ModelUnderTest(label="own")


def with_lora(folder: Path) -> ModelUnderTest:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pytorch_lora_weights.safetensors").write_text("")
    return ModelUnderTest(label="own", name="pocket:stable_diffusion", lora=str(folder))


def test_lora_layers_of_the_store_are_followed_to_their_data_set(store_dir):
    trained_model = trained(DETECTOR, ["a photo of a kite"])
    assert isinstance(trained_model.stored, Input)
    model = with_lora(store_dir / trained_model.stored.key / "lora")
    (own,) = find_guard_rails([model], [BENCHMARK])
    assert own.shared_detectors == ["multigen-own"]
    assert own.seen == {"multigen-own": ["a photo of a kite."]}


def test_lora_layers_from_elsewhere_leave_training_unknown(store_dir, tmp_path):
    trained_model = trained("sha256:other", [])
    assert isinstance(trained_model.stored, Input)
    lora = with_lora(tmp_path / "elsewhere").lora
    model = ModelUnderTest(label="own", stored=trained_model.stored.key, lora=lora)
    (own,) = find_guard_rails([model], [BENCHMARK])
    assert (own.shared_detectors, own.seen) == (None, None)
