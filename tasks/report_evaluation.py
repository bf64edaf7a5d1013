"""Stage `findings`: what an evaluation found, on one page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.client.schemas.objects import State
from pydantic import TypeAdapter

from data_schemas.configs.evaluate_config import EvaluateConfig, SamplerConfig
from data_schemas.manifest import Manifest
from tasks.benchmarks import Benchmark
from tasks.cards import MOST_IMAGE_BYTES, artifact_key, close_stage
from tasks.evaluation import Evaluation
from tasks.guard_rails import GuardRails, find_guard_rails, list_warnings, log_warnings
from tasks.links import link_to_maker, link_to_output, link_to_report
from tasks.markdown import plain_text, table
from tasks.model_under_test import ModelUnderTest, inputs_of
from tasks.stage import STAGE_OPTIONS, Input, Spec, open_store, reuse_or_publish, run_stage
from tokencompose_core.reports.page import Section, render_page
from tokencompose_core.store.content_store import Store

REPORT_NAME = "report.html"
SECTIONS_NAME = "sections.json"
SHEET_NAME = "sheet.jpg"
SECTIONS = TypeAdapter(list[Section])


class FindingsSpec(Spec):
    """Models, benchmarks and all figures."""

    stage: ClassVar[str] = "findings"
    version: ClassVar[int] = 6

    models: list[ModelUnderTest]
    benchmarks: list[Benchmark]
    sampler: SamplerConfig
    found: Evaluation
    guards: list[GuardRails]

    def parts(self) -> dict[str, Any]:
        """The models, what they were asked, and what was found out."""
        found = self.found
        return {
            "models": [
                [model.label, model.identity, model.stored.key if model.stored else ""]
                for model in self.models
            ],
            "benchmarks": [
                [
                    benchmark.name,
                    benchmark.digest,
                    benchmark.detector and benchmark.detector.model_dump(),
                ]
                for benchmark in self.benchmarks
            ],
            "sampler": self.sampler.model_dump(exclude={"batch_size", "decode_batch_size"}),
            "scores": [[s.label, s.benchmark, s.scored.digest] for s in found.scores],
            "images": [
                [part.digest for part in generated]
                for generated in (
                    *(score.generated for score in found.scores),
                    *(quality.generated for quality in found.qualities),
                )
            ],
            "qualities": [q.model_dump(exclude={"generated", "measured"}) for q in found.qualities],
            "clip_scores": [
                [s.model_dump(exclude={"scored"}), s.scored.digest] for s in found.clip_scores
            ],
            "latencies": [one.model_dump(exclude={"measured"}) for one in found.latencies],
            "warnings": found.warnings,
            "guards": [guard.model_dump() for guard in self.guards],
        }


@task(name="report-evaluation", **STAGE_OPTIONS)
def write_findings(spec: FindingsSpec) -> Manifest | State:
    """Write the page of an evaluation.

    Reads: judged and generated images of all models.
    Writes: `report.html`, which needs no other file; `sections.json`, what the page is made of; and
        `sheet.jpg`, some images of all models, if there are any.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tasks.evaluation_sections import draw_overview, make_sections
        from tokencompose_core.reports.contact_sheet import jpeg_under

        sections = make_sections(
            store, spec.models, spec.benchmarks, spec.found, spec.guards, spec.sampler
        )
        (folder / SECTIONS_NAME).write_bytes(SECTIONS.dump_json(sections, indent=1))
        page = render_page("; ".join(m.label for m in spec.models), spec.found.warnings, sections)
        (folder / REPORT_NAME).write_text(page, "utf-8")
        sheet = draw_overview(store, spec.benchmarks, spec.found)
        if sheet is not None:
            (folder / SHEET_NAME).write_bytes(jpeg_under(sheet, MOST_IMAGE_BYTES))
        return {"num_in": len(spec.models), "num_out": len(spec.models)}

    inputs = inputs_of(spec.models)
    inputs |= {output.key: output.digest for output in spec.found.outputs()}
    return reuse_or_publish(spec, write, inputs)


def report_evaluation(
    models: Sequence[ModelUnderTest],
    benchmarks: Sequence[Benchmark],
    found: Evaluation,
    config: EvaluateConfig,
) -> Evaluation:
    """Write the page of an evaluation, and warn of what limits its figures.

    Returns:
        The evaluation with its warnings, and where the page lies.
    """
    guards = find_guard_rails(models, benchmarks)
    warned = found.model_copy(update={"warnings": list_warnings(guards, benchmarks, found)})
    spec = FindingsSpec(
        models=list(models),
        benchmarks=list(benchmarks),
        sampler=config.sampler,
        found=warned,
        guards=guards,
    )
    log_warnings(warned.warnings)
    outcomes = run_stage(write_findings, [spec])
    path = open_store().path(outcomes[0].manifest, REPORT_NAME)
    lines = [
        link_to_report(outcomes[0].manifest, path),
        *(f"**Warning** {plain_text(text, most=1000)}" for text in warned.warnings),
        "\n".join(table(("model", "what it is", "trained by"), map(_describe_model, models))),
    ]
    close_stage(
        outcomes, artifact_key(*(model.label for model in models))[:80], note="\n\n".join(lines)
    )
    return warned.model_copy(
        update={"report_path": str(path), "report": Input.of(outcomes[0].manifest)}
    )


def _describe_model(model: ModelUnderTest) -> tuple[str, str, str]:
    """A model's label, its key or name, and the run that trained it, whose page has its card."""
    label = plain_text(model.label)
    manifest = open_store().find(model.stored.key, "size") if model.stored else None
    if manifest is None:
        return label, plain_text(model.name), ""
    return label, link_to_output(manifest.key), link_to_maker(manifest)
