"""Read grounded samples from a WebDataset tar."""

import io
import json
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import webdataset
from jaxtyping import Bool
from PIL import Image

_IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")


@dataclass(frozen=True)
class GroundedSample:
    """A sample as training needs it.

    Attributes:
        key: Its key.
        image: The picture in RGB.
        caption: The caption.
        spans: Start and end of every grounded phrase in characters.
        masks: Mask of every grounded phrase, of the image's size.
    """

    key: str
    image: Image.Image
    caption: str
    spans: list[tuple[int, int]]
    masks: list[Bool[np.ndarray, "height width"]]


def read_shard(path: Path) -> Iterator[GroundedSample]:
    """The samples of a shard in the order in which they were written."""
    for record in webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False):
        described = json.loads(record["json"])
        grounded = [phrase for phrase in described["phrases"] if phrase["mask"]]
        suffix = next(s for s in _IMAGE_SUFFIXES if s in record)
        yield GroundedSample(
            key=record["__key__"],
            image=Image.open(io.BytesIO(record[suffix])).convert("RGB"),
            caption=described["caption"],
            spans=[(phrase["start"], phrase["end"]) for phrase in grounded],
            masks=[np.asarray(Image.open(io.BytesIO(record[p["mask"]]))) for p in grounded],
        )


def read_members(path: Path, names: Collection[str]) -> dict[str, bytes]:
    """Some files of a shard, by their names in the tar; of the others only headers are read."""
    with tarfile.open(path, "r:") as tar:
        return {
            member.name: stream.read()
            for member in tar
            if member.name in names and (stream := tar.extractfile(member)) is not None
        }
