"""How variants of a fine-tuning compare, over prompts and training seeds."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

NUM_RESAMPLES = 4000
LEAST_COUNT = 5  # of hits and of misses, for a difference to be starred
_DEVIATIONS = 1.96  # of a normal distribution, that hold 95 % of it


@dataclass(frozen=True)
class Estimate:
    """A value with a 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0

    def clipped(self, least: float, most: float) -> "Estimate":
        """The same with an interval that holds no value which cannot be."""
        return Estimate(self.value, max(least, self.low), min(most, self.high))


@dataclass(frozen=True)
class VariantScore:
    """A variant on MultiGen; by k, in percent or percentage points.

    Attributes:
        score: Share of images with at least k of their categories, mean over training seeds.
        seed_deviation: Population standard deviation over training seeds.
        difference: Score less that of the reference, of the same seeds, prompts and noise.
        starred: Whether that is told from chance: its interval excludes zero, and neither score
            stands on fewer than `LEAST_COUNT` hits or misses.
        num_seeds: Training seeds.
        num_images: Images of all seeds.
    """

    score: dict[int, Estimate]
    seed_deviation: dict[int, float]
    difference: dict[int, Estimate]
    starred: dict[int, bool]
    num_seeds: int
    num_images: int


def compare_variants(
    counts: Mapping[str, Int[np.ndarray, "seeds prompts rounds"]],
    reference: str,
    *,
    num_objects: int,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> dict[str, VariantScore]:
    """Score variants and their differences to one of them.

    Let the share of training seed s on prompt p, over its rounds, be mean + a_p + b_s + e_sp. The
    mean over S seeds and P prompts then varies by Var(a)/P + Var(e)/(S P) + Var(b)/S. Drawing
    prompts again, with the means of their seeds, gives the first two terms, since a prompt's mean
    varies by Var(a) + Var(e)/S. (Drawing seeds again as well, by themselves, would count the second
    term three times.) The third term is estimated and added: the mean of a seed varies by Var(b) +
    Var(e)/P, so Var(b) is the variance between seeds less that of the residuals by P, and at least
    0, as in a two-way analysis of variance. It widens both ends, as half-widths of independent
    parts add up: by their squares.

    A difference is treated in the same way, seed by seed and prompt by prompt. Seeds are paired by
    number, since trainings with the same one see the same samples, noise and timesteps in the same
    order; prompts and noise of all images are the same anyway. A model that was not trained has one
    seed, which is held to each of the other's.

    Var(b) of two or three seeds is known badly. Of variants that are equal, 4 % seem to differ if
    the seed has no effect, by simulation. If seeds differ by 2 percentage points it is 6 % with
    three of them on 64 prompts and 8 % with two on 128; by 4 points, 9 % and 15 %. Of a single seed
    it is not known at all, and the interval is that over prompts.

    Drawing prompts again knows of no variance where there is no hit, so intervals of rare figures
    are too narrow: at 0.8 %, with one seed against three on 64 prompts, 10 % of equal variants have
    an interval that excludes zero. No difference is starred where one of the two has fewer than
    `LEAST_COUNT` images that are hits, or fewer that are none: then 0 to 5 % of equal variants are,
    at figures of 1 to 10 %. Their intervals are given all the same.

    Args:
        counts: For every variant, of how many of their categories its images show something, with
            the training seeds in the same order.
        reference: The variant that the others are held to.
        num_objects: Categories of a prompt; of a single one there is the share with it.
        seed: Of the resampling.
        num_resamples: How often as many prompts are drawn.

    Raises:
        ValueError: If the variants do not have the same prompts and rounds, or as many seeds: one,
            or as many as all others that have several. If there are fewer than two prompts, of
            which no interval can be had.
    """
    shapes = {label: values.shape[1:] for label, values in counts.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"variants need the same prompts and rounds, received {shapes}")
    num_seeds = {label: len(values) for label, values in counts.items()}
    if len(set(num_seeds.values()) - {1}) > 1:
        raise ValueError(f"variants need as many seeds, or one, received {num_seeds}")
    num_prompts = counts[reference].shape[1]
    if num_prompts < 2:
        raise ValueError(f"variants need at least 2 prompts, received {num_prompts}")
    # The same for all, so that figures of the same images are equal in any company.
    drawn = np.random.default_rng(seed).multinomial(
        num_prompts, np.full(num_prompts, 1.0 / num_prompts), size=num_resamples
    )
    weights = drawn / num_prompts
    shares = range(min(2, num_objects), num_objects + 1)
    hits = {
        label: {k: 100.0 * (values >= k).mean(axis=2) for k in shares}
        for label, values in counts.items()
    }
    enough = {
        label: {k: _has_enough(values >= k) for k in shares} for label, values in counts.items()
    }
    differences = {
        label: {k: _estimate(own[k] - hits[reference][k], weights) for k in shares}
        for label, own in hits.items()
    }
    return {
        label: VariantScore(
            score={k: _estimate(own[k], weights).clipped(0.0, 100.0) for k in shares},
            seed_deviation={k: float(own[k].mean(axis=1).std()) for k in shares},
            difference=differences[label],
            starred={
                k: enough[label][k] and enough[reference][k] and differences[label][k].excludes_zero
                for k in shares
            },
            num_seeds=num_seeds[label],
            num_images=counts[label].size,
        )
        for label, own in hits.items()
    }


def _has_enough(hit: Bool[np.ndarray, "seeds prompts rounds"]) -> bool:
    num_hits = int(hit.sum())
    return min(num_hits, hit.size - num_hits) >= LEAST_COUNT


def _estimate(
    values: Float[np.ndarray, "seeds prompts"], weights: Float[np.ndarray, "resamples prompts"]
) -> Estimate:
    by_prompt = values.mean(axis=0)
    value = float(by_prompt.mean())
    low, high = np.percentile(weights @ by_prompt, [2.5, 97.5])
    of_seeds = _DEVIATIONS * np.sqrt(_seed_variance(values) / len(values))
    return Estimate(
        value,
        float(value - np.hypot(value - low, of_seeds)),
        float(value + np.hypot(high - value, of_seeds)),
    )


def _seed_variance(values: Float[np.ndarray, "seeds prompts"]) -> float:
    """What the seed adds to a value, as variance: beyond what prompts and rounds explain."""
    num_seeds, num_prompts = values.shape
    if num_seeds < 2 or num_prompts < 2:
        return 0.0
    of_seed = values.mean(axis=1)
    residual = values - values.mean(axis=0) - of_seed[:, None] + values.mean()
    of_residual = (residual**2).sum() / ((num_seeds - 1) * (num_prompts - 1))
    return max(0.0, float(of_seed.var(ddof=1) - of_residual / num_prompts))
