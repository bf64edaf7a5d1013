"""Count what was composed: MG2 to MG5."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from tokencompose_core.evaluation.prompts import Prompt


@dataclass(frozen=True)
class MultiGenScore:
    """Share of images with at least k of their categories, in percent.

    Attributes:
        mean: Mean over rounds, by k.
        deviation: Population standard deviation over rounds, by k.
        success: Share of images in which a category was found, of those that asked for it.
        num_images: Images counted.
    """

    mean: dict[int, float]
    deviation: dict[int, float]
    success: dict[str, float]
    num_images: int


def score_multigen(
    prompts: Sequence[Prompt],
    num_rounds: int,
    best_scores: Mapping[tuple[int, int], Mapping[str, float]],
    *,
    threshold: float,
) -> MultiGenScore:
    """Score the images of some prompts as MultiGen's release does.

    Args:
        prompts: The prompts.
        num_rounds: Images of each prompt.
        best_scores: For every (prompt id, round) the best score of each category that was found.
        threshold: A category counts as found if its score is above.

    Raises:
        ValueError: If the images are not exactly one of each prompt and round, naming some.
    """
    wanted = {(prompt.prompt_id, number) for prompt in prompts for number in range(num_rounds)}
    if wanted != set(best_scores):
        missing, surplus = sorted(wanted - set(best_scores)), sorted(set(best_scores) - wanted)
        raise ValueError(
            f"the score needs one image of each prompt and round: {len(missing)} missing"
            f" {missing[:5]}, {len(surplus)} too many {surplus[:5]}"
        )
    largest = max(len(prompt.categories) for prompt in prompts)
    rounds: dict[int, list[float]] = {k: [] for k in range(2, largest + 1)}
    found: dict[str, list[bool]] = {}
    for number in range(num_rounds):
        counts = []
        for prompt in prompts:
            scores = best_scores[prompt.prompt_id, number]
            hits = [scores.get(name, 0.0) > threshold for name in prompt.categories]
            counts.append(sum(hits))
            for name, hit in zip(prompt.categories, hits, strict=True):
                found.setdefault(name, []).append(hit)
        for k in rounds:
            rounds[k].append(100.0 * sum(count >= k for count in counts) / len(counts))
    return MultiGenScore(
        mean={k: fmean(values) for k, values in rounds.items()},
        deviation={k: pstdev(values) for k, values in rounds.items()},
        success={name: 100.0 * fmean(hits) for name, hits in sorted(found.items())},
        num_images=len(wanted),
    )
