"""Draw scenes with resvg: the picture, and which object each pixel shows."""

import io

import numpy as np
import resvg_py
from jaxtyping import Int
from PIL import Image

from tokencompose_core.pocket.categories import COLOURS, Part
from tokencompose_core.pocket.scenes import Scene, SceneObject, Surface

# Far and near tone of each surface's picture; muted, so that every object colour stands out.
_BACKDROPS: dict[Surface, tuple[str, str, str, str]] = {
    "grass": ("#d3e4ee", "#e8f1f4", "#bdd0ae", "#a5bf97"),
    "sand": ("#dcebf2", "#eef4f4", "#ece0c4", "#dfcfab"),
    "snow": ("#c9d3dd", "#dfe5ea", "#f3f6f8", "#e4eaef"),
    "floor": ("#ece7df", "#e2dbd0", "#c9b7a3", "#bba690"),
    "road": ("#dfe2e4", "#ebecec", "#bfc1c3", "#acaeb1"),
}
_INK, _PAPER = "#22262b", "#f6f4ef"


def draw_scene(scene: Scene, *, size: tuple[int, int] | None = None) -> Image.Image:
    """The picture of a scene, antialiased.

    Args:
        scene: What to draw.
        size: Width and height of the result; the scene's own by default.
    """
    return draw_svg(scene_to_svg(scene), size or (scene.width, scene.height))


def draw_object_indices(
    scene: Scene, *, size: tuple[int, int] | None = None
) -> Int[np.ndarray, "height width"]:
    """Index into `scene.objects` of what each pixel shows, -1 on the background.

    Occlusion is included: the value is the front-most object, and each object's mask is
    `indices == i`.
    """
    width, height = size or (scene.width, scene.height)
    image = np.asarray(draw_svg(_indices_svg(scene), (width, height), crisp=True))[..., 0]
    return (image.astype(np.int64) + 20) // 40 - 1


def scene_to_svg(scene: Scene) -> str:
    """The scene as an SVG document."""
    far_top, far_bottom, near_top, near_bottom = _BACKDROPS[scene.surface]
    lift = 1.0 + 0.06 * scene.shade
    horizon = scene.horizon * scene.height
    body = "".join(_object_svg(item, index) for index, item in enumerate(scene.objects))
    return (
        f"{_header(scene)}<defs>"
        f"{_gradient('far', _tone(far_top, lift), _tone(far_bottom, lift), vertical=True)}"
        f"{_gradient('near', _tone(near_top, lift), _tone(near_bottom, lift), vertical=True)}"
        "</defs>"
        f'<rect width="{scene.width}" height="{horizon + 1:.2f}" fill="url(#far)"/>'
        f'<rect y="{horizon:.2f}" width="{scene.width}" height="{scene.height - horizon:.2f}"'
        f' fill="url(#near)"/>{body}</svg>'
    )


def _indices_svg(scene: Scene) -> str:
    body = "".join(
        f'<g transform="{_transform(item)}">'
        + "".join(_part_svg(part, f"rgb({40 * (index + 1)},0,0)") for part in item.category.parts)
        + "</g>"
        for index, item in enumerate(scene.objects)
    )
    return (
        f'{_header(scene)}<rect width="{scene.width}" height="{scene.height}" fill="#000"/>'
        f"{body}</svg>"
    )


def _header(scene: Scene) -> str:
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" preserveAspectRatio="none"'
        f' viewBox="0 0 {scene.width} {scene.height}">'
    )


def _object_svg(item: SceneObject, index: int) -> str:
    colour = COLOURS[item.colour]
    tones = {
        "body": colour,
        "shade": _tone(colour, 0.66),
        "light": _tone(colour, 1.45),
        "ink": _INK,
        "paper": _PAPER,
    }
    definitions = body = ""
    if item.texture == "gradient":
        definitions = _gradient(
            f"g{index}", _tone(colour, 1.3), _tone(colour, 0.75), vertical=False
        )
        tones["body"] = f"url(#g{index})"
    for part in item.category.parts:
        body += _part_svg(part, tones[part.role])
    if item.texture in ("stripes", "dots"):
        solid = "".join(
            p.path for p in item.category.parts if p.role == "body" and not p.stroke_width
        )
        definitions = f'<clipPath id="c{index}"><path d="{solid}" clip-rule="evenodd"/></clipPath>'
        body += f'<path d="{_pattern(item.texture)}" clip-path="url(#c{index})" {_PATTERN_PAINT}/>'
    outline = "".join(
        f'<path d="{p.path}" fill="none" stroke="#15181c" stroke-opacity=".55" stroke-width=".09"/>'
        for p in item.category.parts
        if p.role == "body" and not p.stroke_width
    )
    return f'<defs>{definitions}</defs><g transform="{_transform(item)}">{outline}{body}</g>'


_PATTERN_PAINT = (
    'fill="none" stroke="#fff" stroke-opacity=".35" stroke-width=".1" stroke-linecap="round"'
)


def _pattern(texture: str) -> str:
    steps = [-0.95 + 0.32 * i for i in range(7)]
    if texture == "stripes":
        return "".join(f"M-1 {y:.2f}L1 {y + 0.3:.2f}" for y in steps)
    return "".join(f"M{x:.2f} {y:.2f}h.01" for x in steps for y in steps)


def _part_svg(part: Part, paint: str) -> str:
    if part.stroke_width:
        return (
            f'<path d="{part.path}" fill="none" stroke="{paint}" stroke-linecap="round"'
            f' stroke-width="{part.stroke_width}"/>'
        )
    return f'<path d="{part.path}" fill="{paint}" fill-rule="evenodd"/>'


def _transform(item: SceneObject) -> str:
    half = item.size / 2
    return (
        f"translate({item.x:.2f} {item.y:.2f}) rotate({item.rotation:.1f})"
        f" scale({-half if item.mirrored else half:.3f} {half:.3f})"
    )


def _gradient(name: str, first: str, second: str, *, vertical: bool) -> str:
    direction = 'x2="0" y2="1"' if vertical else 'x2="1" y2="1"'
    return (
        f'<linearGradient id="{name}" {direction}><stop stop-color="{first}"/>'
        f'<stop offset="1" stop-color="{second}"/></linearGradient>'
    )


def _tone(colour: str, factor: float) -> str:
    """Darker below 1, towards white above 1."""
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    if factor < 1:
        channels = [round(c * factor) for c in channels]
    else:
        channels = [round(255 - (255 - c) * (2 - factor)) for c in channels]
    return "#" + "".join(f"{c:02x}" for c in channels)


def draw_svg(svg: str, size: tuple[int, int], *, crisp: bool = False) -> Image.Image:
    """An SVG document at `size` pixels; `crisp` turns antialiasing off."""
    svg = svg.replace("<svg ", f'<svg width="{size[0]}" height="{size[1]}" ', 1)
    png = resvg_py.svg_to_bytes(
        svg_string=svg,
        skip_system_fonts=True,
        shape_rendering="crisp_edges" if crisp else "geometric_precision",
    )
    return Image.open(io.BytesIO(png)).convert("RGB")
