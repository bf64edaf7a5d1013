"""What detectors saw in generated images, read from the outputs of two stages."""

from collections.abc import Sequence

import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.detect_objects import DETECTIONS_NAME
from tasks.generate_images import INDEX_NAME
from tasks.stage import Input
from tokencompose_core.evaluation.judge_images import SeenBox, SeenImage
from tokencompose_core.store.content_store import Store


def read_seen_images(
    store: Store, generated: Sequence[Input], detected: Sequence[Input], threshold: float
) -> dict[tuple[int, int], SeenImage]:
    """Read all images of a model by prompt id and round, with the boxes that can count.

    The tables hold boxes down to a low floor, some tens an image. Those below the threshold are
    left out while a file is read, or a benchmark of 100,000 images would not fit into memory.
    """
    blanked: dict[tuple[int, int], bool] = {}
    for part in generated:
        for row in pq.read_table(part.path(store) / INDEX_NAME).to_pylist():
            blanked[row["prompt_id"], row["round"]] = row["blanked"]
    boxes: dict[tuple[int, int], list[SeenBox]] = {image: [] for image in blanked}
    for part in detected:
        path = part.path(store) / DETECTIONS_NAME
        # Scores are stored in 32 bits: not `>` here, or one at the threshold may be rounded away.
        counts = (pc.field("score") >= threshold) | (pc.field("rival_score") >= threshold)
        for row in pq.read_table(path, filters=counts).to_pylist():
            left, top, right, bottom = row["box"]
            boxes.setdefault((row["prompt_id"], row["round"]), []).append(
                SeenBox(
                    row["category"],
                    row["score"],
                    (left, top, right, bottom),
                    row["rival"],
                    row["rival_score"],
                )
            )
    return {image: SeenImage(found, blanked.get(image, False)) for image, found in boxes.items()}
