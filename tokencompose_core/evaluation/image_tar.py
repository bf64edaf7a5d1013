"""Generated images in tar files."""

import io
from collections.abc import Mapping
from pathlib import Path

import webdataset
from PIL import Image


def write_images(path: Path, images: Mapping[str, Image.Image]) -> None:
    """Write images as PNG under their names; equal images give equal bytes."""
    with webdataset.TarWriter(str(path), encoder=False, mtime=0.0) as writer:
        for name, image in images.items():
            stream = io.BytesIO()
            image.save(stream, format="PNG")
            writer.write({"__key__": name, "png": stream.getvalue()})


def read_images(path: Path) -> dict[str, Image.Image]:
    """Read the images that `write_images` wrote."""
    dataset = webdataset.WebDataset(str(path), shardshuffle=False)
    return {
        record["__key__"]: Image.open(io.BytesIO(record["png"])).convert("RGB")
        for record in dataset
    }
