"""Small grounded sets, made by hand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from data_schemas.records import GroundedCaption, GroundedPhrase
from tokencompose_core.shards.write_shard import INDEX_NAME, write_shard
from tokencompose_core.store.keys import file_digest
from tokencompose_core.store.run_lengths import encode_mask

GREY = 128


def phrase(
    caption: str,
    text: str,
    box: tuple[int, int, int, int] | None = None,
    score: float | None = None,
    size: tuple[int, int] = (40, 20),
) -> GroundedPhrase:
    """A phrase whose mask fills its box, in an image of some width and height; or one without."""
    mask = np.zeros((size[1], size[0]), dtype=bool)
    if box is not None:
        left, top, right, bottom = box
        mask[top:bottom, left:right] = True
    scored = box is not None and score is not None
    return GroundedPhrase(
        text=text,
        start=caption.index(text),
        end=caption.index(text) + len(text),
        boxes=[list(map(float, box))] if scored and box is not None else [],
        scores=[score] if scored and score is not None else [],
        mask_counts="" if box is None else encode_mask(mask),
    )


def sample(
    folder: Path,
    key: str,
    caption: str,
    phrases: Sequence[GroundedPhrase],
    size: tuple[int, int] = (40, 20),
    suffix: str = ".png",
) -> GroundedCaption:
    """A sample with a grey image of its own."""
    path = folder / f"{key}{suffix}"
    Image.new("RGB", size, (GREY, GREY, GREY)).save(path)
    return GroundedCaption(
        key=key,
        image_path=path.name,
        image_sha256=file_digest(path),
        width=size[0],
        height=size[1],
        caption=caption,
        phrases=list(phrases),
    )


def two_captions(folder: Path, suffix: str = ".png") -> list[GroundedCaption]:
    """Two captions of 4 and 6 words, with 1 of 2 and 3 of 3 phrases grounded.

    Masks cover 1/4, 1/100, 1/2 and 1/4 of an image of 40 x 20 pixels.
    """
    first, second = "A cat and something.", "The Cat, a dog, a kite."
    return [
        sample(
            folder,
            "a",
            first,
            [phrase(first, "cat", (0, 0, 20, 10), 0.5), phrase(first, "something")],
            suffix=suffix,
        ),
        sample(
            folder,
            "b",
            second,
            [
                phrase(second, "Cat", (0, 0, 4, 2), 0.25),
                phrase(second, "dog", (0, 0, 40, 10), 0.75),
                phrase(second, "kite", (20, 10, 40, 20), 1.0),
            ],
            suffix=suffix,
        ),
    ]


def write_index(folder: Path, samples: Sequence[GroundedCaption], images_dir: Path) -> Path:
    """Write a shard and return its index."""
    folder.mkdir(parents=True)
    write_shard(folder, samples, images_dir)
    return folder / INDEX_NAME
