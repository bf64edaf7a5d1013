"""What a config asks of a model: sets of prompts, each with a detector."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from data_schemas.configs.evaluate_config import (
    DetectorConfig,
    EvaluateConfig,
    PromptFile,
    SampledPrompts,
)
from tokencompose_core.evaluation.prompts import Prompt, read_prompts, sample_prompts


class Benchmark(BaseModel):
    """Prompts, how many images of each, and who looks at them.

    Attributes:
        name: Such as `multigen-coco`; of cards, tables and files.
        prompts: What is generated.
        num_rounds: Images of each prompt.
        detector: Looks for the categories of the prompts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    prompts: list[Prompt]
    num_rounds: int
    detector: DetectorConfig

    @property
    def vocabulary(self) -> list[str]:
        """All categories that its prompts ask for, sorted."""
        return sorted({name for prompt in self.prompts for name in prompt.categories})


def list_benchmarks(config: EvaluateConfig) -> list[Benchmark]:
    """What a config asks for, in the order of its list.

    Raises:
        ValueError: If a prompt file is not there or not in MultiGen's form.
    """
    benchmarks = []
    for kind in config.benchmarks:
        match kind:
            case "multigen":
                benchmarks += [
                    Benchmark(
                        name=f"multigen-{name}",
                        prompts=_prompts(settings.prompts, f"evaluate.multigen.{name}.prompts"),
                        num_rounds=settings.num_images_per_prompt,
                        detector=config.detector,
                    )
                    for name, settings in config.multigen.items()
                ]
    return benchmarks


def _prompts(settings: SampledPrompts | PromptFile, field: str) -> list[Prompt]:
    if isinstance(settings, SampledPrompts):
        return sample_prompts(
            settings.categories,
            num_prompts=settings.num_prompts,
            num_objects=settings.num_objects,
            seed=settings.seed,
        )
    if not Path(settings.path).is_file():
        raise ValueError(f"{field}.path: there is no file {settings.path}")
    return read_prompts(Path(settings.path))
