"""Count what was composed: MG2 to MG5."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from data_schemas.evaluation_records import ScoredImage
from data_schemas.results import MultiGenResult
from tokencompose_core.evaluation.bootstrap import share_intervals
from tokencompose_core.evaluation.prompts import Prompt, prompts_digest


def score_multigen(
    prompts: Sequence[Prompt], num_rounds: int, images: Sequence[ScoredImage]
) -> MultiGenResult:
    """Score the images of some prompts as MultiGen's release does, but for images that are blanked.

    Args:
        prompts: The prompts.
        num_rounds: Images of each prompt.
        images: What `judge_images` says of them.

    Raises:
        ValueError: If all images are blanked.
    """
    shown = shown_images(prompts, num_rounds, images)
    num_found = np.array([image.num_found for image in images]).reshape(shown.shape)
    largest = max(len(prompt.categories) for prompt in prompts)
    least = range(min(2, largest), largest + 1)
    hits = {k: (num_found >= k) & shown for k in least}
    rounds = shown.any(axis=0)  # a round of which everything is blanked says nothing
    by_round = {k: 100 * hits[k].sum(0)[rounds] / shown.sum(0)[rounds] for k in least}
    intervals = share_intervals(
        np.stack([hits[k].sum(1) for k in least], axis=1),
        np.stack([shown.sum(1)] * len(least), axis=1),
    )
    asked, missed, instead = _count_categories(prompts, num_rounds, images)
    return MultiGenResult(
        mean={k: float(100 * hits[k].sum() / shown.sum()) for k in least},
        deviation={k: float(np.std(by_round[k])) for k in least},
        sample_deviation={
            k: float(np.std(by_round[k], ddof=1)) if rounds.sum() > 1 else None for k in least
        },
        interval=dict(zip(least, intervals, strict=True)),
        success={name: 100 * (asked[name] - missed[name]) / asked[name] for name in sorted(asked)},
        missed={name: missed[name] for name in sorted(asked)},
        confusion={name: dict(sorted(instead[name].items())) for name in sorted(instead)},
        num_images=shown.size,
        num_blanked=int((~shown).sum()),
        prompts_digest=prompts_digest(prompts, num_rounds),
    )


def shown_images(
    prompts: Sequence[Prompt], num_rounds: int, images: Sequence[ScoredImage]
) -> Bool[np.ndarray, "prompts rounds"]:
    """Which images are not blanked.

    Raises:
        ValueError: If all are.
    """
    blanked = [image.blanked for image in images]
    if all(blanked):
        raise ValueError(
            f"a safety checker blanked all {len(images)} images: nothing can be scored"
        )
    return ~np.array(blanked).reshape(len(prompts), num_rounds)


def _count_categories(
    prompts: Sequence[Prompt], num_rounds: int, images: Sequence[ScoredImage]
) -> tuple[Counter[str], Counter[str], dict[str, Counter[str]]]:
    """How often each category was asked for and missed, and what was there when it was missed."""
    asked: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    instead: dict[str, Counter[str]] = {}
    for number, image in enumerate(images):
        if image.blanked:
            continue
        for name in prompts[number // num_rounds].categories:
            asked[name] += 1
            if name not in image.found:
                missed[name] += 1
                if image.instead:
                    instead.setdefault(name, Counter()).update(image.instead)
    return asked, missed, instead
