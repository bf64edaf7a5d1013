"""The table of detected boxes, beside one that is made record by record."""

import random
from pathlib import Path

import pytest

from data_schemas.evaluation_records import DETECTION_SCHEMA, DetectedBox, GeneratedImage
from tokencompose_core.evaluation.detect import Detection
from tokencompose_core.evaluation.detection_table import write_detections
from tokencompose_core.store.tables import read_table, write_table

NAMES = ["boat", "car", "wine glass", "Kühlschrank"]


def images(count: int) -> list[GeneratedImage]:
    return [
        GeneratedImage(
            image=f"{number // 2}_{number % 2}",
            prompt_id=number // 2,
            round=number % 2,
            seed=number,
            prompt="",
            categories=NAMES[:2],
            blanked=False,
        )
        for number in range(count)
    ]


def boxes(count: int, rng: random.Random) -> list[Detection]:
    """As the detector gives them: floats that are whole in single precision or not."""
    return [
        Detection(
            rng.choice(NAMES[:2]),
            rng.random(),
            rng.choice(NAMES),
            rng.choice([0.5, rng.random()]),
            (-1.25, rng.uniform(0, 512), 512.0, rng.uniform(0, 600)),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("counts", [[3, 0, 40, 1], [0, 0], [], [700] * 8])
def test_bytes_are_those_of_a_record_a_box(tmp_path: Path, counts: list[int]) -> None:
    rng = random.Random(5)
    rows = images(len(counts))
    found = [boxes(count, rng) for count in counts]
    records = [
        DetectedBox(
            image=row.image,
            prompt_id=row.prompt_id,
            round=row.round,
            category=box.category,
            score=box.score,
            rival=box.rival,
            rival_score=box.rival_score,
            box=list(box.box_xyxy),
        )
        for row, own in zip(rows, found, strict=True)
        for box in own
    ]
    write_table(tmp_path / "records", records, DETECTION_SCHEMA)
    seen: list[int] = []
    assert write_detections(tmp_path / "columns", rows, iter(found), seen.append) == len(records)
    assert (tmp_path / "columns").read_bytes() == (tmp_path / "records").read_bytes()
    assert seen == [1] * len(rows)
    assert len(read_table(tmp_path / "columns", DetectedBox)) == sum(counts)


def test_boxes_of_more_or_fewer_images_are_refused(tmp_path: Path) -> None:
    for count in (1, 3):
        with pytest.raises(ValueError, match="zip"):
            write_detections(tmp_path / "columns", images(2), [[]] * count)
