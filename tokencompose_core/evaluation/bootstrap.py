"""How much a share of images depends on which prompts were asked."""

import numpy as np
from jaxtyping import Float, Num

from data_schemas.results import Interval

_NUM_RESAMPLES = 2000
_LEVEL = 0.95
_SEED = 0
_MOST_AT_ONCE = 1 << 21


def share_intervals(
    hits: Num[np.ndarray, "prompts figures"],
    cases: Num[np.ndarray, "prompts figures"],
    *,
    num_resamples: int = _NUM_RESAMPLES,
    level: float = _LEVEL,
    seed: int = _SEED,
    most_at_once: int = _MOST_AT_ONCE,
) -> list[Interval | None]:
    """Bootstrap intervals of shares, by the percentile method.

    Prompts are drawn with replacement, each with all its images: images of a prompt resemble each
    other, and drawing them one by one would make the interval too narrow.

    Args:
        hits: For every prompt how often something was so.
        cases: For every prompt how often it might have been.
        num_resamples: How often as many prompts are drawn.
        level: Part of the drawn shares that lies inside.
        seed: Decides what is drawn.
        most_at_once: Prompts drawn at a time, which bounds memory and changes nothing else.

    Returns:
        Lower and upper end in percent for every figure; none if it might have had no case at all,
        and of fewer than two prompts, which cannot tell how prompts differ.
    """
    if len(hits) < 2:
        return [None] * hits.shape[1]
    return _inside(_resample(100 * hits, cases, num_resamples, seed, most_at_once), level)


def mean_interval(
    sums: Num[np.ndarray, " prompts"], counts: Num[np.ndarray, " prompts"], *, seed: int = _SEED
) -> Interval | None:
    """Bootstrap interval of a mean over images.

    Args:
        sums: For every prompt the sum over its images.
        counts: For every prompt its number of images.
        seed: Decides what is drawn.

    Returns:
        Lower and upper end; none if there might have been no image at all.
    """
    means = _resample(sums[:, None], counts[:, None], _NUM_RESAMPLES, seed, _MOST_AT_ONCE)
    return _inside(means, _LEVEL)[0]


def difference_interval(
    hits: Num[np.ndarray, "prompts 2"], cases: Num[np.ndarray, "prompts 2"]
) -> Interval | None:
    """Bootstrap interval of how much the second ratio is above the first.

    Both are drawn together: what makes a prompt hard for both cancels out.

    Args:
        hits: For every prompt the sum of what was counted, of the first model and the second.
        cases: For every prompt of how many.

    Returns:
        Lower and upper end; none if a ratio might have had no case at all.
    """
    ratios = _resample(hits, cases, _NUM_RESAMPLES, _SEED, _MOST_AT_ONCE)
    return _inside(ratios[:, 1:] - ratios[:, :1], _LEVEL)[0]


def _resample(
    hits: Num[np.ndarray, "prompts figures"],
    cases: Num[np.ndarray, "prompts figures"],
    num_resamples: int,
    seed: int,
    most_at_once: int,
) -> Float[np.ndarray, "resamples figures"]:
    """Hits by cases of as many prompts as there are, drawn again and again."""
    rng = np.random.default_rng(seed)
    num_prompts = len(hits)
    step = max(1, most_at_once // num_prompts)
    ratios = []
    for start in range(0, num_resamples, step):
        rows = min(step, num_resamples - start)
        drawn = rng.integers(num_prompts, size=(rows, num_prompts))
        drawn += num_prompts * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * num_prompts).astype(float)
        times = times.reshape(rows, num_prompts)
        with np.errstate(invalid="ignore"):
            ratios.append((times @ hits) / (times @ cases))
    return np.concatenate(ratios)


def _inside(values: Float[np.ndarray, "resamples figures"], level: float) -> list[Interval | None]:
    tail = (1 - level) / 2
    ends = np.quantile(values, [tail, 1 - tail], axis=0).T
    return [None if np.isnan(low) else (float(low), float(high)) for low, high in ends]
