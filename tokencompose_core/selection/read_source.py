"""Read a source of any kind."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

from data_schemas.configs.curate_config import (
    CocoCaptionsSource,
    CsvSource,
    ImageFolderSource,
    JsonSource,
    OwnSource,
    ParquetSource,
    TableSource,
    WebdatasetSource,
)
from data_schemas.rejections import Rejection
from tokencompose_core.selection.caption_row import CaptionRow, Columns, check_filtered
from tokencompose_core.selection.joined_rows import JoinedRows, join_rows
from tokencompose_core.selection.read_coco import read_coco_captions
from tokencompose_core.selection.read_csv import read_csv
from tokencompose_core.selection.read_image_folder import read_image_folder
from tokencompose_core.selection.read_json import read_json
from tokencompose_core.selection.read_parquet import read_parquet
from tokencompose_core.selection.read_webdataset import read_webdataset


def read_source(
    source: OwnSource, path: Path, on_rows: Callable[[int], None] = lambda count: None
) -> JoinedRows:
    """Images with their captions, and rows that are left out.

    CSV, Parquet, JSON with an object a line, image folders and tars are read row by row. A JSON
    list and COCO's captions are read whole, in some five times the memory that the file takes.

    Args:
        source: What to read.
        path: Where to write what was read; a file that is not there yet.
        on_rows: Told how many more rows were read, from time to time.

    Raises:
        FileNotFoundError: If a file, or the folder of the images, is not there.
        ValueError: If a file as a whole is not what its kind says, or filters leave no row.
    """
    images_dir = Path(source.images_dir)
    if not isinstance(source, WebdatasetSource) and not images_dir.is_dir():
        raise FileNotFoundError(f"the source needs the folder {images_dir}, which is not there")
    return join_rows(_read_rows(source, images_dir), images_dir, path, on_rows)


def _read_rows(source: OwnSource, images_dir: Path) -> Iterator[CaptionRow | Rejection]:
    columns = _columns(source)
    yield from chain.from_iterable(_open_files(source, images_dir, columns))
    check_filtered(columns)


def _open_files(
    source: OwnSource, images_dir: Path, columns: Columns
) -> Iterable[Iterable[CaptionRow | Rejection]]:
    match source:
        case CocoCaptionsSource():
            captions, rejected = read_coco_captions(_existing(source.captions_paths))
            rows = (CaptionRow(name, name, tuple(own)) for name, own in captions.items())
            return [rows, rejected]
        case JsonSource():
            return (read_json(path, columns) for path in _existing(source.paths))
        case CsvSource():
            return (
                read_csv(path, columns, delimiter=source.delimiter)
                for path in _existing(source.paths)
            )
        case ParquetSource():
            return (read_parquet(path, columns, images_dir) for path in _existing(source.paths))
        case ImageFolderSource():
            return [read_image_folder(images_dir, columns)]
        case WebdatasetSource():
            return (
                read_webdataset(
                    path, images_dir, source.caption_column, source.image_limits.max_bytes
                )
                for path in _existing(source.paths)
            )


def _columns(source: OwnSource) -> Columns:
    if isinstance(source, TableSource):
        return Columns(source.image_column, source.caption_column, source.id_column, source.filters)
    return Columns("", "")  # it has none to choose from


def _existing(paths: list[str]) -> list[Path]:
    found = [Path(path) for path in paths]
    for path in found:
        if not path.is_file():
            raise FileNotFoundError(f"the source needs {path}, which is not there")
    return found
