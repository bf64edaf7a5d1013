"""MultiGen's prompts: several categories that have nothing to do with each other."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Prompt:
    """A prompt with the categories that its image has to show."""

    prompt_id: int
    text: str
    categories: tuple[str, ...]


def multigen_text(categories: Sequence[str]) -> str:
    """The released template: always "a", commas, and an "and" before the last."""
    phrases = [f"a {name}" for name in categories]
    match len(phrases):
        case 1:
            listing = phrases[0]
        case 2:
            listing = " and ".join(phrases)
        case _:
            listing = f"{', '.join(phrases[:-1])}, and {phrases[-1]}"
    return f"a photo of {listing}."


def sample_prompts(
    categories: Sequence[str], *, num_prompts: int, num_objects: int, seed: int
) -> list[Prompt]:
    """Draw prompts of `num_objects` different categories each.

    Raises:
        ValueError: If there are fewer categories than a prompt needs.
    """
    if len(set(categories)) < num_objects:
        raise ValueError(
            f"prompts of {num_objects} objects need as many categories, received"
            f" {len(set(categories))}"
        )
    rng = random.Random(f"prompts-{seed}")
    drawn = [tuple(rng.sample(list(categories), num_objects)) for _ in range(num_prompts)]
    return [Prompt(i, multigen_text(names), names) for i, names in enumerate(drawn)]


def read_prompts(path: Path) -> list[Prompt]:
    """Read a prompt file of MultiGen's release.

    Raises:
        ValueError: If an entry lacks a field, naming entry and field, or an id occurs twice.
    """
    prompts = []
    seen: set[int] = set()
    for number, entry in enumerate(json.loads(path.read_text("utf-8"))):
        try:
            prompt_id, text = int(entry["unique_id"]), str(entry["text"])
            categories = tuple(
                str(entry[f"obj_{i}_attributes"][0])
                for i in range(1, int(entry["num_objects"]) + 1)
            )
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"{path}: entry {number} lacks {error}") from error
        if prompt_id in seen:
            raise ValueError(f"{path}: entry {number} has unique_id {prompt_id} a second time")
        seen.add(prompt_id)
        prompts.append(Prompt(prompt_id, text, categories))
    return prompts
