"""Attention maps as pictures."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from PIL import Image

from tokencompose_core.reports.contact_sheet import draw_sheet

_SIDE = 112


def draw_map(attention: Float[np.ndarray, "height width"]) -> Image.Image:
    """A map as a heat map whose brightest colour is its highest value, one pixel a cell."""
    colours = colormaps["inferno"](attention / max(float(attention.max()), 1e-12))
    return Image.fromarray((colours[..., :3] * 255).round().astype(np.uint8))


def draw_attention_sheet(
    images: Mapping[str, Image.Image],
    nouns: Sequence[str],
    columns: Sequence[str],
    maps: Mapping[str, Sequence[Float[np.ndarray, "height width nouns"]]],
) -> Image.Image:
    """Maps of every noun, the models below each other: Figures 4, 10, 11 and 12 of TokenCompose.

    Each row starts with the generated image. A label ends with the map's highest value, which its
    brightest colour stands for.

    Args:
        images: What each model generated, by its label.
        nouns: Names of the nouns, in the order of the maps.
        columns: What the columns are: layers, heads or timesteps.
        maps: For each model one map a column.
    """
    pictures, labels = [], []
    for number, noun in enumerate(nouns):
        for model, image in images.items():
            pictures.append(image)
            labels.append(f"{noun} {model}")
            for column, attention in zip(columns, maps[model], strict=True):
                one = np.asarray(attention[..., number])
                # Small maps are enlarged without smoothing: a cell is what the model has.
                drawn = draw_map(one)
                scale = _SIDE / max(drawn.size)
                size = (round(drawn.width * scale), round(drawn.height * scale))
                pictures.append(drawn.resize(size, Image.Resampling.NEAREST))
                labels.append(f"{column} {one.max():.2f}")
    return draw_sheet(pictures, labels, columns=1 + len(columns), side=_SIDE)
