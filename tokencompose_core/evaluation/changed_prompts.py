"""On which prompts a model gains most over another, and loses most."""

from collections.abc import Sequence
from dataclasses import dataclass

from data_schemas.evaluation_records import ScoredImage
from tokencompose_core.evaluation.paired import pair_images


@dataclass(frozen=True)
class ChangedPrompt:
    """A prompt on which two models differ.

    Attributes:
        prompt_id: Which one.
        change: Categories found more in an image, on average; negative if fewer are.
        round: Of its images those that differ most in that direction.
    """

    prompt_id: int
    change: float
    round: int


def largest_changes(
    first: Sequence[ScoredImage], second: Sequence[ScoredImage], most: int
) -> tuple[list[ChangedPrompt], list[ChangedPrompt]]:
    """The largest gains of the second model over the first, and its largest losses.

    Args:
        first: Judged images of one model.
        second: Those of the other, of the same prompts and rounds.
        most: How many of each at most.

    Returns:
        Gains and losses, the largest first and equal ones by prompt.
    """
    changes: dict[int, dict[int, int]] = {}
    for one, two in pair_images(first, second):
        changes.setdefault(one.prompt_id, {})[one.round] = two.num_found - one.num_found

    def pick(sign: int) -> list[ChangedPrompt]:
        found = [
            ChangedPrompt(
                prompt_id=prompt_id,
                change=sum(own.values()) / len(own),
                round=max(own, key=lambda number: sign * own[number]),
            )
            for prompt_id, own in changes.items()
            if sign * sum(own.values()) > 0
        ]
        return sorted(found, key=lambda prompt: (-sign * prompt.change, prompt.prompt_id))[:most]

    return pick(1), pick(-1)
