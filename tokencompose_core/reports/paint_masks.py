"""Masks over pictures, and phrases cut out of them, at a size for a page."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageFilter

from data_schemas.records import GroundedPhrase, IndexedCaption
from tokencompose_core.store.run_lengths import decode_mask

# Dark enough for bold text on white, and none of them red, which marks phrases without a mask.
COLOURS = (
    (25, 108, 210),
    (22, 128, 60),
    (176, 92, 0),
    (138, 56, 196),
    (0, 128, 134),
    (190, 24, 130),
    (110, 100, 0),
    (70, 70, 170),
)
COLOUR_NAMES = ("blue", "green", "orange", "violet", "teal", "pink", "olive", "indigo")
_MARGIN = 0.2
_LEAST_CROP = 16


def colour_of(number: int) -> tuple[int, int, int]:
    """The colour of a caption's phrase by its number."""
    return COLOURS[number % len(COLOURS)]


def colour_name_of(number: int) -> str:
    """What people call that colour, where a page cannot show it."""
    return COLOUR_NAMES[number % len(COLOUR_NAMES)]


def paint_sample(image: Image.Image, row: IndexedCaption, side: int) -> Image.Image:
    """The picture with the masks of its phrases, its longer side `side` pixels long.

    A mask that is too small for the picture's scale still shows as a pixel.
    """
    scale = side / max(row.width, row.height)
    size = (max(1, round(row.width * scale)), max(1, round(row.height * scale)))
    # JPEGs that are much larger are decoded at a fraction of their size.
    image.thumbnail((2 * size[0], 2 * size[1]))
    picture = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    for number, phrase in enumerate(row.phrases):
        if phrase.mask_counts:
            mask = decode_mask(phrase.mask_counts, row.height, row.width)
            picture = _paint(picture, mask, colour_of(number))
    return picture


def crop_phrase(image: Image.Image, row: IndexedCaption, number: int, side: int) -> Image.Image:
    """One phrase with its mask and some of what is around it, `side` pixels long."""
    phrase = row.phrases[number]
    mask = decode_mask(phrase.mask_counts, row.height, row.width)
    left, top, right, bottom = _surroundings(_box(phrase, mask), row.width, row.height)
    scale = side / max(right - left, bottom - top)
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    picture = image.crop((left, top, right, bottom)).convert("RGB")
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    return _paint(picture, mask[top:bottom, left:right], colour_of(number))


def shrink_mask(
    mask: Bool[np.ndarray, "height width"], height: int, width: int
) -> Bool[np.ndarray, "new_height new_width"]:
    """A smaller mask: True wherever any of a new pixel is covered, so that nothing vanishes."""
    for axis, side in enumerate((height, width)):
        starts = np.arange(side) * mask.shape[axis] // side
        mask = np.logical_or.reduceat(mask, starts, axis=axis)
    return mask


def _box(phrase: GroundedPhrase, mask: Bool[np.ndarray, "height width"]) -> Sequence[float]:
    """The best box; what the mask covers if there is none, as in sets that came with masks."""
    if phrase.boxes:
        return phrase.boxes[0]
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return (0, 0, mask.shape[1], mask.shape[0])
    return (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


def _surroundings(box: Sequence[float], width: int, height: int) -> tuple[int, int, int, int]:
    """The box with a margin, inside the image and at least some pixels wide and high."""
    left, top, right, bottom = box
    across, down = _grow(left, right, width), _grow(top, bottom, height)
    return across[0], down[0], across[1], down[1]


def _grow(start: float, end: float, length: int) -> tuple[int, int]:
    half = max(_LEAST_CROP, (end - start) * (1 + 2 * _MARGIN)) / 2
    middle = min(max((start + end) / 2, 0.0), float(length))
    low, high = max(0, int(middle - half)), min(length, int(np.ceil(middle + half)))
    return low, max(low + 1, high)


def _paint(
    picture: Image.Image,
    mask: Bool[np.ndarray, "height width"],
    colour: tuple[int, int, int],
) -> Image.Image:
    """The picture with a mask of any size in a colour, its outline in full strength.

    Below the mask the picture's own colours are left out, or the mask's could not be told.
    """
    inside = shrink_mask(mask, picture.height, picture.width)
    drawn = Image.fromarray(inside.astype(np.uint8))
    edge = inside & ~(np.asarray(drawn.filter(ImageFilter.MinFilter(3))) > 0)
    pixels = np.asarray(picture).astype(np.float32)
    paint = np.array(colour, dtype=np.float32)
    brightness = np.asarray(picture.convert("L")).astype(np.float32)
    pixels[inside] = 0.55 * brightness[inside][:, None] + 0.45 * paint
    pixels[edge] = paint
    return Image.fromarray(pixels.round().astype(np.uint8))
