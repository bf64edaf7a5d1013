"""Which published figures stand below a table: those that were measured as the table's were."""

from data_schemas.configs.evaluate_config import SamplerConfig
from data_schemas.published import (
    DETECTORS,
    NUM_OBJECTS,
    NUM_PAIRS,
    NUM_PROMPTS,
    PUBLISHED,
    SAMPLER,
)
from data_schemas.quality_results import QualityResult
from tasks.benchmarks import Benchmark
from tokencompose_core.evaluation.vocabularies import list_categories
from tokencompose_core.reports.page import Row

QUOTED_NOTE = (
    "Rows in italics were published, for all prompts of the paper; they are no run of this project."
)


def samples_as_published(sampler: SamplerConfig) -> bool:
    """Whether images are made as the paper's, in all that they depend on but the noise."""
    return sampler.model_dump(include={*SAMPLER}) == SAMPLER


def published_cells(benchmark: Benchmark, sampler: SamplerConfig) -> dict[str, dict[str, str]]:
    """Published figures of a benchmark by model and column.

    None unless the images were made as the paper's, its detector looks at them, its score counts,
    and the prompts are as many as the paper's, of the same kind and of the same categories: any
    other figure compares with none of the paper's.
    """
    # The paper's prompts name every category of their set. Fewer would be easier, or harder.
    name = "coco" if benchmark.kind == "visor" else benchmark.name.removeprefix("multigen-")
    detector = benchmark.detector
    if (
        detector is None
        or name not in PUBLISHED[0].multigen
        or not samples_as_published(sampler)
        or detector.model_dump(include={*DETECTORS[benchmark.kind]}) != DETECTORS[benchmark.kind]
        or len(benchmark.prompts) != NUM_PROMPTS[benchmark.kind]
        or set(benchmark.vocabulary) != set(list_categories(name))
    ):
        return {}
    if benchmark.kind == "visor":
        # Of its figures the paper has OA alone.
        return {model.label: {"OA": f"{model.object_accuracy:.2f}"} for model in PUBLISHED}
    if any(len(prompt.categories) != NUM_OBJECTS for prompt in benchmark.prompts):
        return {}
    return {
        model.label: {
            f"MG{k}": f"{value:.2f} ({deviation:.2f})"
            for k, (value, deviation) in model.multigen[name].items()
        }
        for model in PUBLISHED
    }


def published_fid_rows(quality: QualityResult, sampler: SamplerConfig) -> list[Row]:
    """Published rows of a table of FID: model, FID, no KID, images, blanked, real images.

    None unless it is Inception's of a set of the paper's, with as many images compared on both
    sides, and these were made as the paper's. Blanked ones are not compared.
    """
    name = quality.benchmark.removeprefix("quality-")
    number = NUM_PAIRS.get(name)
    num_compared = quality.num_images - quality.num_blanked
    if (
        quality.extractor != "Inception"
        or not samples_as_published(sampler)
        or not num_compared == quality.num_reference == number
    ):
        return []
    return [
        Row(
            cells=[model.label, f"{model.fid[name]:.2f}", "", str(number), "", str(number)],
            is_quoted=True,
        )
        for model in PUBLISHED
    ]


def published_latency_rows(sampler: SamplerConfig) -> list[Row]:
    """Published rows of a table of seconds an image: model, seconds, no number, machine.

    None unless an image takes as much work as the paper's.
    """
    if not samples_as_published(sampler) or sampler.compile_unet:
        return []
    return [
        Row(
            cells=[
                model.label,
                f"{model.latency[0]:.2f} ({model.latency[1]:.2f})",
                "",
                "the paper's",
            ],
            is_quoted=True,
        )
        for model in PUBLISHED
    ]
