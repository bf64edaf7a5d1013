"""The sections of an evaluation's page, one for each benchmark."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from data_schemas.configs.evaluate_config import SamplerConfig
from data_schemas.evaluation_records import ClipScoredImage, ScoredImage
from tasks.benchmark_tables import (
    confusion_table,
    difference_table,
    multigen_results,
    score_table,
    success_chart,
)
from tasks.benchmarks import Benchmark
from tasks.evaluation import Evaluation
from tasks.guard_rails import GuardRails
from tasks.model_under_test import ModelUnderTest
from tasks.picture_grids import NUM_COLUMNS, Shown, draw_changes, draw_grid, read_pictures
from tasks.quality_tables import (
    clip_difference_table,
    clip_score_table,
    guard_table,
    latency_table,
    quality_table,
)
from tasks.score_images import IMAGES_TABLE_NAME, BenchmarkScore
from tasks.stage import Input
from tokencompose_core.checkpoints.locate import identity
from tokencompose_core.reports.page import Chart, Figures, Grid, Section, Table
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.tables import read_table

if TYPE_CHECKING:
    from PIL.Image import Image

_TITLES = {"multigen": "MultiGen", "visor": "VISOR", "quality": "Image quality"}
_DIGITS = 12


def make_sections(
    store: Store,
    models: Sequence[ModelUnderTest],
    benchmarks: Sequence[Benchmark],
    found: Evaluation,
    guards: Sequence[GuardRails],
    sampler: SamplerConfig,
) -> list[Section]:
    """Everything that an evaluation found, in the order of its benchmarks."""
    sampled = f"Sampler: {describe_sampler(sampler)}. Models: {describe_models(models)}."
    sections = []
    for benchmark in benchmarks:
        title, _, name = benchmark.name.partition("-")
        parts: list[Table | Chart | Grid | Figures]
        described = describe_benchmark(benchmark)
        if benchmark.kind == "quality":
            qualities = [own for own in found.qualities if own.benchmark == benchmark.name]
            parts = [quality_table(qualities), _same_noise(store, benchmark, found, {})]
            described += f" Features: {qualities[0].extractor}, {_short(qualities[0].weights)}."
        else:
            parts = _scored_parts(store, benchmark, found)
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


def describe_models(models: Iterable[ModelUnderTest]) -> str:
    """Models by what stands for them in keys; stored ones by their key as well."""
    return "; ".join(
        f"{model.label} {_short(model.identity)}"
        + (f" ({model.stored.key})" if model.stored else "")
        for model in models
    )


def describe_sampler(sampler: SamplerConfig) -> str:
    """How images are generated, in a line."""
    return (
        f"{sampler.scheduler}, {sampler.num_inference_steps} steps, guidance"
        f" {sampler.guidance_scale:g}, {sampler.width} x {sampler.height} pixels, seed"
        f" {sampler.seed}, {sampler.precision}, {'with' if sampler.safety_checker else 'without'}"
        " safety checker"
    )


def describe_benchmark(benchmark: Benchmark) -> str:
    """The prompts, and what looks at their images."""
    text = (
        f"Prompts: {len(benchmark.prompts)}, images of each: {benchmark.num_rounds}, digest"
        f" {_short(benchmark.digest)}."
    )
    detector = benchmark.detector
    if detector is not None:
        text += (
            f" Detector: {detector.architecture} {detector.model},"
            f" {_short(identity(detector.model, detector.revision))}, a score above"
            f" {detector.threshold:g} counts, {detector.precision}."
        )
    return text


def _scored_parts(
    store: Store, benchmark: Benchmark, found: Evaluation
) -> list[Table | Chart | Grid | Figures]:
    own = [score for score in found.scores if score.benchmark == benchmark.name]
    results = {score.label: score.result for score in own}
    scored = {score.label: _read_scored(store, score) for score in own}
    parts: list[Table | Chart | Grid | Figures] = [score_table(benchmark, results)]
    if len(own) > 1:
        parts.append(difference_table(results, scored))
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
            parts.append(clip_difference_table(rows, scale=own[0].scale))
    weights = _short(found.clip_scores[0].weights)
    prompts = "; ".join(f"{b.name} {_short(b.digest)}" for b in benchmarks)
    foot = f"Prompts: {prompts}. CLIP: {found.clip_scores[0].clip}, {weights}. {sampled}"
    return Section(title="CLIPScore", parts=parts, foot=foot)


def _read_scored(store: Store, score: BenchmarkScore) -> list[ScoredImage]:
    return read_table(score.scored.path(store) / IMAGES_TABLE_NAME, ScoredImage)


def _first_prompts(benchmark: Benchmark) -> list[Shown]:
    return [(prompt, 0) for prompt in benchmark.prompts[:NUM_COLUMNS]]


def _short(name: str) -> str:
    """First digits of a digest, and of that of LoRA layers; names of hub models stay whole."""
    model, lora, layers = name.partition(" lora ")
    if lora:
        return f"{_short(model)}{lora}{_short(layers)}"
    kind, colon, digits = name.partition("sha256:")
    return f"{kind}{colon}{digits[:_DIGITS]}" if colon else name if "@" in name else name[:_DIGITS]
