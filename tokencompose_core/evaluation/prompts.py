"""Prompts, and those of MultiGen: categories that have nothing to do with each other."""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from tokencompose_core.store.keys import canonical_json, text_digest

# The tables of images keep ids of prompts as int32.
_LARGEST_NUMBER = 2**31 - 1


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
        ValueError: If the file is not JSON or no list with an entry. Naming file, entry and field,
            if an entry lacks a field or has one of another kind, if it has no categories, one of
            them twice or more of them than it counts, or if an id is too large or occurs twice.
    """
    prompts = []
    seen: set[int] = set()
    try:
        entries = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: a list of at least one prompt is needed")
    for number, entry in enumerate(entries):
        where = f"{path}: entry {number}"
        if not isinstance(entry, dict):
            raise ValueError(f"{where} is {entry!r}; write an object with the fields of a prompt")
        if "unique_id" in entry:
            where += f" (unique_id {entry['unique_id']!r})"
        prompt = _prompt_of(where, entry)
        if prompt.prompt_id in seen:
            raise ValueError(
                f"{where} has unique_id {prompt.prompt_id} a second time; give each prompt its own"
            )
        seen.add(prompt.prompt_id)
        prompts.append(prompt)
    return prompts


def _prompt_of(where: str, entry: dict[str, Any]) -> Prompt:
    prompt_id = _whole_number(where, entry, "unique_id")
    text = _field(where, entry, "text")
    if not isinstance(text, str):
        raise ValueError(f"{where} has text {text!r}; write the prompt as a string")
    num_objects = _whole_number(where, entry, "num_objects")
    if not num_objects:
        raise ValueError(f"{where} has num_objects 0; a prompt needs at least one category")
    fields: dict[str, str] = {}  # By category, in the order of the objects.
    for i in range(1, num_objects + 1):
        field = f"obj_{i}_attributes"
        name = _category(where, entry, field)
        if name in fields:
            raise ValueError(
                f"{where} has {name!r} in {fields[name]} and in {field}; it would count twice, so"
                " name another category in one of them"
            )
        fields[name] = field
    surplus = [
        key
        for key in entry
        if re.fullmatch(r"obj_\d+_attributes", key) and key not in fields.values()
    ]
    if surplus:
        raise ValueError(
            f"{where} has {surplus[0]}, but num_objects {num_objects}; count all objects in"
            " num_objects, or remove the field"
        )
    return Prompt(prompt_id, text, tuple(fields))


def _field(where: str, entry: dict[str, Any], field: str) -> Any:
    if field not in entry:
        raise ValueError(f"{where} lacks {field!r}; add the field")
    return entry[field]


def _whole_number(where: str, entry: dict[str, Any], field: str) -> int:
    value = _field(where, entry, field)
    # Digits in quotes are read too. int() alone would take 7.9, true and "3_1" as well.
    if not re.fullmatch(r"\d{1,10}", str(value)) or int(value) > _LARGEST_NUMBER:
        raise ValueError(
            f"{where} has {field} {value!r}; write a whole number from 0 to {_LARGEST_NUMBER}"
        )
    return int(value)


def _category(where: str, entry: dict[str, Any], field: str) -> str:
    match _field(where, entry, field):
        case [str(name)] if name.strip():
            return name
        case str(name):
            raise ValueError(f"{where} has {field} {name!r}; write a list of that name, [{name!r}]")
        case value:
            raise ValueError(
                f"{where} has {field} {value!r}; write a list of exactly one name, and further"
                " categories as objects of their own"
            )
