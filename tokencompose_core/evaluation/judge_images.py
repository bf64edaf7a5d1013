"""What images show of what their prompts asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from data_schemas.evaluation_records import ScoredImage
from tokencompose_core.evaluation.prompts import Prompt


@dataclass(frozen=True)
class SeenBox:
    """What a detector saw in one place.

    Attributes:
        category: The best of the categories that the prompt asks for.
        score: Its score.
        box_xyxy: Left, top, right and bottom in pixels, if it is known.
        rival: The best of all categories of the benchmark, if those were looked for too.
        rival_score: Its score.
    """

    category: str
    score: float
    box_xyxy: tuple[float, float, float, float] | None = None
    rival: str = ""
    rival_score: float = 0.0


@dataclass(frozen=True)
class SeenImage:
    """All that a detector saw in an image, and whether a safety checker made it black."""

    boxes: Sequence[SeenBox] = ()
    blanked: bool = False


def judge_images(
    prompts: Sequence[Prompt],
    num_rounds: int,
    seen: Mapping[tuple[int, int], SeenImage],
    *,
    threshold: float,
) -> list[ScoredImage]:
    """Say of every image what was found in it.

    Args:
        prompts: The prompts.
        num_rounds: Images of each prompt.
        seen: The images by prompt id and round.
        threshold: Something is found if a score of it is above.

    Returns:
        One image of each prompt and round, by prompt and then by round.

    Raises:
        ValueError: If the images are not exactly these, naming some.
    """
    wanted = [(prompt.prompt_id, number) for prompt in prompts for number in range(num_rounds)]
    missing, surplus = sorted(set(wanted) - set(seen)), sorted(set(seen) - set(wanted))
    if missing or surplus:
        raise ValueError(
            f"the score needs {num_rounds} images of each of {len(prompts)} prompts:"
            f" {len(missing)} missing {missing[:5]}, {len(surplus)} too many {surplus[:5]}"
        )
    return [
        _judge(prompt, number, seen[prompt.prompt_id, number], threshold)
        for prompt in prompts
        for number in range(num_rounds)
    ]


def relation_holds(
    relation: str,
    first: tuple[float, float, float, float],
    second: tuple[float, float, float, float],
) -> bool:
    """Whether the centre of one box lies to that of another as VISOR's prompts ask.

    Rows of an image are counted from the top, so what is above has the smaller one. Equal centres
    are in no relation.

    Args:
        relation: One of VISOR's four.
        first: The box that is to lie somewhere, left, top, right and bottom in pixels.
        second: The box that it is to lie to.

    Raises:
        ValueError: If there is no such relation.
    """
    right = (first[0] + first[2]) - (second[0] + second[2])
    down = (first[1] + first[3]) - (second[1] + second[3])
    match relation:
        case "to the left of":
            return right < 0
        case "to the right of":
            return right > 0
        case "above":
            return down < 0
        case "below":
            return down > 0
    raise ValueError(f"VISOR has no relation {relation!r}")


def _judge(prompt: Prompt, number: int, image: SeenImage, threshold: float) -> ScoredImage:
    boxes = () if image.blanked else image.boxes
    counted = [box for box in boxes if box.score > threshold]
    rivals = {box.rival for box in boxes if box.rival_score > threshold}
    names = {box.category for box in counted}
    found = [name for name in prompt.categories if name in names]
    return ScoredImage(
        prompt_id=prompt.prompt_id,
        round=number,
        blanked=image.blanked,
        found=found,
        num_found=len(found),
        instead=sorted(rivals - {"", *prompt.categories}),
        related=_related(prompt, counted) if prompt.relation else None,
    )


def _related(prompt: Prompt, boxes: Sequence[SeenBox]) -> bool:
    """Whether any box of the first category and any of the second lie as asked."""
    first, second = (
        [box.box_xyxy for box in boxes if box.category == name] for name in prompt.categories
    )
    return any(
        one is not None and other is not None and relation_holds(prompt.relation, one, other)
        for one, other in product(first, second)
    )
