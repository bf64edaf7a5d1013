"""Stage `report`: what a reproduction shows, on one page."""

from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict

from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.configs.reproduce_config import ReproduceConfig
from data_schemas.manifest import Manifest
from data_schemas.results import MultiGenResult
from tasks.cards import close_stage, format_figure, link_to_report
from tasks.draw_attention import SHEETS
from tasks.draw_dataset_card import CuratedSet
from tasks.generate_images import IMAGES_NAME, INDEX_NAME
from tasks.model_under_test import ModelUnderTest
from tasks.result_cells import result_cells
from tasks.score_images import BenchmarkScore
from tasks.stage import STAGE_OPTIONS, Input, Spec, open_store, reuse_or_publish, run_stage
from tokencompose_core.store.content_store import Store

REPORT_NAME = "report.html"
_NUM_PROMPTS = 8


class Reproduction(BaseModel):
    """What a run of `reproduce` made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    dataset_report_path: str
    scores: list[BenchmarkScore]
    report_path: str


class ReportSpec(Spec):
    """Scores and models of a reproduction."""

    stage: ClassVar[str] = "report"
    version: ClassVar[int] = 3

    dataset: str
    title_text: str
    models: list[ModelUnderTest]
    scores: list[BenchmarkScore]
    attention: Input

    def parts(self) -> dict[str, Any]:
        """The data set, the models, their scores and images."""
        return {
            "dataset": self.dataset,
            "title": self.title_text,
            "models": [[model.label, model.identity] for model in self.models],
            "scores": [[s.label, s.benchmark, s.scored.digest] for s in self.scores],
            "attention": self.attention.digest,
            "images": [[part.digest for part in score.generated] for score in self.scores],
        }


@task(name="write-report", **STAGE_OPTIONS)
def write_report(spec: ReportSpec) -> Manifest | State:
    """Write the page of a reproduction.

    Reads: manifests of the data set, fine-tuned models, generated images.
    Writes: `report.html`, which needs no other file, and `sheet.jpg`, the comparison on it.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from data_schemas.records import GeneratedImage
        from tokencompose_core.evaluation.image_tar import read_images
        from tokencompose_core.reports.charts import draw_success
        from tokencompose_core.reports.contact_sheet import draw_sheet
        from tokencompose_core.reports.page import Row, Section, figure, render_page
        from tokencompose_core.store.lineage import trace
        from tokencompose_core.store.tables import read_table

        pictures, labels = [], []
        columns = {}
        # Pictures are of the first benchmark; tables are of all.
        pictured = [s for s in spec.scores if s.benchmark == spec.scores[0].benchmark]
        for score in pictured:
            part = score.generated[0].path(store)
            columns[score.label] = read_images(part / IMAGES_NAME)
            index = read_table(part / INDEX_NAME, GeneratedImage)
        shown = [row for row in index if row.round == 0][:_NUM_PROMPTS]
        for score in pictured:
            for row in shown:
                pictures.append(columns[score.label][row.image])
                labels.append(f"{score.label}: {', '.join(row.categories)}")
        sheet = draw_sheet(pictures, labels, columns=len(shown), side=128, label_lines=4)
        sheet.save(folder / "sheet.jpg", quality=85)
        sections = [Section("Same prompts, same noise", figures=[figure(folder / "sheet.jpg")])]
        rows = []
        several = len({s.benchmark for s in spec.scores}) > 1
        for benchmark in dict.fromkeys(s.benchmark for s in spec.scores):
            own = {s.label: s.result for s in spec.scores if s.benchmark == benchmark}
            success = {n: r.success for n, r in own.items() if isinstance(r, MultiGenResult)}
            if success:
                rows += [
                    Row(
                        f"{label}, {benchmark}" if several else label,
                        result_cells(result),
                        result.num_images,
                    )
                    for label, result in own.items()
                ]
                picture = folder / f"success-{benchmark}.png"
                draw_success(success, picture)
                sections.append(
                    Section(f"Success by category: {benchmark}", figures=[figure(picture)])
                )
            else:
                facts = {
                    f"{label}: {name}": cell
                    for label, result in own.items()
                    for name, cell in result_cells(result, intervals=True).items()
                }
                sections.append(Section(f"VISOR: {benchmark}", facts=facts))
        for model in spec.models:
            if model.stored is not None:
                manifest = store.find(model.stored.key)
                assert manifest is not None
                names = [n for n in ("losses.png", "samples.jpg") if n in manifest.names()]
                sections.append(
                    Section(
                        f"Fine-tuning: {model.label}",
                        facts={k: format_figure(v) for k, v in manifest.facts.items()},
                        figures=[figure(store.path(manifest, name)) for name in names],
                    )
                )
        maps = [spec.attention.path(store) / name for name in SHEETS]
        sections.append(
            Section("Where nouns look, by layer, timestep and head", figures=[*map(figure, maps)])
        )
        sections += _data_sections(store, trace(store, spec.dataset), Section, figure)
        page = render_page(spec.title_text, rows, sections)
        (folder / REPORT_NAME).write_text(page, "utf-8")
        return {"num_in": len(spec.scores), "num_out": len(spec.scores)}

    inputs = {model.lineage: model.identity for model in spec.models}
    inputs[spec.attention.key] = spec.attention.digest
    return reuse_or_publish(spec, write, inputs)


def _data_sections(store: Store, manifests: list[Manifest], section_type, figure) -> list:
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
        sheets = [m for m in own if "sheet.jpg" in m.names()][:1]
        figures = [figure(store.path(manifest, "sheet.jpg")) for manifest in sheets]
        sections.append(section_type(f"Data: {stage}", facts=facts, figures=figures))
    return sections


def base_model(config: FinetuneConfig) -> ModelUnderTest:
    """The model that fine-tuning starts from."""
    return ModelUnderTest(label="base", name=config.base_model, revision=config.base_revision)


def denoising_alone(config: FinetuneConfig) -> FinetuneConfig:
    """The same training without token and pixel loss."""
    objective = config.objective.model_copy(update={"token_weight": 0.0, "pixel_weight": 0.0})
    return config.model_copy(update={"objective": objective})


def compare_models(
    curated: CuratedSet,
    models: list[ModelUnderTest],
    scores: list[BenchmarkScore],
    attention: Input,
    config: ReproduceConfig,
) -> Reproduction:
    """Write the report of a reproduction."""
    title = f"{config.curate.caption_set}, profile {config.profile}"
    spec = ReportSpec(
        dataset=curated.dataset,
        title_text=title,
        models=models,
        scores=scores,
        attention=attention,
    )
    outcomes = run_stage(write_report, [spec])
    path = open_store().path(outcomes[0].manifest, REPORT_NAME)
    close_stage(outcomes, config.curate.caption_set, note=link_to_report(path))
    return Reproduction(
        dataset=curated.dataset,
        dataset_report_path=curated.report_path,
        scores=scores,
        report_path=str(path),
    )
