"""Open a mask that lies in a file, or say what is wrong with it."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image, UnidentifiedImageError

from data_schemas.rejections import RejectionReason
from tokencompose_core.selection.candidates import path_below
from tokencompose_core.selection.select_images import is_file
from tokencompose_core.store.open_image import DECODING_ERRORS

# The released paths start with it, and its loader puts the folder of the masks in its place.
PREFIX = "seg/"


class BadMaskError(ValueError):
    """A mask that cannot be used, and the reason under which its noun is left out."""

    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def find_mask(mask: str, roots: tuple[Path, ...]) -> Path:
    """The file of a mask.

    Args:
        mask: Its path, as written: below the folder of the masks, for which `seg/` may stand.
        roots: The folder of the masks, see `roots_of`.

    Raises:
        BadMaskError: If the path leaves the folder, or there is no such file.
    """
    path = path_below(mask.removeprefix(PREFIX), roots)
    if path is None:
        raise BadMaskError(RejectionReason.MASK_OUTSIDE_ROOT, mask)
    if not is_file(roots[0] / path):
        raise BadMaskError(RejectionReason.MASK_MISSING, mask)
    return roots[0] / path


def open_mask(path: Path, name: str, size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Decode a mask from a PNG of any kind.

    Its first channel counts, as in the released code, and of it what is above half of its highest
    value: 255 in the release, but 1 will do. Transparency does not count. A mask that is drawn in
    another channel, or as transparency, is refused: by its first one it would be the whole image,
    or nothing.

    Args:
        path: The file.
        name: What it is called in errors.
        size: Width and height of the image that it belongs to.

    Returns:
        The mask; nowhere True if the PNG is all black.

    Raises:
        BadMaskError: If it is no PNG, cannot be decoded to the last pixel, has another size, or if
            its red is the same everywhere and its green, blue or transparency is not.
    """
    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            if picture.size != size:
                raise BadMaskError(
                    RejectionReason.MASK_WRONG_SIZE,
                    f"{name}: {picture.width} x {picture.height} pixels, its image has"
                    f" {size[0]} x {size[1]}",
                )
            # PIL would cut 16 bits off at 255 instead of scaling them.
            is_deep = picture.mode.startswith("I")
            channels = [picture] if is_deep else picture.convert("RGBA").split()
            values = np.asarray(channels[0])
            if any(map(_varies, channels[1:])) and not _varies(channels[0]):
                raise BadMaskError(
                    RejectionReason.MASK_UNREADABLE,
                    f"{name}: its red is {values[0, 0]} everywhere, and it is drawn in another"
                    " colour or in transparency; expected white on black",
                )
    except BadMaskError:
        raise
    except UnidentifiedImageError as error:
        raise BadMaskError(RejectionReason.MASK_UNREADABLE, f"{name}: not a PNG") from error
    except (Image.DecompressionBombError, *DECODING_ERRORS) as error:
        raise BadMaskError(RejectionReason.MASK_UNREADABLE, f"{name}: {error}") from error
    return values > values.max() / 2


def _varies(channel: Image.Image) -> bool:
    low, high = channel.getextrema()
    return low != high
