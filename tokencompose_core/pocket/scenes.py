"""Sample scenes: which objects, where, how large, in which order from back to front."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from tokencompose_core.pocket.categories import CATEGORIES, COLOURS, Category

Texture = Literal["plain", "gradient", "stripes", "dots"]
Surface = Literal["grass", "sand", "snow", "floor", "road"]
Relation = Literal["left of", "right of", "above", "below", "in front of", "behind"]

SURFACES: tuple[Surface, ...] = ("grass", "sand", "snow", "floor", "road")
TEXTURES: tuple[Texture, ...] = ("plain", "gradient", "stripes", "dots")
MAX_OBJECTS = 5

# Object size over the short side of the image, by how many objects share the image.
_SIZE_RANGE = {1: (0.5, 0.8), 2: (0.4, 0.58), 3: (0.34, 0.48), 4: (0.31, 0.42), 5: (0.29, 0.38)}


@dataclass(frozen=True)
class SceneObject:
    """One drawn object.

    Attributes:
        category: What it is.
        colour: Key of `COLOURS`.
        x, y: Centre in pixels of the scene.
        size: Side of the unit frame's square in pixels.
        rotation: Degrees, clockwise.
        mirrored: Whether left and right are exchanged.
        texture: How the body is painted.
    """

    category: Category
    colour: str
    x: float
    y: float
    size: float
    rotation: float
    mirrored: bool
    texture: Texture

    @property
    def box_xyxy(self) -> tuple[float, float, float, float]:
        """Bounding box of the rotated shape's extent, in pixels of the scene."""
        half_width, half_height = _half_extent(self.category, round(self.rotation))
        dx, dy = half_width * self.size / 2, half_height * self.size / 2
        return self.x - dx, self.y - dy, self.x + dx, self.y + dy


@dataclass(frozen=True)
class Scene:
    """A picture to draw; `objects` run from back to front."""

    width: int
    height: int
    surface: Surface
    horizon: float
    shade: float
    objects: tuple[SceneObject, ...]

    @property
    def names(self) -> list[str]:
        """Names of the categories in the picture, each once, in order of first appearance."""
        return list(dict.fromkeys(item.category.name for item in self.objects))


def sample_habitual_names(rng: random.Random) -> list[str]:
    """Categories of a picture as most pictures are: one thing, or things that belong together.

    The small Stable Diffusion is pre-trained on these, so unusual combinations are new to it.
    """
    count = rng.choices((1, 2, 3, 4), weights=(45, 35, 14, 6))[0]
    group = rng.choice(sorted({category.supercategory for category in CATEGORIES}))
    names = [category.name for category in CATEGORIES if category.supercategory == group]
    return rng.sample(names, count)


def sample_varied_names(rng: random.Random) -> list[str]:
    """Two to five categories of the whole world in any combination, seldom one alone."""
    count = rng.choices((1, 2, 3, 4, 5), weights=(8, 27, 30, 20, 15))[0]
    return rng.sample([category.name for category in CATEGORIES], count)


def sample_scene(
    rng: random.Random,
    names: Sequence[str],
    *,
    width: int,
    height: int,
    twin_share: float = 0.0,
) -> Scene:
    """Place one object of each name without hiding any of them.

    Args:
        rng: Source of all randomness.
        names: Names of categories, 1 to 5, each once.
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.
        twin_share: Chance that one category appears twice ("two cats"), where there is room.

    Raises:
        ValueError: If `names` is empty or longer than `MAX_OBJECTS`.
        KeyError: If a name is not a category of the pocket world.
    """
    if not 1 <= len(names) <= MAX_OBJECTS:
        raise ValueError(f"a scene holds 1 to {MAX_OBJECTS} categories, received {len(names)}")
    by_name = {category.name: category for category in CATEGORIES}
    drawn = [by_name[name] for name in names]
    if len(drawn) < MAX_OBJECTS and rng.random() < twin_share:
        drawn.append(rng.choice(drawn))
    rng.shuffle(drawn)
    surface = rng.choice(SURFACES)
    horizon, shade = rng.uniform(0.25, 0.6), rng.uniform(-0.5, 0.5)
    shrink = 1.0
    while True:
        objects = _place(rng, drawn, width, height, shrink)
        if objects is not None:
            return Scene(width, height, surface, horizon, shade, objects)
        shrink *= 0.97


def relation_of(subject: SceneObject, other: SceneObject, *, subject_in_front: bool) -> Relation:
    """The plainest true relation of two objects, read off their boxes.

    Objects that overlap by more than a fifth of the smaller box stand in front of or behind each
    other; otherwise the larger of the horizontal and vertical distance decides.
    """
    if _overlap(subject.box_xyxy, other.box_xyxy) > 0.2:
        return "in front of" if subject_in_front else "behind"
    dx, dy = subject.x - other.x, subject.y - other.y
    if abs(dx) >= abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def _place(
    rng: random.Random, drawn: Sequence[Category], width: int, height: int, shrink: float
) -> tuple[SceneObject, ...] | None:
    low, high = _SIZE_RANGE[len(drawn)]
    placed: list[SceneObject] = []
    for category in drawn:
        for _ in range(40):
            item = _sample_object(rng, category, width, height, rng.uniform(low, high) * shrink)
            x0, y0, x1, y1 = item.box_xyxy
            inside = x0 >= -2 and y0 >= -2 and x1 <= width + 2 and y1 <= height + 2
            limit = 0.3 if rng.random() < 0.15 else 0.08
            if inside and all(_overlap(item.box_xyxy, p.box_xyxy) <= limit for p in placed):
                placed.append(item)
                break
        else:
            return None
    return tuple(placed)


def _sample_object(
    rng: random.Random, category: Category, width: int, height: int, share: float
) -> SceneObject:
    size = share * min(width, height)
    # Centres lean towards the middle square, which a centre crop keeps.
    margin_x = size / 2 + max(0.0, (width - height) / 2) * rng.uniform(0.3, 1.0)
    margin_y = size / 2 + max(0.0, (height - width) / 2) * rng.uniform(0.3, 1.0)
    margin_x, margin_y = min(margin_x, width / 2), min(margin_y, height / 2)
    return SceneObject(
        category=category,
        colour=rng.choice(list(COLOURS)),
        x=rng.uniform(margin_x, width - margin_x),
        y=rng.uniform(margin_y, height - margin_y),
        size=size,
        rotation=rng.uniform(-category.max_rotation, category.max_rotation),
        mirrored=rng.random() < 0.5,
        texture=rng.choices(TEXTURES, weights=(4, 2, 1, 1))[0],
    )


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Shared area of two boxes over the smaller of them."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))


@cache
def _half_extent(category: Category, rotation: int) -> tuple[float, float]:
    half_width, half_height = category.half_extent
    cos, sin = abs(math.cos(math.radians(rotation))), abs(math.sin(math.radians(rotation)))
    return half_width * cos + half_height * sin, half_width * sin + half_height * cos
