"""The sixteen categories of the pocket world, as vector shapes.

A category is told by its shape alone: every category takes every colour of `COLOURS`, so a
detector that looks at colour learns nothing. Shapes are drawn in a unit frame, x to the right and
y down, both within [-1, 1].
"""

from dataclasses import dataclass
from typing import Literal

Role = Literal["body", "shade", "light", "ink", "paper"]
"""What a part is painted with: three tones of the object's colour, near-black or near-white."""


@dataclass(frozen=True)
class Part:
    """One SVG path of a shape.

    Attributes:
        path: SVG path data in the unit frame.
        role: Paint of the path.
        stroke_width: If above 0, the path is stroked with that width and not filled.
    """

    path: str
    role: Role = "body"
    stroke_width: float = 0.0


@dataclass(frozen=True)
class Category:
    """A kind of object.

    Attributes:
        category_id: Identifier in the COCO-format annotations.
        name: English name, one or two words, lower case.
        supercategory: The habitual surroundings; categories of one group are seen together.
        parts: The shape, painted in order.
        half_extent: Half width and half height of the shape in the unit frame.
        max_rotation: Largest tilt in degrees to either side.
    """

    category_id: int
    name: str
    supercategory: str
    parts: tuple[Part, ...]
    half_extent: tuple[float, float] = (1.0, 1.0)
    max_rotation: float = 12.0


COLOURS: dict[str, str] = {
    "red": "#d0342c",
    "orange": "#e8862e",
    "yellow": "#e6c62f",
    "green": "#4a9b4f",
    "blue": "#3b6fc4",
    "purple": "#8450a8",
    "pink": "#e58fb1",
    "brown": "#8a5a3b",
    "gray": "#8b8f94",
}


def _circle(x: float, y: float, radius: float) -> str:
    return _ellipse(x, y, radius, radius)


def _ellipse(x: float, y: float, rx: float, ry: float) -> str:
    return (
        f"M{x - rx:.3f} {y:.3f}A{rx} {ry} 0 1 1 {x + rx:.3f} {y:.3f}"
        f"A{rx} {ry} 0 1 1 {x - rx:.3f} {y:.3f}Z"
    )


def _rectangle(x0: float, y0: float, x1: float, y1: float) -> str:
    return f"M{x0} {y0}H{x1}V{y1}H{x0}Z"


_CAT = (
    Part("M.42 .62C.95 .6 1 .1 .72 -.22", "body", 0.2),
    Part("M-.6 1C-.66 .3 -.4 0 .02 0C.5 0 .68 .4 .66 1Z"),
    Part("M-.86 -1L-.8 -.32C-.8 .1 -.5 .3 -.18 .3C.16 .3 .46 .1 .46 -.32L.52 -1L.1 -.68H-.44Z"),
    Part(_circle(-0.44, -0.26, 0.11), "paper"),
    Part(_circle(0.1, -0.26, 0.11), "paper"),
    Part(_circle(-0.44, -0.26, 0.05), "ink"),
    Part(_circle(0.1, -0.26, 0.05), "ink"),
    Part("M-.27 -.06H-.07L-.17 .06Z", "ink"),
    Part("M-.16 .58V1", "shade", 0.08),
    Part("M.2 .58V1", "shade", 0.08),
)
_TEDDY_BEAR = (
    Part(_circle(-0.46, -0.78, 0.22)),
    Part(_circle(0.46, -0.78, 0.22)),
    Part(_circle(-0.46, -0.78, 0.11), "shade"),
    Part(_circle(0.46, -0.78, 0.11), "shade"),
    Part(_ellipse(-0.68, 0.22, 0.3, 0.19)),
    Part(_ellipse(0.68, 0.22, 0.3, 0.19)),
    Part(_circle(-0.46, 0.8, 0.28)),
    Part(_circle(0.46, 0.8, 0.28)),
    Part(_ellipse(0, 0.4, 0.54, 0.54)),
    Part(_ellipse(0, 0.42, 0.32, 0.32), "light"),
    Part(_ellipse(0, -0.42, 0.54, 0.48)),
    Part(_ellipse(0, -0.26, 0.24, 0.19), "light"),
    Part(_circle(-0.22, -0.5, 0.07), "ink"),
    Part(_circle(0.22, -0.5, 0.07), "ink"),
    Part(_ellipse(0, -0.33, 0.09, 0.06), "ink"),
    Part(_circle(-0.46, 0.82, 0.13), "light"),
    Part(_circle(0.46, 0.82, 0.13), "light"),
)
_WINE_GLASS = (
    Part(_ellipse(0, 0.88, 0.5, 0.12)),
    Part(_rectangle(-0.09, 0.0, 0.09, 0.88)),
    Part("M-.5 -1H.5C.62 -.4 .5 .14 0 .16C-.5 .14 -.62 -.4 -.5 -1Z", "light"),
    Part("M-.53 -.5H.53C.52 -.1 .36 .14 0 .16C-.36 .14 -.52 -.1 -.53 -.5Z"),
    Part("M-.36 -.86C-.4 -.6 -.4 -.4 -.34 -.2", "paper", 0.08),
)
_TRAFFIC_LIGHT = (
    Part(_rectangle(-0.08, 0.5, 0.08, 1.0), "shade"),
    Part("M-.3 -1H.3Q.38 -1 .38 -.9V.5Q.38 .6 .3 .6H-.3Q-.38 .6 -.38 .5V-.9Q-.38 -1 -.3 -1Z"),
    Part("M-.38 -.8L-.62 -.8L-.38 -.5Z", "shade"),
    Part("M.38 -.8L.62 -.8L.38 -.5Z", "shade"),
    Part("M-.38 -.3L-.62 -.3L-.38 0Z", "shade"),
    Part("M.38 -.3L.62 -.3L.38 0Z", "shade"),
    Part("M-.38 .2L-.62 .2L-.38 .5Z", "shade"),
    Part("M.38 .2L.62 .2L.38 .5Z", "shade"),
    Part(_circle(0, -0.7, 0.2), "ink"),
    Part(_circle(0, -0.2, 0.2), "paper"),
    Part(_circle(0, 0.3, 0.2), "ink"),
)
_STOP_SIGN = (
    Part(_rectangle(-0.08, 0.2, 0.08, 1.0), "ink"),
    Part("M-.28 -1H.28L.68 -.6V-.04L.28 .36H-.28L-.68 -.04V-.6Z", "paper"),
    Part("M-.24 -.9H.24L.58 -.56V-.08L.24 .26H-.24L-.58 -.08V-.56Z"),
    Part(_rectangle(-0.44, -0.43, 0.44, -0.21), "paper"),
)
_UMBRELLA = (
    Part("M0 -.2V.72C0 1 .36 1 .36 .7", "ink", 0.13),
    Part("M0 -1V-.8", "ink", 0.1),
    Part(
        "M-1 .06C-.94 -.56 -.5 -.86 0 -.86C.5 -.86 .94 -.56 1 .06"
        "Q.83 -.14 .66 .06Q.5 -.14 .33 .06Q.17 -.14 0 .06"
        "Q-.17 -.14 -.33 .06Q-.5 -.14 -.66 .06Q-.83 -.14 -1 .06Z"
    ),
    Part(
        "M0 -.86C-.24 -.6 -.33 -.3 -.33 .04Q-.17 -.14 0 .04Q.17 -.14 .33 .04"
        "C.33 -.3 .24 -.6 0 -.86Z",
        "light",
    ),
)
_KITE = (
    Part("M.06 .42C.3 .6 -.16 .74 .1 .98", "ink", 0.08),
    Part("M-.1 .62L.28 .5V.76Z", "shade"),
    Part("M-.2 .86L.16 .72V.98Z", "shade"),
    Part("M0 -1L.62 -.34L.02 .46L-.62 -.34Z"),
    Part("M0 -1L.62 -.34H0Z", "light"),
    Part("M0 -.34L.02 .46L-.62 -.34Z", "shade"),
)
_CAR = (
    Part(
        "M-1 .34V.02Q-1 -.1 -.86 -.12L-.6 -.16L-.36 -.5Q-.32 -.56 -.22 -.56H.32"
        "Q.42 -.56 .5 -.48L.74 -.16"
        "Q1 -.12 1 .06V.34Z"
    ),
    Part("M-.44 -.16L-.24 -.44H-.02V-.16Z", "paper"),
    Part("M.1 -.44H.32L.54 -.16H.1Z", "paper"),
    Part(_circle(-0.52, 0.34, 0.25), "ink"),
    Part(_circle(0.54, 0.34, 0.25), "ink"),
    Part(_circle(-0.52, 0.34, 0.1), "paper"),
    Part(_circle(0.54, 0.34, 0.1), "paper"),
)
_AIRPLANE = (
    Part("M-.16 -.3L-1 .26V.48L-.16 .24Z", "shade"),
    Part("M.16 -.3L1 .26V.48L.16 .24Z", "shade"),
    Part("M-.1 .56L-.44 .82V1L0 .86Z", "shade"),
    Part("M.1 .56L.44 .82V1L0 .86Z", "shade"),
    Part("M0 -1Q.19 -.86 .19 -.5V.4L.09 .92H-.09L-.19 .4V-.5Q-.19 -.86 0 -1Z"),
    Part("M-.13 -.62Q0 -.8 .13 -.62L.09 -.52H-.09Z", "ink"),
)
_BANANA = (
    Part(
        "M-.88 -.7L-.66 -.8C-.56 -.2 -.1 .3 .74 .32L.94 .2L.98 .42L.86 .52C.2 .98 -.86 .6 -.78 -.5Z"
    ),
    Part("M-.72 -.4C-.6 .34 .04 .7 .78 .48", "shade", 0.09),
    Part("M-.92 -.7L-.66 -.82L-.64 -.62L-.82 -.54Z", "ink"),
    Part("M.84 .25L.96 .2L.98 .42L.88 .48Z", "ink"),
)
_SURFBOARD = (
    Part("M.2 .62L.46 .9L.18 .92Z", "ink"),
    Part("M-.2 .62L-.46 .9L-.18 .92Z", "ink"),
    Part(
        "M0 -1C.28 -.86 .42 -.3 .4 .2C.38 .6 .3 .84 .2 1L0 .84L-.2 1C-.3 .84 -.38 .6 -.4 .2"
        "C-.42 -.3 -.28 -.86 0 -1Z"
    ),
    Part("M-.41 .1C-.2 .3 .2 .3 .41 .1L.38 .42C.2 .6 -.2 .6 -.38 .42Z", "paper"),
    Part("M0 -.92V.82", "ink", 0.07),
)
_BOAT = (
    Part("M-.04 -1V.4", "ink", 0.1),
    Part("M.06 -.94C.5 -.6 .76 -.1 .8 .24H.06Z", "light"),
    Part("M-.14 -.7C-.3 -.3 -.52 0 -.74 .24H-.14Z", "paper"),
    Part("M-1 .4H1C.92 .7 .74 .86 .56 .92H-.56C-.76 .84 -.92 .7 -1 .4Z"),
    Part("M-.94 .56H.94", "shade", 0.08),
)
_CHAIR = (
    Part("M-.52 -1L-.48 .98", "shade", 0.17),
    Part("M.48 .24V.98", "shade", 0.17),
    Part("M-.18 .24V.8", "shade", 0.13),
    Part("M.72 .1V.8", "shade", 0.13),
    Part("M-.62 -1H-.34L-.26 .1H-.56Z"),
    Part("M-.6 .02L.6 .02L.82 -.12H-.3Z", "light"),
    Part(_rectangle(-0.6, 0.02, 0.62, 0.26)),
)
_CLOCK = (
    Part("M-.5 .62L-.7 .98", "ink", 0.17),
    Part("M.5 .62L.7 .98", "ink", 0.17),
    Part("M-.84 -.5A.34 .34 0 0 1 -.3 -.92Z", "shade"),
    Part("M.84 -.5A.34 .34 0 0 0 .3 -.92Z", "shade"),
    Part(_circle(0, 0.1, 0.74)),
    Part(_circle(0, 0.1, 0.52), "paper"),
    Part("M0 .1V-.28", "ink", 0.12),
    Part("M0 .1L.28 .22", "ink", 0.12),
)
_DONUT = (
    Part(
        "M-.92 0A.92 .84 0 1 1 .92 0A.92 .84 0 1 1 -.92 0Z"
        "M-.3 0A.3 .28 0 1 0 .3 0A.3 .28 0 1 0 -.3 0Z",
        "shade",
    ),
    Part(
        "M-.78 -.06A.78 .7 0 1 1 .78 -.06Q.7 .3 .5 .34Q.4 .6 .16 .56"
        "Q-.06 .74 -.3 .54Q-.7 .5 -.78 -.06Z"
        "M-.38 0A.38 .36 0 1 0 .38 0A.38 .36 0 1 0 -.38 0Z"
    ),
    Part("M-.56 -.2L-.44 -.34", "paper", 0.09),
    Part("M-.1 -.58L.1 -.54", "paper", 0.09),
    Part("M.5 -.36L.6 -.2", "paper", 0.09),
    Part("M-.52 .22L-.4 .34", "paper", 0.09),
    Part("M.36 .3L.5 .2", "paper", 0.09),
)
_CUP = (
    Part("M.44 -.3C1.06 -.46 1.06 .46 .4 .4", "shade", 0.17),
    Part("M-.72 -.56L-.6 .78Q-.58 .9 -.44 .9H.34Q.48 .9 .5 .78L.62 -.56Z"),
    Part(_ellipse(-0.05, -0.56, 0.67, 0.19), "light"),
    Part(_ellipse(-0.05, -0.54, 0.52, 0.12), "ink"),
)

CATEGORIES: tuple[Category, ...] = (
    Category(1, "cat", "home", _CAT, (0.92, 1.0)),
    Category(2, "teddy bear", "home", _TEDDY_BEAR, (0.98, 1.08)),
    Category(3, "chair", "home", _CHAIR, (0.82, 1.06)),
    Category(4, "clock", "home", _CLOCK, (0.86, 1.06)),
    Category(5, "wine glass", "table", _WINE_GLASS, (0.6, 1)),
    Category(6, "cup", "table", _CUP, (0.92, 0.9)),
    Category(7, "banana", "table", _BANANA, (0.98, 0.86), 25.0),
    Category(8, "donut", "table", _DONUT, (0.92, 0.84), 25.0),
    Category(9, "car", "street", _CAR, (1, 0.6)),
    Category(10, "traffic light", "street", _TRAFFIC_LIGHT, (0.62, 1)),
    Category(11, "stop sign", "street", _STOP_SIGN, (0.68, 1)),
    Category(12, "umbrella", "street", _UMBRELLA, (1, 1)),
    Category(13, "boat", "beach", _BOAT, (1, 1)),
    Category(14, "surfboard", "beach", _SURFBOARD, (0.46, 1), 25.0),
    Category(15, "kite", "beach", _KITE, (0.62, 1), 25.0),
    Category(16, "airplane", "beach", _AIRPLANE, (1, 1), 40.0),
)

CATEGORY_BY_NAME: dict[str, Category] = {category.name: category for category in CATEGORIES}
