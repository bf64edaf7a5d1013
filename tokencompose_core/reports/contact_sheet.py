"""Contact sheets: many pictures on one, with captions and masks."""

import textwrap
from collections.abc import Iterable, Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_schemas.records import GroundedPhrase
from tokencompose_core.reports.paint_masks import shrink_mask
from tokencompose_core.store.run_lengths import decode_mask

_COLOURS = (
    (230, 57, 70),
    (29, 120, 220),
    (46, 160, 67),
    (240, 150, 20),
    (150, 70, 200),
    (0, 170, 170),
)
_MARGIN = 6
_LONGEST_PAINTED = 640  # as long as COCO's images are; names and outlines are made for it


def draw_sheet(
    images: Sequence[Image.Image],
    labels: Sequence[str],
    *,
    columns: int,
    side: int,
    label_lines: int = 2,
) -> Image.Image:
    """Pictures in rows with a label under each, everything to the same scale of `side` pixels."""
    font = ImageFont.load_default(size=12)
    line_height = 15
    cell_width, cell_height = side + _MARGIN, side + label_lines * line_height + _MARGIN
    rows = max(1, -(-len(images) // columns))
    sheet = Image.new(
        "RGB", (columns * cell_width + _MARGIN, rows * cell_height + _MARGIN), "white"
    )
    pen = ImageDraw.Draw(sheet)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        x = _MARGIN + number % columns * cell_width
        y = _MARGIN + number // columns * cell_height
        scale = side / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        sheet.paste(image.convert("RGB").resize(size, Image.Resampling.BICUBIC), (x, y))
        lines = textwrap.wrap(label, width=max(8, side // 6))[:label_lines]
        pen.multiline_text((x, y + side + 2), "\n".join(lines), fill="black", font=font, spacing=2)
    return sheet


def draw_mask_sheet(
    images: Iterable[Image.Image],
    captions: Sequence[str],
    phrases: Sequence[Sequence[GroundedPhrase]],
    *,
    side: int = 200,
) -> Image.Image:
    """Pictures with the masks of their phrases over them, each phrase in a colour of its own.

    Args:
        images: The pictures; none is kept, so that they may be opened one after the other.
        captions: The text below each.
        phrases: The phrases of each.
        side: Pixels of a picture's longer side on the sheet.
    """
    return draw_sheet(
        [draw_masks(image, own) for image, own in zip(images, phrases, strict=True)],
        captions,
        columns=3,
        side=side,
        label_lines=3,
    )


def draw_masks(image: Image.Image, phrases: Sequence[GroundedPhrase]) -> Image.Image:
    """A picture with its phrases' masks, boxes and names; a large one is made smaller first."""
    scale = min(1.0, _LONGEST_PAINTED / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    picture = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    pixels = np.asarray(picture.convert("RGB")).astype(np.float32)
    grounded = [phrase for phrase in phrases if phrase.mask_counts]
    for number, phrase in enumerate(grounded):
        mask = decode_mask(phrase.mask_counts, image.height, image.width)
        mask = shrink_mask(mask, height, width)
        colour = np.array(_COLOURS[number % len(_COLOURS)], dtype=np.float32)
        pixels[mask] = 0.5 * pixels[mask] + 0.5 * colour
    result = Image.fromarray(pixels.round().astype(np.uint8))
    pen = ImageDraw.Draw(result)
    font = ImageFont.load_default(size=11)
    for number, phrase in enumerate(grounded):
        paint = _COLOURS[number % len(_COLOURS)]
        boxes = [tuple(side * scale for side in box) for box in phrase.boxes]
        for box in boxes:
            pen.rectangle(box, outline=paint)
        x, y = boxes[0][0] + 2, max(0.0, boxes[0][1])
        pen.rectangle(pen.textbbox((x, y), phrase.text, font=font), fill=paint)
        pen.text((x, y), phrase.text, fill="white", font=font)
    return result


def jpeg_under(image: Image.Image, max_bytes: int) -> bytes:
    """The picture as JPEG of at most `max_bytes`, made coarser and smaller as needed."""
    quality = 85
    while True:
        stream = BytesIO()
        image.convert("RGB").save(stream, "JPEG", quality=quality)
        if stream.tell() <= max_bytes:
            return stream.getvalue()
        if quality > 55:
            quality -= 10
        else:
            image = image.resize((image.width * 3 // 4, image.height * 3 // 4))
