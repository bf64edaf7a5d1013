"""A training in pictures: the same prompts from the same noise, step by step."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image

from tokencompose_core.reports.attention_sheet import draw_map
from tokencompose_core.reports.contact_sheet import draw_sheet

_SIDE = 128
# Small enough for a card to show all prompts without shrinking them further.
_NOUN_SIDE = 80


def draw_samples(
    prompts: Sequence[str], steps: Sequence[int], images: Sequence[Sequence[Image.Image]]
) -> Image.Image:
    """A row for each step with the image of every prompt.

    Args:
        prompts: The prompts.
        steps: Steps of training.
        images: For each step an image of each prompt.
    """
    return draw_sheet(
        [image for of_step in images for image in of_step],
        [f"step {step}: {prompt}" for step in steps for prompt in prompts],
        columns=len(prompts),
        side=_SIDE,
        label_lines=4,
    )


def draw_noun_attention(
    nouns: Sequence[Sequence[str]],
    steps: Sequence[int],
    images: Sequence[Sequence[Image.Image]],
    attention: Sequence[Sequence[Float[np.ndarray, "height width nouns"]]],
) -> Image.Image:
    """For each step the image of a prompt and, beside it, where each of its nouns looks.

    The brightest colour of a map is its highest value, which its label ends with.

    Args:
        nouns: For each prompt its nouns.
        steps: Steps of training.
        images: For each step an image of each prompt.
        attention: For each step the maps of each prompt.
    """
    columns = 1 + max(map(len, nouns))
    pictures: list[Image.Image] = []
    labels: list[str] = []
    for number, own in enumerate(nouns):
        for step, of_step, maps in zip(steps, images, attention, strict=True):
            pictures.append(of_step[number])
            labels.append(f"step {step}")
            for column in range(columns - 1):
                if column < len(own):
                    one = np.asarray(maps[number][..., column])
                    drawn = draw_map(one)
                    scale = max(1, _NOUN_SIDE // max(drawn.size))
                    size = (drawn.width * scale, drawn.height * scale)
                    pictures.append(drawn.resize(size, Image.Resampling.NEAREST))
                    labels.append(f"{own[column]} {one.max():.2f}")
                else:
                    pictures.append(Image.new("RGB", (1, 1), "white"))
                    labels.append("")
    return draw_sheet(pictures, labels, columns=columns, side=_NOUN_SIDE, label_lines=1)
