"""Read captions, and images if they are in it, from Parquet files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.selection.caption_row import (
    CaptionRow,
    Columns,
    check_columns,
    passes,
    read_row,
    reject_row,
)
from tokencompose_core.selection.unpack_image import unpack_image

# Rows that are in memory at once, and bytes of a column that are read at once: a file may be one
# row group of many gigabytes. Its pages are read whole; how large they are is the writer's choice.
_ROWS = 4096
_ROWS_WITH_IMAGES = 8
_BUFFER_BYTES = 1 << 20


def read_parquet(
    path: Path, columns: Columns, images_dir: Path
) -> Iterator[CaptionRow | Rejection]:
    """The rows of a Parquet file, in order; the first is row 1.

    The column of the image holds paths or URLs, or the images themselves: as bytes, or as Hugging
    Face has them, each with fields `bytes` and `path`, of which the path counts where there are no
    bytes. Images are unpacked to `unpacked/` below the image root, each under the digest of its
    bytes, so that unpacking again writes nothing.

    Args:
        path: The file.
        columns: Which columns say what; captions may be text or a list of texts.
        images_dir: The image root.

    Raises:
        ValueError: If it is no Parquet file or a damaged one, or lacks a column, naming those that
            exist.
        OSError: If the machine cannot read it.
    """
    number = 0
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            check_columns(path, file.schema_arrow.names, columns)
            has_images = _holds_images(file.schema_arrow.field(columns.image).type)
            batches = file.iter_batches(
                batch_size=_ROWS_WITH_IMAGES if has_images else _ROWS, columns=columns.needed
            )
            for batch in batches:
                for row in _rows(batch):
                    number += 1
                    place = f"{path.name}, row {number}"
                    if isinstance(row, UnicodeDecodeError):
                        detail = f"not UTF-8 at byte {row.start} of a cell"
                        yield reject_row(place, RejectionReason.ROW_NOT_UTF8, detail)
                    elif passes(row, columns):
                        if has_images:
                            row[columns.image] = _image_path(row[columns.image], images_dir)
                        yield read_row(row, columns, place)
    except (pa.ArrowInvalid, OSError) as error:
        # Arrow's errors about the content of pages are OSErrors too, without a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        place = f"{path}, after row {number}" if number else f"{path}"
        said = " ".join(str(error).split())
        raise ValueError(f"{place}: {said}; mend the file, or get it again") from error


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | UnicodeDecodeError]:
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:  # raised before the first row
        for index in range(batch.num_rows):
            try:
                yield {name: batch.column(name)[index].as_py() for name in batch.schema.names}
            except UnicodeDecodeError as error:
                yield error


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_bytes(field.type) for field in kind)
    return _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _image_path(image: bytes | dict[str, Any] | None, images_dir: Path) -> str | None:
    """Where the image of a row lies now."""
    content = image.get("bytes") if isinstance(image, dict) else image
    if content is not None:
        return unpack_image(images_dir, content)
    return image.get("path") if isinstance(image, dict) else None
