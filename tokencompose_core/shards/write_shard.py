"""Write grounded samples to a WebDataset tar: equal samples give equal bytes."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import webdataset
from PIL import Image

from data_schemas.records import (
    INDEX_SCHEMA,
    GroundedCaption,
    GroundedPhrase,
    IndexedCaption,
    IndexedPhrase,
)
from tokencompose_core.store.open_image import check_unchanged, encode_for_shard
from tokencompose_core.store.run_lengths import decode_mask, mask_area
from tokencompose_core.store.tables import write_table

SHARD_NAME = "shard.tar"
INDEX_NAME = "index.parquet"


def write_shard(folder: Path, samples: Sequence[GroundedCaption], images_dir: Path) -> None:
    """Write `shard.tar` and `index.parquet`, whose layout `data_schemas/SHARDS.md` describes.

    A sample has the image (`<key>.jpg`), the caption with its phrases (`<key>.json`) and a 1-bit
    PNG of the image's size for every grounded phrase (`<key>.<phrase>.png`). The image's bytes are
    as they came, unless plain decoding would give other pixels than the models saw (see
    `encode_for_shard`): then they are an upright RGB PNG.

    Args:
        folder: Where to write.
        samples: The samples, in the order in which they are written.
        images_dir: Root of the image paths.

    Raises:
        ValueError: If an image is not the one that was selected, or cannot be decoded.
    """
    index = []
    with webdataset.TarWriter(str(folder / SHARD_NAME), encoder=False, mtime=0.0) as writer:
        for sample in samples:
            path = images_dir / sample.image_path
            check_unchanged(path, sample.image_sha256)
            suffix, content = encode_for_shard(path)
            record = {
                "__key__": sample.key,
                suffix: content,
                "json": json.dumps(_describe(sample), ensure_ascii=False).encode("utf-8"),
            }
            for number, phrase in enumerate(sample.phrases):
                if phrase.mask_counts:
                    mask = decode_mask(phrase.mask_counts, sample.height, sample.width)
                    record[_mask_name(number)] = _png(mask)
            writer.write(record)
            index.append(index_row(sample, suffix))
    write_table(folder / INDEX_NAME, index, INDEX_SCHEMA)


def _mask_name(number: int) -> str:
    """Name of a phrase's mask within its sample."""
    return f"{number}.png"


def index_row(sample: GroundedCaption, suffix: str) -> IndexedCaption:
    """The row of a sample in the index; the tar holds its image as `<key>.<suffix>`."""
    return IndexedCaption(
        **sample.model_dump(exclude={"phrases"}),
        image=suffix,
        phrases=[
            _index_phrase(phrase, number, sample.height, sample.width)
            for number, phrase in enumerate(sample.phrases)
        ],
    )


def _index_phrase(phrase: GroundedPhrase, number: int, height: int, width: int) -> IndexedPhrase:
    area = mask_area(phrase.mask_counts, height, width) if phrase.mask_counts else None
    return IndexedPhrase(
        **phrase.model_dump(),
        score=max(phrase.scores, default=None),
        mask=None if area is None else _mask_name(number),
        mask_area=area,
        mask_share=None if area is None else area / (height * width),
    )


def _describe(sample: GroundedCaption) -> dict:
    return {
        "caption": sample.caption,
        "width": sample.width,
        "height": sample.height,
        "phrases": [
            phrase.model_dump(exclude={"mask_counts"})
            | {"mask": _mask_name(number) if phrase.mask_counts else None}
            for number, phrase in enumerate(sample.phrases)
        ],
    }


def _png(mask) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, format="PNG", optimize=False)
    return stream.getvalue()
