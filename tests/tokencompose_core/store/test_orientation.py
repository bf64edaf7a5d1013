"""Photos are turned by the orientation alone, whatever else their EXIF data hold."""

import io
import struct
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps

from data_schemas.rejections import RejectionReason
from tokencompose_core.store.open_image import BadImageError, encode_for_shard, open_image

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
# What has to be done with what lies in the file, by the table of the EXIF specification.
UPRIGHT = {
    1: PIXELS,
    2: PIXELS[:, ::-1],
    3: PIXELS[::-1, ::-1],
    4: PIXELS[::-1],
    5: PIXELS.swapaxes(0, 1),
    6: np.rot90(PIXELS, -1),
    7: PIXELS[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90(PIXELS, 1),
}
BYTE, ASCII, SHORT, RATIONAL, FLOAT = 1, 2, 3, 5, 11
RESOLUTION, UNIT, SOFTWARE, ORIENTATION = 0x011A, 0x0128, 0x0131, 0x0112


def exif_of(*entries: tuple[int, int, int, bytes]) -> bytes:
    """EXIF data of entries, each tag, type, number of values, and these."""
    directory, values = struct.pack("<H", len(entries)), b""
    start = 8 + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in sorted(entries):
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", start + len(values))
        values += value if len(value) > 4 else b""
        directory += struct.pack("<HHI", tag, kind, count) + place
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + directory + bytes(4) + values


def turned(value: int) -> tuple[int, int, int, bytes]:
    return ORIENTATION, SHORT, 1, struct.pack("<H", value)


def write(path, exif):
    Image.fromarray(PIXELS).save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", ["png", "tiff", "jpg", "webp", "avif"])
@pytest.mark.parametrize("value", range(1, 9))
def test_each_orientation_gives_the_pixels_of_exif_transpose(tmp_path, value, suffix):
    exif = Image.Exif()
    exif[ORIENTATION] = value
    exif[SOFTWARE] = "camera"
    path = write(tmp_path / f"x.{suffix}", exif)
    image = open_image(path)
    with Image.open(path) as original:
        usual = ImageOps.exif_transpose(original).convert("RGB")
    assert np.array_equal(np.asarray(image), np.asarray(usual))
    assert image.size == UPRIGHT[value].shape[1::-1]
    if suffix in ("png", "tiff"):
        assert np.array_equal(np.asarray(image), UPRIGHT[value])
    again = io.BytesIO()
    image.save(again, format="JPEG")
    assert Image.open(again).getexif().get(ORIENTATION, 1) == 1


@pytest.mark.parametrize(
    "entry",
    [
        (SOFTWARE, RATIONAL, 1, struct.pack("<II", 5, 1)),
        (UNIT, BYTE, 1, b"\2"),
        (RESOLUTION, FLOAT, 1, struct.pack("<f", float("nan"))),
        (RESOLUTION, ASCII, 3, b"72\0"),
    ],
)
def test_values_that_cannot_be_written_again_cost_no_photo(tmp_path, entry):
    path = write(tmp_path / "x.png", exif_of(turned(6), entry))
    assert np.array_equal(np.asarray(open_image(path)), UPRIGHT[6])
    suffix, content = encode_for_shard(path)
    assert suffix == "png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), UPRIGHT[6])


@pytest.mark.parametrize(
    "exif",
    [
        exif_of(turned(0)),
        exif_of(turned(9)),
        exif_of((ORIENTATION, ASCII, 2, b"6\0")),
        exif_of((ORIENTATION, BYTE, 1, b"\6")),
        exif_of((ORIENTATION, FLOAT, 1, struct.pack("<f", float("nan")))),
        exif_of((ORIENTATION, RATIONAL, 1, struct.pack("<II", 6, 0))),
        b"Exif\0\0nothing of TIFF",
        b"Exif\0\0II",
    ],
)
def test_orientation_that_is_none_turns_nothing(tmp_path, exif):
    path = write(tmp_path / "x.png", exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.array_equal(np.asarray(open_image(path)), PIXELS)
        suffix, content = encode_for_shard(path)
    # Readers may see more in it, or fail, so that it goes into a shard without.
    assert suffix == "png"
    assert not Image.open(io.BytesIO(content)).getexif()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), PIXELS)


def test_avif_whose_exif_data_pil_cannot_open_is_left_out(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # PIL writes it into the frame, and the rest into the EXIF data
    exif[SOFTWARE] = "1234567"
    path = write(tmp_path / "x.avif", exif)
    assert open_image(path).size == (32, 48)
    text, number = (struct.pack(">HHI", SOFTWARE, *kind) for kind in ((ASCII, 8), (RATIONAL, 1)))
    content = path.read_bytes()
    assert content.count(text) == 1
    path.write_bytes(content.replace(text, number))
    with pytest.raises(BadImageError) as caught:
        open_image(path)
    assert caught.value.reason == RejectionReason.IMAGE_UNREADABLE
