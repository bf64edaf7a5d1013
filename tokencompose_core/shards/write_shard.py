"""Write grounded samples to a WebDataset tar: equal samples give equal bytes."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import webdataset
from PIL import Image

from data_schemas.records import GROUNDED_SCHEMA, GroundedCaption
from tokencompose_core.store.keys import file_digest
from tokencompose_core.store.open_image import encode_for_shard
from tokencompose_core.store.run_lengths import decode_mask
from tokencompose_core.store.tables import write_table

SHARD_NAME = "shard.tar"
INDEX_NAME = "index.parquet"


def write_shard(folder: Path, samples: Sequence[GroundedCaption], images_dir: Path) -> None:
    """Write `shard.tar` and `index.parquet`.

    A sample has the image (`<key>.jpg`), the caption with its phrases (`<key>.json`) and a 1-bit
    PNG of the image's size for every grounded phrase (`<key>.<phrase>.png`). The image's bytes are
    as they came, unless plain decoding would give other pixels than the models saw (see
    `encode_for_shard`): then they are an upright RGB PNG.

    Args:
        folder: Where to write.
        samples: The samples, in the order in which they are written.
        images_dir: Root of the image paths.

    Raises:
        ValueError: If an image is not the one that was selected.
    """
    with webdataset.TarWriter(str(folder / SHARD_NAME), encoder=False, mtime=0.0) as writer:
        for sample in samples:
            path = images_dir / sample.image_path
            if file_digest(path) != sample.image_sha256:
                raise ValueError(
                    f"{path} has changed since it was selected; run the flow again from the start"
                )
            suffix, content = encode_for_shard(path)
            record = {
                "__key__": sample.key,
                suffix: content,
                "json": json.dumps(_describe(sample), ensure_ascii=False).encode("utf-8"),
            }
            for number, phrase in enumerate(sample.phrases):
                if phrase.mask_counts:
                    mask = decode_mask(phrase.mask_counts, sample.height, sample.width)
                    record[f"{number}.png"] = _png(mask)
            writer.write(record)
    write_table(folder / INDEX_NAME, samples, GROUNDED_SCHEMA)


def _describe(sample: GroundedCaption) -> dict:
    return {
        "caption": sample.caption,
        "width": sample.width,
        "height": sample.height,
        "phrases": [
            phrase.model_dump(exclude={"mask_counts"})
            | {"mask": f"{number}.png" if phrase.mask_counts else None}
            for number, phrase in enumerate(sample.phrases)
        ],
    }


def _png(mask) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, format="PNG", optimize=False)
    return stream.getvalue()
