"""VISOR: are both categories there, and does one lie to the other as asked."""

from collections.abc import Sequence

import numpy as np

from data_schemas.evaluation_records import ScoredImage
from data_schemas.results import Share, VisorResult
from tokencompose_core.evaluation.bootstrap import share_intervals
from tokencompose_core.evaluation.prompts import Prompt, prompts_digest
from tokencompose_core.evaluation.score import shown_images


def score_visor(
    prompts: Sequence[Prompt], num_rounds: int, images: Sequence[ScoredImage]
) -> VisorResult:
    """Object accuracy and spatial scores, as VISOR's release counts them.

    A share of prompts, VISOR_n, is that of the prompts whose images are all to be seen: one with a
    blanked image has fewer chances.

    Args:
        prompts: VISOR's prompts.
        num_rounds: Images of each prompt.
        images: What `judge_images` says of them.

    Raises:
        ValueError: If all images are blanked.
    """
    shown = shown_images(prompts, num_rounds, images)
    both = np.array([image.num_found == 2 for image in images]).reshape(shown.shape)
    right = np.array([bool(image.related) for image in images]).reshape(shown.shape)
    whole = shown.all(axis=1)
    least = range(1, num_rounds + 1)
    hits = np.stack(
        [both.sum(1), right.sum(1), right.sum(1), *(whole & (right.sum(1) >= n) for n in least)],
        axis=1,
    )
    cases = np.stack([shown.sum(1), shown.sum(1), both.sum(1), *(whole for _ in least)], axis=1)
    accuracy, unconditional, conditional, *at_least = _shares(hits, cases)
    return VisorResult(
        object_accuracy=accuracy,
        unconditional=unconditional,
        conditional=conditional,
        at_least=dict(zip(least, at_least, strict=True)),
        num_images=shown.size,
        num_blanked=int((~shown).sum()),
        prompts_digest=prompts_digest(prompts, num_rounds),
    )


def _shares(hits: np.ndarray, cases: np.ndarray) -> list[Share]:
    return [
        Share(
            percent=float(100 * hit / case) if case else None,
            interval=interval,
        )
        for hit, case, interval in zip(
            hits.sum(0), cases.sum(0), share_intervals(hits, cases), strict=True
        )
    ]
