"""Images of every sort become upright RGB of 8 bits, or are refused with their reason."""

import io
import struct
import warnings
import zlib
from functools import partial

import numpy as np
import pytest
from PIL import Image

from data_schemas.rejections import RejectionReason
from tests.too_many_files import too_many_files
from tokencompose_core.store.keys import file_digest
from tokencompose_core.store.open_image import (
    BadImageError,
    check_image,
    encode_for_shard,
    is_fault_of_machine,
    open_image,
    open_selected,
)

# Left half red, right half blue, twice as wide as high.
PICTURE = Image.new("RGB", (64, 32), "red")
PICTURE.paste("blue", (32, 0, 64, 32))


def save(path, image=PICTURE, **options):
    image.save(path, **options)
    return path


def colour(image, x, y):
    return image.getpixel((x, y))


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: left becomes top
    image = open_image(save(tmp_path / "a.png", exif=exif))
    assert image.size == (32, 64)
    assert (colour(image, 16, 8), colour(image, 16, 56)) == ((255, 0, 0), (0, 0, 255))


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 64 * 32, dtype=np.uint16).reshape(32, 64)
    image = open_image(save(tmp_path / "a.png", Image.fromarray(ramp)))
    assert np.array_equal(np.asarray(image)[..., 0], ramp // 256)


def test_values_beyond_sixteen_bits_are_refused(tmp_path):
    wide = Image.fromarray(np.full((32, 64), 1 << 20, dtype=np.int32))
    fractions = Image.fromarray(np.full((32, 64), 0.5, dtype=np.float32))
    for image in (wide, fractions):
        with pytest.raises(BadImageError) as caught:
            open_image(save(tmp_path / "a.tiff", image))
        assert caught.value.reason == RejectionReason.IMAGE_UNREADABLE


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_lie_on_white(tmp_path, mode):
    image = Image.new("RGBA", (64, 32), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 32, 32))
    opened = open_image(save(tmp_path / "a.png", image.convert(mode)))
    assert (colour(opened, 8, 8), colour(opened, 56, 8)) == ((0, 0, 0), (255, 255, 255))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_other_modes_become_rgb(tmp_path, mode):
    image = Image.new("RGB", (64, 32), "white").convert(mode)
    opened = open_image(save(tmp_path / ("a.tiff" if mode == "CMYK" else "a.png"), image))
    assert (opened.mode, colour(opened, 8, 8)) == ("RGB", (255, 255, 255))


def test_first_frame_of_an_animation_is_taken(tmp_path):
    path = tmp_path / "a.gif"
    red, blue = (Image.new("RGB", (64, 32), name) for name in ("red", "blue"))
    red.save(path, save_all=True, append_images=[blue], duration=10)
    assert colour(open_image(path), 8, 8) == (255, 0, 0)


def header_of_a_png(width, height):
    """The first bytes of a PNG that says it is of some size, however large."""
    stream = io.BytesIO()
    Image.new("1", (1, 1)).save(stream, format="PNG")
    content = bytearray(stream.getvalue())
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", RejectionReason.IMAGE_EMPTY),
        (b"<html>404</html>", RejectionReason.IMAGE_UNKNOWN_FORMAT),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "image-unknown-format"),
        (header_of_a_png(20_000, 20_000), RejectionReason.IMAGE_TOO_LARGE),
        (header_of_a_png(4_000, 4_000), RejectionReason.IMAGE_TOO_LARGE),
        (header_of_a_png(1, 1), RejectionReason.IMAGE_TOO_SMALL),
        (header_of_a_png(500, 31), RejectionReason.IMAGE_TOO_SMALL),
        (header_of_a_png(32, 961), RejectionReason.IMAGE_TOO_THIN),
        (header_of_a_png(961, 32), RejectionReason.IMAGE_TOO_THIN),
        (None, RejectionReason.IMAGE_MISSING),
    ],
)
def test_header_alone_gives_the_reason(tmp_path, content, reason):
    path = tmp_path / "x.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadImageError, match=r"x\.jpg") as caught:
        check_image(path, min_side=32, max_pixels=10_000_000, max_ratio=30)
    assert caught.value.reason == reason


def test_good_header_passes_and_truncated_pixels_are_found_when_decoded(tmp_path):
    path = save(tmp_path / "x.jpg", Image.effect_noise((64, 64), 50))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    check_image(path, min_side=64, max_pixels=64 * 64, max_ratio=1)
    with pytest.raises(BadImageError, match=r"x\.jpg") as caught:
        open_image(path)
    assert caught.value.reason == RejectionReason.IMAGE_UNREADABLE


def test_fault_of_the_machine_is_no_bad_image(tmp_path):
    path = save(tmp_path / "x.png")
    open_image(path)
    for look in (open_image, partial(check_image, min_side=1, max_pixels=9999, max_ratio=9)):
        with too_many_files(), pytest.raises(OSError, match="Too many open files"):
            look(path)
    open_image(path)


@pytest.mark.parametrize("offset", [2**62, 2**63 - 1, 2**64 - 1])
def test_offset_beyond_any_file_is_a_bad_image(tmp_path, offset):
    path = tmp_path / "x.tiff"
    path.write_bytes(b"II\x2b\x00\x08\x00\x00\x00" + struct.pack("<Q", offset) + bytes(100))
    with pytest.raises(BadImageError) as caught:
        open_image(path)
    assert caught.value.reason == RejectionReason.IMAGE_UNREADABLE


def test_any_damage_to_the_bytes_is_a_bad_image(tmp_path):
    """Flip bytes of good files: each opens, or is refused; no decoder's own error comes through."""
    rng = np.random.default_rng(3)
    outcomes = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for suffix in ("png", "jpg", "gif", "webp", "bmp", "tiff"):
            path = save(tmp_path / f"x.{suffix}")
            good = path.read_bytes()
            for number in range(60):
                content = bytearray(good)
                for position in rng.integers(0, len(good), 4):
                    content[position] = rng.integers(0, 256)
                path.write_bytes(content if number % 2 else content[: rng.integers(1, len(good))])
                try:
                    outcomes.add(open_image(path).mode)
                except BadImageError as error:
                    outcomes.add(error.reason)
    assert {"RGB", RejectionReason.IMAGE_UNREADABLE} <= outcomes


def test_any_byte_of_an_avif_may_be_damaged(tmp_path):
    """Its decoder has an error of its own, which it raises when opened or when decoded."""
    path = save(tmp_path / "x.avif", Image.radial_gradient("L").convert("RGB").resize((64, 64)))
    good = path.read_bytes()
    details = set()
    for position in range(0, len(good), 3):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0xFF]) + good[position + 1 :])
        try:
            check_image(path, min_side=1, max_pixels=10**9, max_ratio=10**9)
            open_image(path)
        except BadImageError as error:
            details.add(str(error))
    assert "x.avif: Failed to decode image: Missing or empty image item" in details
    assert "x.avif: Failed to decode frame 0: Decoding of color planes failed" in details


def test_want_of_memory_is_no_damage():
    # What `Image.load` raised of an AVIF of 9000 x 9000 pixels below a limit of 200 MB.
    assert is_fault_of_machine(RuntimeError("Pixel allocation failed: Out of memory"))
    assert not is_fault_of_machine(RuntimeError("Failed to decode frame 0: Truncated data"))


def deep_png() -> bytes:
    """PICTURE with 16 bits a channel, which PIL reads and does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    width, height = PICTURE.size
    pixels = (np.asarray(PICTURE).astype(">u2") * 257).reshape(height, -1)
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_colours_of_sixteen_bits_go_into_a_shard_with_eight(tmp_path):
    path = tmp_path / "deep.png"
    path.write_bytes(deep_png())
    assert np.array_equal(np.asarray(open_image(path)), np.asarray(PICTURE))
    suffix, content = encode_for_shard(path)
    assert (suffix, content[24]) == ("png", 8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), np.asarray(PICTURE))


def test_selected_image_is_the_one_of_its_digest(tmp_path):
    path = save(tmp_path / "a.png")
    digest = file_digest(path)
    assert open_selected(path, digest).size == PICTURE.size
    save(path, PICTURE.rotate(90, expand=True))
    with pytest.raises(ValueError, match=r"a\.png has changed since it was selected") as caught:
        open_selected(path, digest)
    assert not isinstance(caught.value, BadImageError)
    path.unlink()
    with pytest.raises(BadImageError) as missing:
        open_selected(path, digest)
    assert missing.value.reason == RejectionReason.IMAGE_MISSING


def shard_cases():
    exif = Image.Exif()
    exif[0x0112] = 8
    see_through = PICTURE.convert("RGBA")
    see_through.putalpha(100)
    sixteen = Image.fromarray(np.full((32, 64), 30_000, dtype=np.uint16))
    return [
        ("plain.jpg", PICTURE, {}, "jpg", True),
        ("plain.jpeg", PICTURE, {}, "jpeg", True),
        ("grey.png", PICTURE.convert("L"), {}, "png", True),
        ("cmyk.jpg", PICTURE.convert("CMYK"), {}, "jpg", True),
        ("palette.png", PICTURE.convert("P"), {}, "png", True),
        ("plain.webp", PICTURE, {}, "webp", True),
        ("wrong.png", PICTURE, {"format": "JPEG"}, "jpg", True),
        ("turned.jpg", PICTURE, {"exif": exif}, "png", False),
        ("alpha.png", see_through, {}, "png", False),
        ("sixteen.png", sixteen, {}, "png", False),
        ("still.gif", PICTURE, {}, "png", False),
        ("plain.bmp", PICTURE, {}, "png", False),
    ]


@pytest.mark.parametrize(
    ("name", "image", "options", "suffix", "untouched"), shard_cases(), ids=lambda v: str(v)[:12]
)
def test_shard_holds_what_the_models_saw(tmp_path, name, image, options, suffix, untouched):
    path = save(tmp_path / name, image, **options)
    written, content = encode_for_shard(path)
    assert written == suffix
    assert (content == path.read_bytes()) == untouched
    plainly = Image.open(io.BytesIO(content)).convert("RGB")
    assert np.array_equal(np.asarray(plainly), np.asarray(open_image(path)))
