"""How variants of a fine-tuning compare, over prompts and training seeds."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

NUM_RESAMPLES = 4000


@dataclass(frozen=True)
class Estimate:
    """A value with a 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class VariantScore:
    """A variant on MultiGen; by k, in percent or percentage points.

    Attributes:
        score: Share of images with at least k of their categories, mean over training seeds.
        seed_deviation: Population standard deviation over training seeds.
        difference: Score less that of the reference.
        num_seeds: Training seeds.
        num_images: Images of all seeds.
    """

    score: dict[int, Estimate]
    seed_deviation: dict[int, float]
    difference: dict[int, Estimate]
    num_seeds: int
    num_images: int


def compare_variants(
    counts: Mapping[str, Int[np.ndarray, "seeds prompts rounds"]],
    reference: str,
    *,
    num_objects: int,
    seed: int = 0,
) -> dict[str, VariantScore]:
    """Score variants and their differences to one of them.

    Prompts are drawn again with replacement, the same ones for all variants, since all have the
    same prompts and noise; training seeds are drawn again for each variant by itself. With few
    seeds, as here, intervals are a little too narrow.

    Args:
        counts: For every variant, of how many of their categories its images show something.
        reference: The variant that the others are held to.
        num_objects: Categories of a prompt.
        seed: Of the resampling.

    Raises:
        ValueError: If the variants do not have the same prompts and rounds.
    """
    shapes = {label: values.shape[1:] for label, values in counts.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"variants need the same prompts and rounds, received {shapes}")
    num_prompts = counts[reference].shape[1]
    rng = np.random.default_rng(seed)
    prompt_weights = _weights(rng, num_prompts)
    seed_weights = {label: _weights(rng, len(values)) for label, values in counts.items()}
    shares = range(2, num_objects + 1)
    means: dict[str, dict[int, float]] = {}
    resampled: dict[str, dict[int, Float[np.ndarray, " resamples"]]] = {}
    deviations: dict[str, dict[int, float]] = {}
    for label, values in counts.items():
        means[label], resampled[label], deviations[label] = {}, {}, {}
        for k in shares:
            hits = 100.0 * (values >= k).mean(axis=2)
            means[label][k] = float(hits.mean())
            deviations[label][k] = float(hits.mean(axis=1).std())
            resampled[label][k] = np.einsum(
                "rs,sp,rp->r", seed_weights[label], hits, prompt_weights, optimize=True
            )
    scores = {}
    for label, values in counts.items():
        own = resampled[label]
        other = resampled[reference]
        scores[label] = VariantScore(
            score={k: _estimate(means[label][k], own[k]) for k in shares},
            seed_deviation=deviations[label],
            difference={
                k: _estimate(means[label][k] - means[reference][k], own[k] - other[k])
                for k in shares
            },
            num_seeds=len(values),
            num_images=values.size,
        )
    return scores


def _weights(rng: np.random.Generator, count: int) -> Float[np.ndarray, "resamples count"]:
    """How often each of `count` things is drawn, as shares, in every resample."""
    return rng.multinomial(count, np.full(count, 1.0 / count), size=NUM_RESAMPLES) / count


def _estimate(value: float, resampled: Float[np.ndarray, " resamples"]) -> Estimate:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Estimate(value, float(low), float(high))
