"""Many drawn scenes at once, for training and for measuring, on all cores."""

import os
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Int, UInt8

from tokencompose_core.pocket.drawing import draw_object_indices, draw_scene
from tokencompose_core.pocket.scenes import (
    Scene,
    sample_habitual_names,
    sample_scene,
    sample_varied_names,
)

Mix = Literal["habitual", "varied", "both"]
_CHUNK = 256


@dataclass(frozen=True)
class Pool:
    """Scenes of one shape with their pictures.

    Attributes:
        scenes: What each picture shows.
        images: Pictures, `(count, height, width, 3)`.
        indices: For each pixel the index into the scene's objects, or -1; None if not asked for.
    """

    scenes: list[Scene]
    images: UInt8[np.ndarray, "count height width 3"]
    indices: Int[np.ndarray, "count height width"] | None = None


def draw_pool(
    mix: Mix,
    count: int,
    *,
    size: tuple[int, int],
    seed: int,
    aspect: float = 1.0,
    with_indices: bool = False,
    twin_share: float = 0.06,
) -> Pool:
    """Draw `count` scenes; a function of its arguments alone, whatever the number of cores.

    Args:
        mix: Which categories share a picture: habitual ones, any, or half of each.
        count: Number of scenes.
        size: Width and height of the pictures in pixels.
        seed: Seed; pools of different seeds share no scene but by chance.
        aspect: Width over height of the scenes, which are squeezed into `size`.
        with_indices: Whether to draw which object each pixel shows.
        twin_share: Chance of two objects of one category.
    """
    numbers = range(0, count, _CHUNK)
    draw: Callable[[range], Pool] = partial(
        _draw_chunk,
        mix=mix,
        size=size,
        seed=seed,
        aspect=aspect,
        with_indices=with_indices,
        twin_share=twin_share,
    )
    parts = [range(start, min(start + _CHUNK, count)) for start in numbers]
    if len(parts) == 1:
        chunks = [draw(parts[0])]
    else:
        with ProcessPoolExecutor(os.cpu_count()) as executor:
            chunks = list(executor.map(draw, parts))
    return Pool(
        [scene for chunk in chunks for scene in chunk.scenes],
        np.concatenate([chunk.images for chunk in chunks]),
        np.concatenate([chunk.indices for chunk in chunks]) if with_indices else None,
    )


def join_pools(pools: Sequence[Pool]) -> Pool:
    """Pools of pictures of one size as one; object indices are left out."""
    return Pool(
        [scene for pool in pools for scene in pool.scenes],
        np.concatenate([pool.images for pool in pools]),
    )


def _draw_chunk(
    numbers: range,
    *,
    mix: Mix,
    size: tuple[int, int],
    seed: int,
    aspect: float,
    with_indices: bool,
    twin_share: float,
) -> Pool:
    width, height = (round(200 * aspect), 200) if aspect > 1 else (200, round(200 / aspect))
    scenes, images, indices = [], [], []
    for number in numbers:
        rng = random.Random(f"pool-{seed}-{number}")
        habitual = mix == "habitual" or (mix == "both" and number % 2 == 0)
        names = sample_habitual_names(rng) if habitual else sample_varied_names(rng)
        scene = sample_scene(rng, names, width=width, height=height, twin_share=twin_share)
        scenes.append(scene)
        images.append(np.asarray(draw_scene(scene, size=size)))
        if with_indices:
            indices.append(draw_object_indices(scene, size=size).astype(np.int8))
    return Pool(scenes, np.stack(images), np.stack(indices) if with_indices else None)
