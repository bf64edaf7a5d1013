"""Stage `report`: what a reproduction shows, on one page."""

import shutil
from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict

from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.configs.reproduce_config import ReproduceConfig
from data_schemas.manifest import Manifest
from tasks.cards import close_stage, format_figure
from tasks.draw_attention import SHEETS
from tasks.draw_dataset_card import CuratedSet
from tasks.evaluation import Evaluation
from tasks.links import link_to_report
from tasks.model_under_test import ModelUnderTest, inputs_of
from tasks.report_evaluation import REPORT_NAME, SECTIONS, SECTIONS_NAME, SHEET_NAME
from tasks.score_images import BenchmarkScore
from tasks.stage import STAGE_OPTIONS, Input, Spec, open_store, reuse_or_publish, run_stage
from tokencompose_core.reports.page import Figures, Section, facts_table, figure, render_page
from tokencompose_core.store.content_store import Store


class Reproduction(BaseModel):
    """What a run of `reproduce` made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    dataset_report_path: str
    scores: list[BenchmarkScore]
    models: list[ModelUnderTest]
    report_path: str


class ReportSpec(Spec):
    """The data set, the models, and the page of their evaluation."""

    stage: ClassVar[str] = "report"
    version: ClassVar[int] = 4

    dataset: str
    title_text: str
    models: list[ModelUnderTest]
    findings: Input
    warnings: list[str]
    attention: Input

    def parts(self) -> dict[str, Any]:
        """The data set, the models, and what their evaluation found."""
        return {
            "dataset": self.dataset,
            "title": self.title_text,
            "models": [[model.label, model.identity] for model in self.models],
            "findings": self.findings.digest,
            "warnings": self.warnings,
            "attention": self.attention.digest,
        }


@task(name="write-report", **STAGE_OPTIONS)
def write_report(spec: ReportSpec) -> Manifest | State:
    """Write the page of a reproduction.

    Reads: the page of its evaluation, manifests of the data set and of fine-tuned models.
    Writes: `report.html`, which needs no other file, and `sheet.jpg`, the comparison on it.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.store.lineage import trace

        findings = spec.findings.path(store)
        shutil.copy(findings / SHEET_NAME, folder / SHEET_NAME)
        sections = SECTIONS.validate_json((findings / SECTIONS_NAME).read_bytes())
        for model in spec.models:
            if model.stored is not None:
                manifest = store.find(model.stored.key)
                assert manifest is not None
                sections.append(_training_section(store, model.label, manifest))
        maps = [figure(spec.attention.path(store) / name) for name in SHEETS]
        title = "Where nouns look, by layer, timestep and head"
        sections.append(Section(title=title, parts=[Figures(urls=maps)]))
        sections += _data_sections(store, trace(store, spec.dataset))
        page = render_page(spec.title_text, spec.warnings, sections)
        (folder / REPORT_NAME).write_text(page, "utf-8")
        return {"num_in": len(spec.models), "num_out": len(spec.models)}

    inputs = inputs_of(spec.models)
    inputs[spec.attention.key] = spec.attention.digest
    inputs[spec.findings.key] = spec.findings.digest
    return reuse_or_publish(spec, write, inputs)


def _training_section(store: Store, label: str, manifest: Manifest) -> Section:
    """What a training measured, its curves and its samples."""
    names = [name for name in ("losses.png", "samples.jpg") if name in manifest.names()]
    return Section(
        title=f"Fine-tuning: {label}",
        parts=[
            facts_table({name: format_figure(value) for name, value in manifest.facts.items()}),
            Figures(urls=[figure(store.path(manifest, name)) for name in names]),
        ],
    )


def _data_sections(store: Store, manifests: list[Manifest]) -> list[Section]:
    """What became of the samples, stage by stage, and pictures with their masks."""
    sections = []
    for stage in ("select", "rank", "parse", "mask", "shard"):
        own = [manifest for manifest in manifests if manifest.stage == stage]
        facts = {
            "in": str(sum(manifest.num_in for manifest in own)),
            "out": str(sum(manifest.num_out for manifest in own)),
        }
        for manifest in own:
            for reason, count in manifest.rejected.items():
                name = f"left out: {reason}"
                facts[name] = str(int(facts.get(name, "0")) + count)
        sheets = [m for m in own if SHEET_NAME in m.names()][:1]
        urls = [figure(store.path(manifest, SHEET_NAME)) for manifest in sheets]
        sections.append(
            Section(title=f"Data: {stage}", parts=[facts_table(facts), Figures(urls=urls)])
        )
    return sections


def base_model(config: FinetuneConfig) -> ModelUnderTest:
    """The model that fine-tuning starts from."""
    return ModelUnderTest(label="base", name=config.base_model, revision=config.base_revision)


def denoising_alone(config: FinetuneConfig) -> FinetuneConfig:
    """The same training without any term of the objective."""
    objective = config.objective
    objective = objective.model_copy(update={f"{name}_weight": 0.0 for name in objective.weights})
    return config.model_copy(update={"objective": objective})


def compare_models(
    curated: CuratedSet,
    models: list[ModelUnderTest],
    found: Evaluation,
    attention: Input,
    config: ReproduceConfig,
) -> Reproduction:
    """Write the report of a reproduction: that of its evaluation, and how its models came about."""
    assert found.report is not None  # every evaluation ends with it
    spec = ReportSpec(
        dataset=curated.dataset,
        title_text=f"{config.curate.caption_set}, profile {config.profile}",
        models=models,
        findings=found.report,
        warnings=found.warnings,
        attention=attention,
    )
    outcomes = run_stage(write_report, [spec])
    path = open_store().path(outcomes[0].manifest, REPORT_NAME)
    close_stage(
        outcomes, config.curate.caption_set, note=link_to_report(outcomes[0].manifest, path)
    )
    return Reproduction(
        dataset=curated.dataset,
        dataset_report_path=curated.report_path,
        scores=found.scores,
        models=models,
        report_path=str(path),
    )
