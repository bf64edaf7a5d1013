"""What the page of an evaluation says it was made from, on a store whose entries are by hand."""

from pathlib import Path
from typing import Any

from data_schemas.configs.evaluate_config import EvaluateConfig
from tasks.evaluation import Evaluation
from tasks.measure_latency import ModelLatency
from tasks.measure_quality import ModelQuality
from tasks.model_under_test import ModelUnderTest, inputs_of
from tasks.report_evaluation import FindingsSpec, write_findings
from tasks.stage import Input, open_store
from tokencompose_core.checkpoints.locate import identity
from tokencompose_core.store.broken_lineage import find_broken_lineage
from tokencompose_core.store.survey import survey
from tokencompose_core.store.unreferenced import with_inputs


def stored(stage: str, number: int, name: str) -> Input:
    def write(folder: Path) -> dict[str, Any]:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"{stage} {number}")
        return {}

    manifest = open_store().publish(f"{stage}-v1-{number:032x}", stage, write)
    folder, slash, _ = name.rpartition("/")
    return Input.of(manifest, folder + slash)


def quality(generated: Input, measured: Input) -> ModelQuality:
    return ModelQuality(
        generated=[generated], measured=measured, label="base", benchmark="quality-own", fid=1.0,
        kid=1.0, kid_deviation=0.0, num_images=2, num_blanked=0, num_reference=2, dimension=2,
        extractor="CLIP", weights="", resizing="", num_kid_subsets=1, kid_subset_size=1, kid_seed=0,
    )  # fmt: skip


def findings(models: list[ModelUnderTest], found: Evaluation) -> FindingsSpec:
    sampler = EvaluateConfig.load().sampler
    return FindingsSpec(models=models, benchmarks=[], sampler=sampler, found=found, guards=[])


def test_figures_and_images_on_the_page_are_among_what_it_was_made_from(store_dir):
    generated = stored("generate", 1, "images.tar")
    measured = stored("quality", 2, "quality.json")
    timed = stored("latency", 3, "latency.json")
    stored("generate", 4, "images.tar")
    found = Evaluation(
        qualities=[quality(generated, measured)],
        latencies=[
            ModelLatency(
                label="base", machine="", mean=1.0, deviation=0.0, num_images=2, measured=timed
            )
        ],
    )
    base = ModelUnderTest(label="base", name="owner/model")
    manifest = write_findings.fn(findings([base], found))
    entries = {entry.key: entry for entry in survey(open_store(), "size")}
    own = {generated.key, measured.key, timed.key}
    assert with_inputs(entries, [manifest.key]) == own | {manifest.key}
    assert find_broken_lineage(entries) == {}


def test_a_model_with_and_without_lora_layers_is_not_taken_for_one(store_dir, tmp_path):
    lora = tmp_path / "a.safetensors"
    lora.write_bytes(b"layers")
    added, layers = f"lora {lora}", identity(str(lora))
    base = ModelUnderTest(label="base", name="owner/model")
    for models in ([base, with_lora(base, lora)], [with_lora(base, lora), base]):
        assert inputs_of(models) == {"owner/model": "owner/model@main", added: layers}

    own = ModelUnderTest(label="own", stored=stored("finetune", 1, "model/model_index.json"))
    manifest = write_findings.fn(findings([own, with_lora(own, lora)], Evaluation()))
    assert own.stored is not None
    assert manifest.inputs == {own.stored.key: own.identity, added: layers}
    entries = {entry.key: entry for entry in survey(open_store(), "size")}
    assert find_broken_lineage(entries) == {}


def with_lora(model: ModelUnderTest, lora: Path) -> ModelUnderTest:
    return model.model_copy(update={"label": f"{model.label} with layers", "lora": str(lora)})
