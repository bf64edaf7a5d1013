"""How much a share of images depends on which prompts were asked."""

import numpy as np
from jaxtyping import Num

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
        Lower and upper end in percent for every figure; none if it might have had no case at all.
    """
    rng = np.random.default_rng(seed)
    num_prompts = len(hits)
    step = max(1, most_at_once // num_prompts)
    shares = []
    for start in range(0, num_resamples, step):
        rows = min(step, num_resamples - start)
        drawn = rng.integers(num_prompts, size=(rows, num_prompts))
        drawn += num_prompts * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * num_prompts).astype(float)
        times = times.reshape(rows, num_prompts)
        with np.errstate(invalid="ignore"):
            shares.append(100 * (times @ hits) / (times @ cases))
    tail = (1 - level) / 2
    ends = np.quantile(np.concatenate(shares), [tail, 1 - tail], axis=0).T
    return [None if np.isnan(low) else (float(low), float(high)) for low, high in ends]
