"""Prompts, and those of MultiGen: categories that have nothing to do with each other."""

import json
import random
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from tokencompose_core.store.keys import canonical_json, text_digest


@dataclass(frozen=True)
class Prompt:
    """A prompt with the categories that its image has to show.

    Attributes:
        prompt_id: Names the prompt within its benchmark, and with the round each of its images.
        text: What the model is given.
        categories: Different categories, in the order of the text.
        relation: How the first lies to the second, of VISOR's prompts; else empty.
    """

    prompt_id: int
    text: str
    categories: tuple[str, ...]
    relation: str = ""


def prompts_digest(prompts: Sequence[Prompt], num_rounds: int) -> str:
    """What stands for some prompts and how many images each has: scores of equal ones compare."""
    return text_digest(canonical_json([num_rounds, [astuple(prompt) for prompt in prompts]]))


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
        ValueError: If the file is not JSON or no list with an entry, if an entry lacks a field or
            has no categories, naming entry and field, or if an id occurs twice.
    """
    prompts = []
    seen: set[int] = set()
    try:
        entries = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: a list of at least one prompt is needed")
    for number, entry in enumerate(entries):
        try:
            prompt_id, text = int(entry["unique_id"]), str(entry["text"])
            categories = tuple(
                str(entry[f"obj_{i}_attributes"][0])
                for i in range(1, int(entry["num_objects"]) + 1)
            )
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"{path}: entry {number} lacks {error}") from error
        if not categories:
            raise ValueError(
                f"{path}: entry {number} has num_objects {entry['num_objects']}; a prompt needs at"
                " least one category"
            )
        if prompt_id in seen:
            raise ValueError(f"{path}: entry {number} has unique_id {prompt_id} a second time")
        seen.add(prompt_id)
        prompts.append(Prompt(prompt_id, text, categories))
    return prompts
