"""Open an image whole, or say what is wrong with it."""

from pathlib import Path

from PIL import Image


def open_image(path: Path) -> Image.Image:
    """Decode an image to RGB.

    Raises:
        ValueError: If it cannot be decoded to the last pixel.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path.name}: {error}") from error
