"""Features of images in Parquet files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32


@dataclass(frozen=True)
class FeatureRows:
    """Features of the images that have any.

    Attributes:
        features: One row an image.
        num_missing: Images without features.
    """

    features: Float32[np.ndarray, "images dimension"]
    num_missing: int


def write_features(
    path: Path,
    names: Sequence[str],
    features: Sequence[Float32[np.ndarray, " dimension"] | None],
    dimension: int,
) -> None:
    """Write a row for every image: its name, and its features or null."""
    rows = pa.array(
        [None if row is None else row.astype(np.float32) for row in features],
        pa.list_(pa.float32(), dimension),
    )
    pq.write_table(pa.table({"image": list(names), "features": rows}), path, compression="zstd")


def read_features(paths: Sequence[Path]) -> FeatureRows:
    """Read the features of several files, in their order.

    Raises:
        ValueError: If the files have features of different numbers.
    """
    columns = [pq.read_table(path)["features"].combine_chunks() for path in paths]
    dimensions = {column.type.list_size for column in columns}
    if len(dimensions) != 1:
        raise ValueError(f"features of one kind are needed, received {sorted(dimensions)} an image")
    features = np.concatenate([column.flatten().to_numpy() for column in columns])
    return FeatureRows(
        features.reshape(-1, dimensions.pop()), sum(column.null_count for column in columns)
    )
