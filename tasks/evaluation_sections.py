"""The sections of an evaluation's page, one for each benchmark."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from data_schemas.configs.evaluate_config import SamplerConfig
from data_schemas.evaluation_records import ClipScoredImage, ScoredImage
from tasks.benchmark_tables import (
    confusion_table,
    difference_tables,
    multigen_results,
    score_table,
    success_chart,
)
from tasks.benchmarks import Benchmark
from tasks.describe_evaluation import (
    describe_benchmark,
    describe_clip,
    describe_features,
    describe_sampling,
)
from tasks.evaluation import Evaluation
from tasks.guard_rails import GuardRails
from tasks.model_under_test import ModelUnderTest
from tasks.picture_grids import NUM_COLUMNS, Shown, draw_changes, draw_grid, read_pictures
from tasks.quality_tables import (
    clip_difference_tables,
    clip_score_table,
    guard_table,
    latency_table,
    quality_table,
)
from tasks.score_images import IMAGES_TABLE_NAME, BenchmarkScore
from tasks.stage import Input
from tokencompose_core.reports.page import Chart, Figures, Grid, Section, Table
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.tables import read_table

if TYPE_CHECKING:
    from PIL.Image import Image

_TITLES = {"multigen": "MultiGen", "visor": "VISOR", "quality": "Image quality"}


def make_sections(
    store: Store,
    models: Sequence[ModelUnderTest],
    benchmarks: Sequence[Benchmark],
    found: Evaluation,
    guards: Sequence[GuardRails],
    sampler: SamplerConfig,
) -> list[Section]:
    """Everything that an evaluation found, in the order of its benchmarks."""
    sampled = describe_sampling(models, sampler)
    sections = []
    for benchmark in benchmarks:
        title, _, name = benchmark.name.partition("-")
        parts: list[Table | Chart | Grid | Figures]
        described = describe_benchmark(benchmark)
        if benchmark.kind == "quality":
            qualities = [own for own in found.qualities if own.benchmark == benchmark.name]
            parts = [quality_table(qualities, sampler), _same_noise(store, benchmark, found, {})]
            described += " " + describe_features(qualities[0])
        else:
            parts = _scored_parts(store, benchmark, found, sampler)
        title = _TITLES[benchmark.kind] + (f": {name}" if name else "")
        foot = f"{described} {sampled}"
        sections.append(Section(title=title, parts=parts, foot=foot))
    if found.clip_scores:
        sections.append(_clip_section(store, benchmarks, found, sampled))
    if found.latencies:
        table = latency_table(found.latencies, sampler)
        sections.append(Section(title="Seconds an image", parts=[table], foot=sampled))
    sections.append(Section(title="What models were trained on", parts=[guard_table(guards)]))
    return sections


def draw_overview(
    store: Store, benchmarks: Sequence[Benchmark], found: Evaluation
) -> "Image | None":
    """Images of the first benchmark's first prompts on one picture, for the card."""
    from tokencompose_core.reports.contact_sheet import draw_sheet

    for benchmark in benchmarks[:1]:
        shown = _first_prompts(benchmark)
        pictures, labels = [], []
        for label, parts in generated_images(benchmark, found).items():
            own = read_pictures(store, parts, shown)
            for prompt, number in shown:
                pictures.append(own[f"{prompt.prompt_id}_{number}"])
                labels.append(f"{label}: {', '.join(prompt.categories) or prompt.text}")
        return draw_sheet(pictures, labels, columns=len(shown), side=128, label_lines=4)
    return None


def generated_images(benchmark: Benchmark, found: Evaluation) -> dict[str, list[Input]]:
    """The images of a benchmark by model."""
    name = benchmark.name
    scored = {own.label: own.generated for own in found.scores if own.benchmark == name}
    return scored or {o.label: o.generated for o in found.qualities if o.benchmark == name}


def _scored_parts(
    store: Store, benchmark: Benchmark, found: Evaluation, sampler: SamplerConfig
) -> list[Table | Chart | Grid | Figures]:
    own = [score for score in found.scores if score.benchmark == benchmark.name]
    results = {score.label: score.result for score in own}
    scored = {score.label: _read_scored(store, score) for score in own}
    parts: list[Table | Chart | Grid | Figures] = [score_table(benchmark, results, sampler)]
    if len(own) > 1:
        parts += difference_tables(results, scored)
    parts.append(_same_noise(store, benchmark, found, scored))
    if len(own) > 1:
        generated = generated_images(benchmark, found)
        parts += draw_changes(store, benchmark.prompts, generated, scored)
    multigen = multigen_results(results)
    if multigen:
        parts += [success_chart(multigen), confusion_table(multigen)]
    return parts


def _same_noise(
    store: Store,
    benchmark: Benchmark,
    found: Evaluation,
    scored: Mapping[str, Sequence[ScoredImage]],
) -> Grid:
    shown = _first_prompts(benchmark)
    pictures = {
        label: read_pictures(store, parts, shown)
        for label, parts in generated_images(benchmark, found).items()
    }
    return draw_grid("Same prompts, same noise", shown, pictures, scored)


def _clip_section(
    store: Store, benchmarks: Sequence[Benchmark], found: Evaluation, sampled: str
) -> Section:
    parts: list[Table | Chart | Grid | Figures] = []
    for benchmark in benchmarks:
        own = [score for score in found.clip_scores if score.benchmark == benchmark.name]
        parts.append(clip_score_table(own))
        if len(own) > 1:
            rows = {s.label: read_table(s.scored.path(store), ClipScoredImage) for s in own}
            parts += clip_difference_tables(rows, scale=own[0].scale)
    foot = f"{describe_clip(benchmarks, found.clip_scores[0])} {sampled}"
    return Section(title="CLIPScore", parts=parts, foot=foot)


def _read_scored(store: Store, score: BenchmarkScore) -> list[ScoredImage]:
    return read_table(score.scored.path(store) / IMAGES_TABLE_NAME, ScoredImage)


def _first_prompts(benchmark: Benchmark) -> list[Shown]:
    return [(prompt, 0) for prompt in benchmark.prompts[:NUM_COLUMNS]]
