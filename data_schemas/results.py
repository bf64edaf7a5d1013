"""What benchmarks say of a model: shares of images in percent, with intervals."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Interval = tuple[float, float]


class Result(BaseModel):
    """What all results have.

    Attributes:
        num_images: Images that were generated.
        num_blanked: How many of them a safety checker made black. No share counts those.
        prompts_digest: Stands for prompts and number of images of each: results of equal ones
            compare.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_images: int
    num_blanked: int
    prompts_digest: str


class MultiGenResult(Result):
    """Share of images with at least k of their categories.

    Attributes:
        mean: The share, by k.
        deviation: Population standard deviation over rounds, by k, as published.
        sample_deviation: The other convention, by k; null if there is one round only.
        interval: 95 % bootstrap interval over prompts, by k; null of a single prompt, and if many
            images are blanked and chance may leave none.
        success: Share of images in which a category was found, of those that asked for it.
        missed: In how many images a category was asked for and not found.
        confusion: In how many of those another category, which nobody asked for, was found.
    """

    kind: Literal["multigen"] = "multigen"
    mean: dict[int, float]
    deviation: dict[int, float]
    sample_deviation: dict[int, float | None]
    interval: dict[int, Interval | None]
    success: dict[str, float]
    missed: dict[str, int]
    confusion: dict[str, dict[str, int]]


class Share(BaseModel):
    """A share in percent with its 95 % bootstrap interval over prompts.

    Both are null if nothing could be counted, the interval also if that may happen by chance, and
    of a single prompt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    percent: float | None
    interval: Interval | None


class VisorResult(Result):
    """VISOR (arXiv:2212.10015).

    Attributes:
        object_accuracy: OA, share of images with both categories.
        unconditional: Share of images with both categories in the relation asked for.
        conditional: The same, of the images with both categories.
        at_least: Share of prompts with at least n images of both in that relation, by n; of those
            prompts that no image was blanked of.
    """

    kind: Literal["visor"] = "visor"
    object_accuracy: Share
    unconditional: Share
    conditional: Share
    at_least: dict[int, Share]
