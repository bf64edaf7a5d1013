"""Open an image the way models see it, or say what is wrong with it."""

import errno
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from data_schemas.rejections import RejectionReason
from tokencompose_core.store.keys import file_digest

# PIL itself refuses more than this, before it decodes anything.
MOST_PIXELS = 178_956_970
# Formats that are one picture of pixels. PIL knows others that start programs (EPS) or read other
# files, which no stranger's data set should make it do.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
# Suffixes under which image bytes go into a shard as they came, by the format they really have.
_SHARD_SUFFIXES = {
    "JPEG": ("jpg", "jpeg"),
    "MPO": ("jpg", "jpeg"),
    "PNG": ("png",),
    "WEBP": ("webp",),
}
# Modes that `convert("RGB")` turns into the same pixels as `open_image`.
_PLAIN_MODES = frozenset({"1", "L", "P", "RGB", "CMYK", "YCbCr"})
_ORIENTATION = 0x0112
# What each orientation asks for, as in `ImageOps.exif_transpose`. That one also writes all other
# EXIF data anew, and PIL cannot write each value that it can read.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Where an orientation may stand in what PIL read.
_METADATA = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")
_PNG_BIT_DEPTH = 24  # the byte of the header that says it
DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    RuntimeError,  # all that libavif finds while it decodes
    struct.error,
    zlib.error,
)
"""What PIL's decoders raise for damaged bytes, if it is no `is_fault_of_machine`."""


class BadImageError(ValueError):
    """An image that cannot be used, and the reason under which it is left out."""

    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def is_fault_of_machine(error: Exception) -> bool:
    """Whether the system failed, as a disk that is away does, and not a decoder.

    PIL's own errors have no number. A damaged offset may have the one for an invalid argument.
    libavif says "Pixel allocation failed: Out of memory" in an error like those for damaged bytes.
    """
    if isinstance(error, RuntimeError):
        return str(error).endswith("Out of memory")
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def check_image(path: Path, *, min_side: int, max_pixels: int, max_ratio: int) -> None:
    """Look at an image's header only: is it one, and of a size that can be used?

    Args:
        path: The file.
        min_side: Least width and height in pixels.
        max_pixels: Most pixels, width times height.
        max_ratio: How many times as long as the other a side may be.

    Raises:
        BadImageError: If it is not, with the reason.
        OSError: If the machine cannot read it.
    """
    with _open(path) as image:
        width, height = image.size
    if min(width, height) < min_side:
        raise BadImageError(
            RejectionReason.IMAGE_TOO_SMALL,
            f"{path.name}: {width} x {height} pixels, at least {min_side} a side are needed",
        )
    if max(width, height) > max_ratio * min(width, height):
        raise BadImageError(
            RejectionReason.IMAGE_TOO_THIN,
            f"{path.name}: {width} x {height} pixels, at most {max_ratio} : 1 is allowed",
        )
    if width * height > max_pixels:
        raise BadImageError(
            RejectionReason.IMAGE_TOO_LARGE,
            f"{path.name}: {width} x {height} pixels, at most {max_pixels} are allowed",
        )


def open_image(path: Path) -> Image.Image:
    """Decode an image to RGB, upright, 8 bits a channel.

    It is turned as its EXIF data say, unless nobody can read them, and has none afterwards;
    transparent parts lie on white; of 16 bits the upper 8 are kept; of an animation the first frame
    is taken.

    Raises:
        BadImageError: A `ValueError`, if it cannot be decoded to the last pixel.
        OSError: If the machine cannot read it.
    """
    with _open(path) as image:
        try:
            return _to_rgb(image)
        except DECODING_ERRORS as error:
            if is_fault_of_machine(error):
                raise
            raise BadImageError(
                RejectionReason.IMAGE_UNREADABLE, f"{path.name}: {error}"
            ) from error


def open_selected(path: Path, sha256: str) -> Image.Image:
    """The same of an image that was selected: what is found in it is stored under its digest.

    Raises:
        BadImageError: As for `open_image`, whatever was selected.
        ValueError: If it is another one by now.
        OSError: If the machine cannot read it.
    """
    image = open_image(path)
    check_unchanged(path, sha256)
    return image


def check_unchanged(path: Path, sha256: str) -> None:
    """Refuse an image that is not the one that was selected; a missing one is left to others.

    Raises:
        ValueError: If it is another one.
        OSError: If the machine cannot read it.
    """
    if path.is_file() and file_digest(path) != sha256:
        raise ValueError(
            f"{path} has changed since it was selected; run the flow again from the start"
        )


def encode_for_shard(path: Path) -> tuple[str, bytes]:
    """An image's bytes for a shard, and their suffix.

    Bytes are left as they came if every reader gets the pixels of `open_image` from them, and are
    a PNG of those pixels otherwise: masks are drawn on what the models saw.

    Raises:
        BadImageError: If it cannot be decoded.
    """
    with _open(path) as image:
        suffixes = _SHARD_SUFFIXES.get(image.format or "", ())
        plain = (
            bool(suffixes)
            and image.mode in _PLAIN_MODES
            and not _is_deep_png(image, path)
            and not image.has_transparency_data
            and _orientation(image) == 1
        )
    if plain:
        suffix = path.suffix.lstrip(".").lower()
        return (suffix if suffix in suffixes else suffixes[0]), path.read_bytes()
    stream = io.BytesIO()
    open_image(path).save(stream, format="PNG")
    return "png", stream.getvalue()


def _is_deep_png(image: Image.Image, path: Path) -> bool:
    """Whether a PNG has 16 bits a channel, of which PIL says nothing if it has three of them."""
    if image.format != "PNG":
        return False
    with path.open("rb") as file:
        return file.read(_PNG_BIT_DEPTH + 1)[_PNG_BIT_DEPTH] == 16


def _open(path: Path) -> Image.Image:
    try:
        if path.stat().st_size == 0:
            raise BadImageError(RejectionReason.IMAGE_EMPTY, f"{path.name}: no bytes")
        return Image.open(path, formats=_FORMATS)
    except BadImageError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadImageError(RejectionReason.IMAGE_MISSING, f"{path.name}: no such file") from error
    except Image.DecompressionBombError as error:
        raise BadImageError(RejectionReason.IMAGE_TOO_LARGE, f"{path.name}: {error}") from error
    except UnidentifiedImageError as error:
        raise BadImageError(
            RejectionReason.IMAGE_UNKNOWN_FORMAT, f"{path.name}: not an image of a known format"
        ) from error
    # PIL writes the EXIF data of an AVIF anew if its frame and they differ in the orientation, and
    # an AttributeError is what it raises for texts that are none.
    except (AttributeError, *DECODING_ERRORS) as error:
        if is_fault_of_machine(error):
            raise
        raise BadImageError(RejectionReason.IMAGE_UNREADABLE, f"{path.name}: {error}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    image.load()
    turn = _TURNS.get(_orientation(image))
    if image.mode.startswith("I;16") or image.mode == "I":
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 0xFFFF:
            raise ValueError(f"values from {pixels.min()} to {pixels.max()}, 16 bits are expected")
        image = Image.fromarray((pixels >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("fractions as pixels, whose range nothing says")
    if turn is not None:
        image = image.transpose(turn)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    image = image.convert("RGB")
    for name in _METADATA:  # or whoever saves it says that it lies as it did
        image.info.pop(name, None)
    return image


def _orientation(image: Image.Image) -> Any:
    """What an image's EXIF data say of it: 1 to 8, 1 if nothing, and None if they are broken."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except DECODING_ERRORS as error:
        if is_fault_of_machine(error):
            raise
        return None
