"""Read what the code released with MultiGen wrote about images."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tokencompose_core.evaluation.judge_images import SeenBox, SeenImage
from tokencompose_core.evaluation.prompts import Prompt


def read_released_detections(
    paths: Sequence[Path], prompts: Sequence[Prompt]
) -> dict[tuple[int, int], SeenImage]:
    """Read the detections of all processes, by prompt id and round.

    Each process writes one file: `{"<prompt>_<round>": {"classes": [...], "scores": [...]}}`. It
    has the categories of the prompt only and no boxes.

    Args:
        paths: The files of all processes, or the folder with them, whose `*.json` are read.
        prompts: What the images were asked for. Images of other prompts are read unchecked.

    Raises:
        ValueError: If a file is not of that form, an image occurs twice, or one has a class that is
            no category of its prompt, naming file and image; or if a folder has no file.
    """
    categories = {prompt.prompt_id: prompt.categories for prompt in prompts}
    seen: dict[tuple[int, int], SeenImage] = {}
    source: dict[tuple[int, int], Path] = {}
    for path in _files(paths):
        try:
            # As pairs, because a dictionary would drop an image that the file has twice.
            pairs = json.loads(path.read_text("utf-8"), object_pairs_hook=tuple)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}: not JSON: {error}") from error
        if not isinstance(pairs, tuple):
            raise ValueError(f"{path}: expected images by name, received {type(pairs).__name__}")
        for name, fields in pairs:
            image = _image_id(path, name)
            if image in source:
                raise ValueError(
                    f"{path}: image {name!r} was already in {source[image]}; score one set of"
                    " files at a time"
                )
            source[image] = path
            seen[image] = SeenImage(_boxes(path, name, fields, categories.get(image[0])))
    return seen


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(path.glob("*.json"))
        if not found:
            raise ValueError(f"{path}: there is no *.json in this folder; name the one with them")
        yield from found


def _image_id(path: Path, name: str) -> tuple[int, int]:
    prompt, _, number = name.partition("_")
    if not (prompt.isdecimal() and number.isdecimal()):
        raise ValueError(f"{path}: image {name!r} is not named <prompt>_<round>")
    return int(prompt), int(number)


def _boxes(path: Path, name: str, fields: Any, categories: tuple[str, ...] | None) -> list[SeenBox]:
    try:
        values = dict(fields)
        classes, scores = list(values["classes"]), [float(score) for score in values["scores"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: image {name!r} lacks lists of classes and scores") from error
    if len(classes) != len(scores):
        raise ValueError(
            f"{path}: image {name!r} has {len(classes)} classes and {len(scores)} scores"
        )
    # Under another spelling, number or query a category would never count: a score of 0 for all.
    unknown = [one for one in classes if categories is not None and one not in categories]
    if unknown:
        raise ValueError(
            f"{path}: image {name!r} has class {unknown[0]!r}, which is no category of its prompt,"
            f" {list(categories or ())}; name classes exactly as the prompt file does, and score"
            " with the prompt file of these images"
        )
    return [SeenBox(str(name), score) for name, score in zip(classes, scores, strict=True)]
