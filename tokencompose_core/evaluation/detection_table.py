"""Detected boxes in Parquet files."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from data_schemas.evaluation_records import DETECTION_SCHEMA, GeneratedImage
from tokencompose_core.evaluation.detect import Detection
from tokencompose_core.store.tables import write_columns


def write_detections(
    path: Path,
    images: Sequence[GeneratedImage],
    found: Iterable[Sequence[Detection]],
    on_image: Callable[[int], None] = lambda count: None,
) -> int:
    """Write a row for every box, image by image, as a `DetectedBox` is read.

    Boxes go into columns as they are: a record of each takes about twenty times as long, in the
    thread that drives the GPU.

    Args:
        path: Where to write the table.
        images: Whose boxes they are.
        found: Boxes of every image, in the same order.
        on_image: Called with 1 after each image.

    Returns:
        The number of boxes.

    Raises:
        ValueError: If there are more or fewer images than lists of boxes.
    """
    columns: dict[str, list] = {name: [] for name in DETECTION_SCHEMA.names}
    for image, boxes in zip(images, found, strict=True):
        columns["image"] += [image.image] * len(boxes)
        columns["prompt_id"] += [image.prompt_id] * len(boxes)
        columns["round"] += [image.round] * len(boxes)
        columns["category"] += [box.category for box in boxes]
        columns["score"] += [box.score for box in boxes]
        columns["rival"] += [box.rival for box in boxes]
        columns["rival_score"] += [box.rival_score for box in boxes]
        columns["box"] += [box.box_xyxy for box in boxes]
        on_image(1)
    write_columns(path, columns, DETECTION_SCHEMA)
    return len(columns["box"])
