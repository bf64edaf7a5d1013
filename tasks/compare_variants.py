"""Stage `ablation`: the variants of a fine-tuning side by side."""

import json
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int
from prefect import task
from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict

from data_schemas.configs.ablate_config import AblateConfig, Variant
from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.evaluation_records import ScoredImage
from data_schemas.manifest import Manifest
from data_schemas.results import MultiGenResult
from tasks.ablation_tables import HELD_OUT, NOTES, Table, difference_table, score_table
from tasks.benchmarks import list_compositions
from tasks.cards import close_stage
from tasks.describe_evaluation import describe_benchmark, describe_sampling
from tasks.links import link_to_report
from tasks.markdown import plain_text, table
from tasks.model_under_test import ModelUnderTest
from tasks.score_images import IMAGES_TABLE_NAME, BenchmarkScore
from tasks.stage import STAGE_OPTIONS, Input, Spec, open_store, reuse_or_publish, run_stage
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.tables import read_table

REPORT_NAME = "report.html"
TABLES_NAME = "tables.json"
_MOST_FOOT = 20_000  # characters; of some hundred models


class Training(BaseModel):
    """One fine-tuning of an ablation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    config: FinetuneConfig


class Ablation(BaseModel):
    """What a run of `ablate` made: for each study its scores, and their differences."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tables: dict[str, list[Table]]
    report_path: str


class VariantResult(BaseModel):
    """A variant, its fine-tuned models and their scores, one for each seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    reference: bool
    published: dict[str, float]
    trained: list[Input]
    scored: list[Input]


class AblationSpec(Spec):
    """All variants of some studies on one set of prompts."""

    stage: ClassVar[str] = "ablation"
    version: ClassVar[int] = 6

    title_text: str
    foot: str
    num_objects: int
    studies: dict[str, list[VariantResult]]

    def parts(self) -> dict[str, Any]:
        """Models and scores, and what they are called."""
        return {
            "title": self.title_text,
            "foot": self.foot,
            "num_objects": self.num_objects,
            "studies": {
                name: [
                    {
                        "label": variant.label,
                        "reference": variant.reference,
                        "published": variant.published,
                        "trained": [model.digest for model in variant.trained],
                        "scored": [score.digest for score in variant.scored],
                    }
                    for variant in variants
                ]
                for name, variants in self.studies.items()
            },
        }


def check_prompts(config: AblateConfig) -> None:
    """Refuse prompts that variants cannot be compared on, before anything is trained.

    Raises:
        ValueError: If there is one prompt alone, or as `list_compositions`.
    """
    (benchmark,) = list_compositions(config.evaluate_config)
    if len(benchmark.prompts) < 2:
        raise ValueError(
            f"evaluate.multigen.{config.prompts}.prompts: variants are compared over prompts, and"
            " there is 1; give at least 2"
        )


def list_trainings(config: AblateConfig) -> list[Training]:
    """Every distinct training once, all variants of a study with one seed before the next seed."""
    labels = _training_labels(config)
    return [
        Training(label=label, config=FinetuneConfig.model_validate_json(content))
        for content, label in labels.items()
    ]


def _training_labels(config: AblateConfig) -> dict[str, str]:
    """Labels of trainings by their configs, which several studies may share."""
    labels: dict[str, str] = {}
    for name in config.run:
        for seed in config.seeds:
            for variant in config.studies[name]:
                if not variant.frozen:
                    content = config.finetune_config(variant, seed).model_dump_json()
                    labels.setdefault(content, f"{variant.label}, seed {seed}")
    return labels


@task(name="compare-variants", **STAGE_OPTIONS)
def compare_scores(spec: AblationSpec) -> Manifest | State:
    """Set variants side by side.

    Reads: scores of every image, manifests of the fine-tuned models.
    Writes: `tables.json`, a chart for each study, and `report.html`, which needs no other file.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.evaluation.variants import compare_variants
        from tokencompose_core.reports.page import figure, render
        from tokencompose_core.reports.variant_chart import draw_variants

        studies, tables = [], {}
        for name, variants in spec.studies.items():
            counts = {
                variant.label: np.stack(
                    [_read_counts(score.path(store)) for score in variant.scored]
                )
                for variant in variants
            }
            held_to = next((v for v in variants if v.reference), variants[0])
            reference = held_to.label
            scores = compare_variants(counts, reference, num_objects=spec.num_objects)
            published = {
                variant.label: {int(key[2:]): value for key, value in variant.published.items()}
                for variant in variants
            }
            chart = folder / f"{name}.png"
            draw_variants(
                {
                    label: {k: (e.value, e.low, e.high) for k, e in score.score.items()}
                    for label, score in scores.items()
                },
                {
                    label: {
                        k: [100.0 * float((own >= k).mean()) for own in counts[label]]
                        for k in score.score
                    }
                    for label, score in scores.items()
                },
                published,
                chart,
            )
            # All trainings start from the frozen model, but each measures it by its own layers and
            # masks: those of one variant alone can be averaged.
            start = next((v for v in (held_to, *variants) if v.trained), held_to)
            facts = {
                variant.label: _held_out(store, variant, "after")
                if variant.trained
                else _held_out(store, start, "before")
                for variant in variants
            }
            tables[name] = [
                score_table(scores, published, facts),
                difference_table(scores, reference),
            ]
            studies.append({"name": name, "tables": tables[name], "chart": figure(chart)})
        (folder / TABLES_NAME).write_text(json.dumps(tables, indent=1), "utf-8")
        page = render(
            "ablation_page.html",
            title=spec.title_text,
            studies=studies,
            notes=[*NOTES, spec.foot],
        )
        (folder / REPORT_NAME).write_text(page, "utf-8")
        num_scored = sum(len(v.scored) for variants in spec.studies.values() for v in variants)
        return {"num_in": num_scored, "num_out": num_scored}

    inputs = {
        score.key: score.digest
        for variants in spec.studies.values()
        for variant in variants
        for score in variant.scored
    }
    return reuse_or_publish(spec, write, inputs)


def _read_counts(folder: Path) -> Int[np.ndarray, "prompts rounds"]:
    """Of how many of their categories the images of a model show something."""
    rows = read_table(folder / IMAGES_TABLE_NAME, ScoredImage)
    num_rounds = 1 + max(row.round for row in rows)
    # Rows are sorted by prompt, then by round.
    return np.array([row.num_found for row in rows]).reshape(-1, num_rounds)


def _held_out(store: Store, variant: VariantResult, when: str) -> dict[str, float]:
    """Means over trainings of what was measured on held-out samples, before or after."""
    manifests = [store.find(model.key) for model in variant.trained]
    found = [manifest.facts for manifest in manifests if manifest is not None]
    return {
        name: fmean(float(facts[f"{name} (held out, {when})"]) for facts in found)
        for name in HELD_OUT
        if found and all(f"{name} (held out, {when})" in facts for facts in found)
    }


def compare_variants(
    models: list[ModelUnderTest], scores: list[BenchmarkScore], config: AblateConfig
) -> Ablation:
    """Write the tables of an ablation."""
    result = scores[0].result
    assert isinstance(result, MultiGenResult)
    scored = {score.label: score for score in scores}
    stored = {model.label: model.stored for model in models}
    base = models[0].label
    labels = _training_labels(config)

    def gather(variant: Variant) -> VariantResult:
        own = (
            [base]
            if variant.frozen
            else [
                labels[config.finetune_config(variant, seed).model_dump_json()]
                for seed in config.seeds
            ]
        )
        return VariantResult(
            label=variant.label,
            reference=variant.reference,
            published=variant.published,
            trained=[trained for label in own if (trained := stored[label]) is not None],
            scored=[scored[label].scored for label in own],
        )

    (benchmark,) = list_compositions(config.evaluate_config)
    seeds = ", ".join(map(str, config.seeds))
    sampled = describe_sampling(models, config.evaluate.sampler)
    spec = AblationSpec(
        title_text=f"{config.curate.caption_set}, profile {config.profile}, prompts of"
        f" {benchmark.name}",
        foot=f"{describe_benchmark(benchmark)} Training seeds: {seeds}. {sampled}",
        num_objects=max(result.mean),
        studies={study: [gather(v) for v in config.studies[study]] for study in config.run},
    )
    outcomes = run_stage(compare_scores, [spec])
    manifest = outcomes[0].manifest
    path = open_store().path(manifest, REPORT_NAME)
    tables = json.loads(open_store().path(manifest, TABLES_NAME).read_text("utf-8"))
    lines = [link_to_report(manifest, path), *(_markdown(*item) for item in tables.items())]
    lines.append(plain_text(spec.foot, most=_MOST_FOOT))
    close_stage(outcomes, config.curate.caption_set, note="\n\n".join(lines))
    return Ablation(tables=tables, report_path=str(path))


def _markdown(name: str, tables: list[Table]) -> str:
    lines = [f"## {plain_text(name)}"]
    for columns, *rows in tables:
        cells = [list(map(plain_text, row)) for row in (columns, *rows)]
        lines += ["", *table(cells[0], cells[1:])]
    return "\n".join(lines)
