"""Where figures come from, in short: prompts, detector, sampler and models, with their digests."""

from collections.abc import Iterable, Sequence

from data_schemas.configs.evaluate_config import SamplerConfig
from data_schemas.quality_results import ClipScoreResult, QualityResult
from tasks.benchmarks import Benchmark
from tasks.model_under_test import ModelUnderTest
from tokencompose_core.checkpoints.locate import identity

_DIGITS = 12


def describe_sampling(models: Iterable[ModelUnderTest], sampler: SamplerConfig) -> str:
    """Whose images they are, and how they were generated."""
    return f"Sampler: {describe_sampler(sampler)}. Models: {describe_models(models)}."


def describe_models(models: Iterable[ModelUnderTest]) -> str:
    """Models by what stands for them in keys; stored ones by their key as well."""
    return "; ".join(
        f"{model.label} {short_digest(model.identity)}"
        + (f" ({model.stored.key})" if model.stored else "")
        for model in models
    )


def describe_sampler(sampler: SamplerConfig) -> str:
    """How images are generated, in a line."""
    return (
        f"{'each model its own' if sampler.scheduler == 'own' else sampler.scheduler},"
        f" {sampler.num_inference_steps} steps, guidance"
        f" {sampler.guidance_scale:g}, {sampler.width} x {sampler.height} pixels, seed"
        f" {sampler.seed}, {sampler.precision}, {'with' if sampler.safety_checker else 'without'}"
        " safety checker"
    )


def describe_benchmark(benchmark: Benchmark) -> str:
    """The prompts, and what looks at their images."""
    text = (
        f"Prompts: {len(benchmark.prompts)}, images of each: {benchmark.num_rounds}, digest"
        f" {short_digest(benchmark.digest)}."
    )
    detector = benchmark.detector
    if detector is not None:
        text += (
            f" Detector: {detector.architecture} {detector.model},"
            f" {short_digest(identity(detector.model, detector.revision))}, a score above"
            f" {detector.threshold:g} counts, {detector.precision}."
        )
    return text


def describe_features(quality: QualityResult) -> str:
    """The network by whose features images are compared."""
    return f"Features: {quality.extractor}, {short_digest(quality.weights)}."


def describe_clip(benchmarks: Sequence[Benchmark], score: ClipScoreResult) -> str:
    """The prompts, and the CLIP that holds images to them."""
    prompts = "; ".join(f"{one.name} {short_digest(one.digest)}" for one in benchmarks)
    return f"Prompts: {prompts}. CLIP: {score.clip}, {short_digest(score.weights)}."


def short_digest(name: str) -> str:
    """First digits of a digest, and of that of LoRA layers; names of hub models stay whole."""
    model, lora, layers = name.partition(" lora ")
    if lora:
        return f"{short_digest(model)}{lora}{short_digest(layers)}"
    kind, colon, digits = name.partition("sha256:")
    return f"{kind}{colon}{digits[:_DIGITS]}" if colon else name if "@" in name else name[:_DIGITS]
