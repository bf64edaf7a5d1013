"""Generated images in tar files, each with what it was made from."""

import io
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import webdataset
from PIL import Image

from tokencompose_core.store.read_ahead import read_ahead


@dataclass(frozen=True)
class ImageSample:
    """An image of a tar.

    Attributes:
        name: Its name in the tar, without suffix.
        image: In RGB.
        settings: Prompt, seed and whatever else made it, for a `.json` beside it.
    """

    name: str
    image: Image.Image
    settings: Mapping[str, Any]


def write_images(
    path: Path,
    batches: Iterable[Sequence[ImageSample]],
    on_batch: Callable[[int], None] = lambda count: None,
) -> None:
    """Write images as PNG and what made them as JSON; equal samples give equal bytes.

    A batch is encoded in a thread while the next one is made, and no more than these two are in
    memory.

    Args:
        path: The tar.
        batches: Read in the caller's thread.
        on_batch: Told how many images a batch had, when it is written.
    """
    with webdataset.TarWriter(str(path), encoder=False, mtime=0.0) as writer:
        for records in read_ahead(_encode, batches):
            for record in records:
                writer.write(record)
            on_batch(len(records))


def iterate_images(
    path: Path, names: Collection[str] | None = None
) -> Iterator[tuple[str, Image.Image]]:
    """Names and images that `write_images` wrote, in its order, one in memory at a time.

    Pillow decodes an image when its pixels are asked for, in the thread that does.

    Args:
        path: The tar.
        names: Those that are wanted, if not all are.
    """
    for record in webdataset.WebDataset(str(path), shardshuffle=False):
        if names is None or record["__key__"] in names:
            image = Image.open(io.BytesIO(record["png"]))
            yield record["__key__"], image if image.mode == "RGB" else image.convert("RGB")


def read_images(path: Path) -> dict[str, Image.Image]:
    """All images that `write_images` wrote, by name."""
    return dict(iterate_images(path))


def _encode(samples: Sequence[ImageSample]) -> list[dict[str, Any]]:
    return [
        {
            "__key__": sample.name,
            "png": _encode_png(sample.image),
            "json": json.dumps(sample.settings, sort_keys=True, ensure_ascii=False).encode(),
        }
        for sample in samples
    ]


def _encode_png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    # PNG loses nothing at any level; the lowest takes a third of the default's time.
    image.save(stream, format="PNG", compress_level=1)
    return stream.getvalue()
