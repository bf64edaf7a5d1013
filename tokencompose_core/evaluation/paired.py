"""How two models differ on the same prompts and the same noise."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import binomtest

from data_schemas.evaluation_records import ScoredImage
from data_schemas.results import Interval
from tokencompose_core.evaluation.bootstrap import difference_interval


@dataclass(frozen=True)
class Counted:
    """A figure, image by image: its value is the sum of hits by the sum of cases."""

    hits: Float[np.ndarray, " images"]
    cases: Float[np.ndarray, " images"]


@dataclass(frozen=True)
class Difference:
    """How much the second model is above the first.

    Attributes:
        value: In the unit of the figure; of shares in percentage points.
        interval: 95 % bootstrap interval over prompts; none of a single prompt, or if chance may
            leave a model without a case.
        p_value: Exact two-sided sign test over prompts that differ; none where both models are not
            counted on the same images, as the relations among images with both categories.
        num_better: Prompts on which the second model has more.
        num_worse: Prompts on which it has less.
    """

    value: float
    interval: Interval | None
    p_value: float | None
    num_better: int
    num_worse: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


def paired_difference(
    prompt_ids: Int[np.ndarray, " images"], first: Counted, second: Counted, *, scale: float = 100.0
) -> Difference | None:
    """How a figure of one model differs from that of another.

    Args:
        prompt_ids: The prompt of each image; images of one are not independent of each other.
        first: What the images of one model add.
        second: What those of the other do, in the same order.
        scale: 100 of shares that are given in percent.

    Returns:
        The difference, or none if one of the models has no case.
    """
    prompts, places = np.unique(prompt_ids, return_inverse=True)

    def by_prompt(values: Float[np.ndarray, " images"]) -> Float[np.ndarray, " prompts"]:
        return np.bincount(places, weights=values, minlength=len(prompts))

    hits = np.stack([by_prompt(first.hits), by_prompt(second.hits)], axis=1)
    cases = np.stack([by_prompt(first.cases), by_prompt(second.cases)], axis=1)
    if not len(prompts) or not cases.sum(axis=0).all():
        return None
    before, after = hits.sum(axis=0) / cases.sum(axis=0)
    ends = difference_interval(hits, cases) if len(prompts) > 1 else None
    num_better = int((hits[:, 1] > hits[:, 0]).sum())
    num_worse = int((hits[:, 1] < hits[:, 0]).sum())
    p_value = None
    if np.array_equal(first.cases, second.cases):
        num_different = num_better + num_worse
        p_value = float(binomtest(num_better, num_different).pvalue) if num_different else 1.0
    return Difference(
        value=float(scale * (after - before)),
        interval=None if ends is None else (scale * ends[0], scale * ends[1]),
        p_value=p_value,
        num_better=num_better,
        num_worse=num_worse,
    )


def compare_images(
    first: Sequence[ScoredImage],
    second: Sequence[ScoredImage],
    count: Callable[[Sequence[ScoredImage]], Mapping[str, Counted]],
) -> dict[str, Difference | None]:
    """How the figures of two models differ, on those images that neither had blanked.

    Args:
        first: Judged images of one model.
        second: Those of the other.
        count: What images add to each figure: `count_multigen` or `count_visor`.

    Raises:
        ValueError: If the images are not of the same prompts and rounds.
    """
    pairs = pair_images(first, second)
    prompt_ids = np.array([one.prompt_id for one, _ in pairs], dtype=int)
    before, after = count([one for one, _ in pairs]), count([two for _, two in pairs])
    return {name: paired_difference(prompt_ids, before[name], after[name]) for name in before}


def pair_images(
    first: Sequence[ScoredImage], second: Sequence[ScoredImage]
) -> list[tuple[ScoredImage, ScoredImage]]:
    """Images of the same prompt and round, without those that a model had blanked.

    Raises:
        ValueError: If the images are not of the same prompts and rounds.
    """
    names, others = ([(image.prompt_id, image.round) for image in own] for own in (first, second))
    if names != others:
        raise ValueError("two models can be compared on the same prompts and rounds only")
    return [
        (one, two)
        for one, two in zip(first, second, strict=True)
        if not (one.blanked or two.blanked)
    ]


def count_multigen(images: Sequence[ScoredImage], *, shares: Sequence[int]) -> dict[str, Counted]:
    """What images add to the share with at least k of their categories, for every k."""
    found = np.array([image.num_found for image in images])
    cases = np.ones(len(images))
    return {f"MG{k}": Counted((found >= k).astype(float), cases) for k in shares}


def count_visor(images: Sequence[ScoredImage]) -> dict[str, Counted]:
    """What images add to VISOR's OA, and to its shares in the relation asked for."""
    both = np.array([float(image.num_found == 2) for image in images])
    related = np.array([float(bool(image.related)) for image in images])
    cases = np.ones(len(images))
    return {
        "OA": Counted(both, cases),
        "uncond": Counted(related, cases),
        "cond": Counted(related, both),
    }
