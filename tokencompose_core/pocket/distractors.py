"""Pictures without any object that look like what a poor generator draws.

A detector that scores generated pictures must not take a patch of colour or half a wheel for a
car, so it sees these as negatives, and is measured on them.
"""

import math
import random
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFilter

from tokencompose_core.pocket.categories import CATEGORIES, COLOURS
from tokencompose_core.pocket.drawing import draw_object_indices, draw_scene, draw_svg, scene_to_svg
from tokencompose_core.pocket.scenes import MAX_OBJECTS, sample_scene

Distractor = Literal["empty", "blobs", "fragments", "noise"]
DISTRACTORS: tuple[Distractor, ...] = get_args(Distractor)

# Share of an object's visible area that a fragment may keep.
_LARGEST_FRAGMENT = 0.3


def draw_distractor(
    rng: random.Random, kind: Distractor, side: int
) -> UInt8[np.ndarray, "side side 3"]:
    """A picture of `side` pixels that shows none of the categories.

    Args:
        rng: Source of all randomness.
        kind: `empty` backgrounds, coloured `blobs` of the size of objects, `fragments` that keep
            at most three tenths of an object, or plain `noise`.
        side: Width and height in pixels.
    """
    match kind:
        case "empty":
            return _empty(rng, side)
        case "blobs":
            return _blobs(rng, side)
        case "fragments":
            return _fragments(rng, side)
        case "noise":
            return _noise(rng, side)


def _empty_scene(rng: random.Random, side: int):
    scene = sample_scene(rng, [rng.choice(CATEGORIES).name], width=side, height=side)
    return replace(scene, objects=())


def _empty(rng: random.Random, side: int) -> np.ndarray:
    return np.asarray(draw_scene(_empty_scene(rng, side)))


def _blobs(rng: random.Random, side: int) -> np.ndarray:
    svg = scene_to_svg(_empty_scene(rng, side)).removesuffix("</svg>")
    for _ in range(rng.randint(1, MAX_OBJECTS)):
        x, y = rng.uniform(0.2, 0.8) * side, rng.uniform(0.2, 0.8) * side
        size = rng.uniform(0.12, 0.36) * side
        for layer in range(rng.choice((1, 1, 2, 3))):
            shift = size * 0.4 * min(layer, 1)
            svg += _blob(
                rng,
                x + rng.uniform(-shift, shift),
                y + rng.uniform(-shift, shift),
                size / (1 + 0.7 * layer),
            )
    picture = draw_svg(svg + "</svg>", (side, side))
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.8)))
    return np.asarray(picture)


def _blob(rng: random.Random, x: float, y: float, size: float) -> str:
    corners = rng.randint(5, 11)
    squash, tilt = rng.uniform(0.45, 1.0), rng.uniform(0, math.tau)
    points = []
    for corner in range(corners):
        angle = math.tau * corner / corners
        radius = size * rng.uniform(0.55, 1.0)
        px, py = radius * math.cos(angle), radius * squash * math.sin(angle)
        points.append(
            (
                x + px * math.cos(tilt) - py * math.sin(tilt),
                y + px * math.sin(tilt) + py * math.cos(tilt),
            )
        )
    middles = [
        ((ax + bx) / 2, (ay + by) / 2)
        for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True)
    ]
    path = f"M{middles[-1][0]:.1f} {middles[-1][1]:.1f}"
    for (cx, cy), (ex, ey) in zip(points, middles, strict=True):
        path += f"Q{cx:.1f} {cy:.1f} {ex:.1f} {ey:.1f}"
    paint = rng.choice([*COLOURS.values(), "#22262b", "#f6f4ef"])
    return f'<path d="{path}Z" fill="{paint}" fill-opacity="{rng.uniform(0.6, 1):.2f}"/>'


def _fragments(rng: random.Random, side: int) -> np.ndarray:
    count = rng.randint(1, 3)
    scene = sample_scene(
        rng, [c.name for c in rng.sample(CATEGORIES, count)], width=side, height=side
    )
    whole = np.asarray(draw_scene(scene))
    indices = draw_object_indices(scene)
    keep = np.zeros((side, side), dtype=bool)
    for index in range(len(scene.objects)):
        mask = indices == index
        keep |= mask & _part_of(rng, mask)
    empty = np.asarray(draw_scene(replace(scene, objects=())))
    return np.where(keep[..., None], whole, empty)


def _part_of(rng: random.Random, mask: np.ndarray) -> np.ndarray:
    """A half-plane that holds between a tenth and three tenths of the mask."""
    rows, columns = np.indices(mask.shape)
    angle = rng.uniform(0, math.tau)
    depth = np.asarray(rows * math.sin(angle) + columns * math.cos(angle))
    if not mask.any():
        return mask
    limit = float(np.quantile(depth[mask], rng.uniform(0.1, _LARGEST_FRAGMENT)))
    return np.less_equal(depth, limit)


def _noise(rng: random.Random, side: int) -> np.ndarray:
    noise = np.random.default_rng(rng.randrange(2**32))
    coarse = noise.uniform(0, 255, (rng.choice((4, 8, 16, side)),) * 2 + (3,)).astype(np.uint8)
    picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    strength = rng.uniform(0.0, 60.0)
    grainy = np.asarray(picture) + noise.normal(0, strength, (side, side, 3))
    contrast = rng.uniform(0.3, 1.0)
    return (128 + contrast * (grainy.clip(0, 255) - 128)).astype(np.uint8)
