"""Everything that people's files have in them, each entry with what must become of it.

All images that can be used show one pocket scene with a cat and a surfboard, so that later stages
have something to find in them.
"""

import io
import json
import random
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from tokencompose_core.pocket.drawing import draw_scene
from tokencompose_core.pocket.scenes import sample_scene

KEPT = ""
CAPTION = "A cat and a surfboard."
ORIENTATION = 0x0112
# How the upright picture must be turned to lie in the file, for each value of EXIF's orientation.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True)
class Case:
    """A row and what must become of it.

    Attributes:
        row: The row as written: an object, or the bytes of a line.
        reason: Why it is left out; nothing if it ends in a shard.
    """

    row: dict[str, Any] | bytes
    reason: str = KEPT


class SilentFileSystem(MemoryFileSystem):
    """A server that never answers."""

    protocol = "silent"

    def open(self, path, mode="rb", **kwargs):
        time.sleep(60)


def picture() -> Image.Image:
    """The pocket scene that all usable images show."""
    return draw_scene(
        sample_scene(random.Random(5), ["cat", "surfboard"], width=200, height=180)
    ).convert("RGB")


def encoded(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, **{"format": "PNG", **options})
    return stream.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says to be of some size."""
    content = bytearray(encoded(Image.new("1", (1, 1))))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def hostile_images(root: Path) -> Iterator[Case]:
    """Files below `root`, good captions."""
    scene = picture()
    jpeg = encoded(scene, format="JPEG", quality=92)
    png = encoded(scene)
    grey = scene.convert("L")
    glass = scene.convert("RGBA")
    glass.putalpha(Image.new("L", scene.size, 250))
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    frames = {"save_all": True, "append_images": [Image.new("RGB", scene.size)]}
    turned = {}
    for value, turn in TURNS.items():
        exif = Image.Exif()
        exif[ORIENTATION] = value
        turned[f"turned{value}.jpg"] = encoded(scene.transpose(turn), format="JPEG", exif=exif)
    broken_png = bytearray(png)
    broken_png[len(png) // 2] ^= 0xFF
    avif = encoded(scene, format="AVIF")
    files: list[tuple[str, bytes | None, str]] = [
        *((name, content, KEPT) for name, content in turned.items()),
        ("plain.jpg", jpeg, KEPT),
        ("UPPER.JPG", jpeg, KEPT),
        ("grey.jpg", encoded(grey, format="JPEG"), KEPT),
        ("grey-alpha.png", encoded(glass.convert("LA")), KEPT),
        ("cmyk.jpg", encoded(scene.convert("CMYK"), format="JPEG", quality=92), KEPT),
        ("sixteen.png", encoded(deep), KEPT),
        ("palette.png", encoded(scene.quantize(64)), KEPT),
        ("palette-alpha.png", encoded(scene.quantize(64), transparency=0), KEPT),
        ("alpha.png", encoded(glass), KEPT),
        ("animated.gif", encoded(scene, format="GIF", **frames), KEPT),
        ("animated.webp", encoded(scene, format="WEBP", lossless=True, **frames), KEPT),
        ("animated.png", encoded(scene, **frames), KEPT),
        ("still.bmp", encoded(scene, format="BMP"), KEPT),
        ("still.tif", encoded(scene, format="TIFF"), KEPT),
        ("jpeg-named.png", jpeg, KEPT),
        ("png-named.jpg", png, KEPT),
        ("without-suffix", jpeg, KEPT),
        ("two.dots.in.jpg", jpeg, KEPT),
        ("white space/über 😀.jpg", jpeg, KEPT),
        ("one/same.jpg", jpeg, KEPT),
        ("two/same.jpg", jpeg, KEPT),
        ("same.jpg", jpeg, KEPT),
        ("same.png", png, KEPT),
        ("-dash.jpg", jpeg, KEPT),
        ("cut.jpg", jpeg[: len(jpeg) // 2], "image-unreadable"),
        ("cut.png", png[: len(png) // 2], "image-unreadable"),
        ("broken.png", bytes(broken_png), "image-unreadable"),
        ("broken.avif", avif[: len(avif) // 2].ljust(len(avif), b"\0"), "image-unreadable"),
        ("header.png", png_header(200, 200), "image-unreadable"),
        (
            "fractions.tif",
            encoded(Image.fromarray(np.asarray(grey) / np.float32(255)), format="TIFF"),
            "image-unreadable",
        ),
        ("zero.jpg", b"", "image-empty"),
        ("one-pixel.png", encoded(Image.new("RGB", (1, 1))), "image-too-small"),
        ("thin.png", encoded(Image.new("RGB", (20, 500))), "image-too-small"),
        ("line.png", encoded(Image.new("1", (20_000, 1))), "image-too-small"),
        ("strip.png", png_header(20_000, 32), "image-too-thin"),
        ("ribbon.png", encoded(Image.new("RGB", (32, 961))), "image-too-thin"),
        ("bomb.png", png_header(20_000, 20_000), "image-too-large"),
        ("large.png", png_header(9_500, 9_500), "image-too-large"),
        ("page.jpg", b"<!doctype html><h1>404</h1>", "image-unknown-format"),
        ("words.jpg", b"not an image", "image-unknown-format"),
        ("archive.jpg", b"PK\x03\x04" + bytes(200), "image-unknown-format"),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image-unknown-format"),
        (
            "program.eps",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n",
            "image-unknown-format",
        ),
        ("paper.pdf", b"%PDF-1.4\n", "image-unknown-format"),
        ("absent.jpg", None, "image-missing"),
        ("n" * 400 + ".jpg", None, "image-missing"),
        ("nul\0.jpg", None, "image-missing"),
        ("folder.jpg", None, "image-missing"),
        ("dangling.jpg", None, "image-missing"),
        ("zero.jpg/inside.jpg", None, "image-missing"),
        ("../outside.jpg", None, "image-outside-root"),
        ("one/../../outside.jpg", None, "image-outside-root"),
        (str(root.parent / "outside.jpg"), None, "image-outside-root"),
    ]
    (root.parent / "outside.jpg").write_bytes(jpeg)
    (root / "folder.jpg").mkdir(parents=True)
    (root / "dangling.jpg").symlink_to("nowhere.jpg")
    for name, content, reason in files:
        if content is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        yield Case({"img_path": name, "caption": CAPTION}, reason)
    (root / "inside.jpg").write_bytes(jpeg)
    yield Case({"img_path": str(root / "inside.jpg"), "caption": CAPTION})


def hostile_urls() -> Iterator[Case]:
    """URLs, good captions."""
    fsspec.register_implementation(SilentFileSystem.protocol, SilentFileSystem, clobber=True)
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/hostile/good.jpg", encoded(picture(), format="JPEG", quality=92))
    memory.pipe_file("/hostile/huge.jpg", bytes(100_001))
    memory.pipe_file("/hostile/page.jpg", b"<!doctype html>")
    for url, reason in (
        ("memory://hostile/good.jpg", KEPT),
        ("memory://hostile/none.jpg", "image-not-fetched"),
        ("memory://hostile/huge.jpg", "image-too-many-bytes"),
        ("memory://hostile/page.jpg", "image-unknown-format"),
        ("silent://hostile/a.jpg", "image-timeout"),
        ("file:///etc/hostname", "image-url-refused"),
        ("memory://a::file:///etc/hostname", "image-url-refused"),
        ("://", "image-url-refused"),
        ("https://[cdn/b.jpg", "image-url-refused"),
    ):
        yield Case({"img_path": url, "caption": CAPTION}, reason)


def hostile_captions(root: Path) -> Iterator[Case]:
    """Good images, each with captions of its own."""
    jpeg = encoded(picture(), format="JPEG", quality=92)
    nouns = ["cat", "surfboard", "dog", "boat", "bench", "kite", "lamp", "book", "cup", "chair"]
    many = ", ".join(f"a {noun}" for noun in nouns * 6)
    captions: dict[str, tuple[Any, str]] = {
        "null": (None, "caption-missing"),
        "no-captions": ([], "caption-missing"),
        "empty": ("", "caption-empty"),
        "blank": ([" ", "\t\n\u3000"], "caption-empty"),
        "emoji": ("😀🐈‍⬛🏄", "caption-without-words"),
        "digits": ("12345 !!! 67", "caption-without-words"),
        "no-noun": ("Very nice.", "no-noun"),
        "500-words": (f"{CAPTION} " + "It is very nice. " * 125, KEPT),
        "60-nouns": (f"There are {many}.", KEPT),
        "one-noun-twice": ("A cat and a surfboard beside a cat.", KEPT),
        "spaces": ("  A  cat \t and\n a   surfboard . ", KEPT),
        "emoji-between": ("A cat 😀 and a surfboard 🏄.", KEPT),
        "one-of-three": ([" ", CAPTION, "😀"], KEPT),
        "capitals": ("A CAT AND A SURFBOARD.", KEPT),
        "control": ("A cat\u0000 and a\u200b surfboard.", KEPT),
    }
    for name, (caption, reason) in captions.items():
        (root / f"caption-{name}.jpg").write_bytes(jpeg)
        yield Case({"img_path": f"caption-{name}.jpg", "caption": caption}, reason)


def hostile_lines() -> Iterator[Case]:
    """Lines that are no row."""
    yield Case(b'{"img_path": "x.jpg", "caption": ', "row-broken")
    yield Case(b"[" * 100_000, "row-broken")
    yield Case(b'{"img_path": ' + b"9" * 5000 + b"}", "row-broken")
    yield Case(b'{"img_path": "x.jpg", "caption": "caf\xe9"}', "row-not-utf8")
    yield Case(b'{"img_path": "x.jpg", "caption": "\\ud83d"}', "row-not-utf8")
    yield Case(b'{"img_path": "\\udcff.jpg", "caption": "A cat."}', "row-not-utf8")
    yield Case(b'{"img_path": "x.jpg"}', "row-field-missing")
    yield Case(b'{"caption": "A cat."}', "row-field-missing")
    yield Case(b'{"img_path": "", "caption": "A cat."}', "row-field-missing")
    yield Case(b'{"img_path": null, "caption": "A cat."}', "row-field-missing")
    yield Case(b'{"img_path": 7, "caption": "A cat."}', "row-wrong-type")
    yield Case(b'{"img_path": ["x.jpg"], "caption": "A cat."}', "row-wrong-type")
    yield Case(b'{"img_path": "x.jpg", "caption": {"en": "A cat."}}', "row-wrong-type")
    yield Case(b'{"img_path": "x.jpg", "caption": ["A cat.", 3]}', "row-wrong-type")
    yield Case(b'["x.jpg", "A cat."]', "row-wrong-type")
    yield Case(b"null", "row-wrong-type")


def hostile_source(folder: Path) -> dict[str, Any]:
    """The source in a config that reads what `write_hostile_set` wrote."""
    return {
        "kind": "json",
        "paths": [str(folder / "captions.jsonl")],
        "images_dir": str(folder / "images"),
        "image_limits": {
            "url_schemes": ["memory", "silent"],
            "max_bytes": 100_000,
            "timeout_seconds": 3.0,
            "num_retries": 0,
        },
    }


def write_hostile_set(folder: Path) -> list[Case]:
    """Write `captions.jsonl` and `images/` with one case a line, and return the cases in order."""
    root = folder / "images"
    root.mkdir(parents=True)
    cases = [
        *hostile_images(root),
        *hostile_urls(),
        *hostile_captions(root),
        *hostile_lines(),
    ]
    lines = [
        case.row if isinstance(case.row, bytes) else json.dumps(case.row).encode() for case in cases
    ]
    (folder / "captions.jsonl").write_bytes(b"\n".join(lines))
    return cases
