"""VISOR's prompts (arXiv:2212.10015): a category, a relation in the plane, another category."""

import random
from collections.abc import Sequence
from itertools import combinations
from typing import Literal, get_args

from tokencompose_core.evaluation.prompts import Prompt

Relation = Literal["to the left of", "to the right of", "above", "below"]
RELATIONS: tuple[Relation, ...] = get_args(Relation)
# In the published list every pair also has two prompts that say "and", and that no score counts.
_PUBLISHED_PER_PAIR = 2 * len(RELATIONS) + 2


def with_article(name: str) -> str:
    """A category with "a" or "an", by its first letter: as published for all of COCO's."""
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def visor_prompts(categories: Sequence[str]) -> list[Prompt]:
    """Both orders of every pair of categories in all four relations: 25,280 of COCO's 80.

    With COCO's categories in their own order, texts and ids are those of the published list, in
    which the numbers left out here belong to prompts that are not scored.
    """
    prompts = []
    for pair_number, pair in enumerate(combinations(categories, 2)):
        for number, relation in enumerate(RELATIONS):
            for order, (first, second) in enumerate((pair, pair[::-1])):
                text = f"{with_article(first)} {relation} {with_article(second)}"
                prompt_id = _PUBLISHED_PER_PAIR * pair_number + 2 * number + order
                prompts.append(Prompt(prompt_id, text, (first, second), relation))
    return prompts


def draw_visor_prompts(categories: Sequence[str], *, num_prompts: int, seed: int) -> list[Prompt]:
    """Prompts in an order drawn with a seed, so that a draw begins with every smaller one.

    Args:
        categories: Two or more different ones.
        num_prompts: So many are drawn; 0 takes all, in the same order.
        seed: Decides which, and their order.

    Raises:
        ValueError: If there are fewer prompts than asked for.
    """
    prompts = visor_prompts(categories)
    if num_prompts > len(prompts):
        raise ValueError(
            f"{len(categories)} categories give {len(prompts)} prompts, fewer than {num_prompts};"
            " 0 takes all"
        )
    # A larger draw shares the images of a smaller one as long as the order is that of the draw.
    drawn = random.Random(f"visor-{seed}").sample(prompts, len(prompts))
    return drawn[:num_prompts] if num_prompts else drawn
