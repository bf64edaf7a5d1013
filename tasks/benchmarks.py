"""What a config asks of a model: sets of prompts, and what is done with their images."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from data_schemas.configs.evaluate_config import (
    DetectorConfig,
    EvaluateConfig,
    MultiGenConfig,
    PromptFile,
    VisorConfig,
)
from tasks.reference_features import QualityReference, prepare_reference
from tokencompose_core.evaluation.prompts import (
    Prompt,
    prompts_digest,
    read_prompts,
    sample_prompts,
)
from tokencompose_core.evaluation.visor_prompts import draw_visor_prompts
from tokencompose_core.evaluation.vocabularies import list_categories


class Benchmark(BaseModel):
    """Prompts, how many images of each, who looks at them, and how what is seen is counted.

    Attributes:
        kind: How it is scored.
        name: Such as `multigen-coco`; of cards, tables and files.
        prompts: What is generated.
        num_rounds: Images of each prompt.
        detector: Looks for the categories of the prompts, if they have any.
        reference: Real images that the generated ones are compared with, for their quality.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["multigen", "visor", "quality"]
    name: str
    prompts: list[Prompt]
    num_rounds: int
    detector: DetectorConfig | None = None
    reference: QualityReference | None = None

    @property
    def vocabulary(self) -> list[str]:
        """All categories that its prompts ask for, sorted."""
        return sorted({name for prompt in self.prompts for name in prompt.categories})

    @property
    def digest(self) -> str:
        """Stands for its prompts and the number of images of each."""
        return prompts_digest(self.prompts, self.num_rounds)


def list_benchmarks(config: EvaluateConfig) -> list[Benchmark]:
    """What a config asks for, in the order of its list.

    Real images are looked at here, before any is generated.

    Raises:
        FileNotFoundError: If weights, or files of real images, are not there.
        ValueError: As `list_compositions`, or if a set of real images is too small.
    """
    benchmarks: list[Benchmark] = []
    for kind in config.benchmarks:
        if kind == "quality":
            for name in config.quality:
                reference, prompts = prepare_reference(name, config)
                benchmarks.append(
                    Benchmark(
                        kind=kind,
                        name=f"quality-{name}",
                        prompts=prompts,
                        num_rounds=1,
                        reference=reference,
                    )
                )
        else:
            benchmarks += _compositions_of(kind, config)
    return benchmarks


def list_compositions(config: EvaluateConfig) -> list[Benchmark]:
    """The benchmarks whose prompts have categories; no image is looked at for them.

    Raises:
        ValueError: If a prompt file is not there or not in MultiGen's form, or if there are not as
            many categories or prompts as asked for.
    """
    return [one for kind in config.benchmarks for one in _compositions_of(kind, config)]


def _compositions_of(kind: str, config: EvaluateConfig) -> list[Benchmark]:
    match kind:
        case "multigen":
            return [
                Benchmark(
                    kind=kind,
                    name=f"multigen-{name}",
                    prompts=_multigen_prompts(settings, f"evaluate.multigen.{name}.prompts"),
                    num_rounds=settings.num_images_per_prompt,
                    detector=config.detector,
                )
                for name, settings in config.multigen.items()
            ]
        case "visor":
            return [
                Benchmark(
                    kind=kind,
                    name=kind,
                    prompts=_visor_prompts(config.visor, "evaluate.visor"),
                    num_rounds=config.visor.num_images_per_prompt,
                    detector=config.visor.detector,
                )
            ]
    return []


def _multigen_prompts(config: MultiGenConfig, field: str) -> list[Prompt]:
    settings = config.prompts
    if isinstance(settings, PromptFile):
        if not Path(settings.path).is_file():
            raise ValueError(f"{field}.path: there is no file {settings.path}")
        return read_prompts(Path(settings.path))
    try:
        return sample_prompts(
            list_categories(settings.categories),
            num_prompts=settings.num_prompts,
            num_objects=settings.num_objects,
            seed=settings.seed,
        )
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error


def _visor_prompts(settings: VisorConfig, field: str) -> list[Prompt]:
    try:
        return draw_visor_prompts(
            list_categories(settings.categories),
            num_prompts=settings.num_prompts,
            seed=settings.seed,
        )
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error
