"""The stage `score`, from the tables of two stages before it."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_schemas.evaluation_records import DETECTION_SCHEMA, GENERATED_SCHEMA, ScoredImage
from data_schemas.results import MultiGenResult, VisorResult
from tasks.detect_objects import DETECTIONS_NAME
from tasks.generate_images import INDEX_NAME
from tasks.score_images import IMAGES_TABLE_NAME, SCORE_NAME, ScoreSpec, score_model
from tasks.seen_images import read_seen_images
from tasks.stage import Input, open_store
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.store.tables import read_table

PROMPTS = [
    Prompt(4, "a cat above a cup", ("cat", "cup"), "above"),
    Prompt(7, "a cup above a cat", ("cup", "cat"), "above"),
]
HIGH, LOW = [0.0, 0.0, 10.0, 10.0], [0.0, 50.0, 10.0, 60.0]


def stored(name: str, rows: list[dict[str, Any]], schema: pa.Schema, **more: Any) -> Input:
    """A table in the store, with the columns of its schema and such as it does not have yet."""
    for column, kind in more.items():
        if column not in schema.names:
            schema = schema.append(pa.field(column, kind))

    def write(folder: Path) -> dict[str, Any]:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / name)
        return {}

    return Input.of(open_store().publish(f"{name}-v1-{len(rows)}", name, write))


def image(prompt_id: int, number: int, blanked: bool = False) -> dict[str, Any]:
    name = f"{prompt_id}_{number}"
    return {
        "image": name,
        "prompt_id": prompt_id,
        "round": number,
        "seed": 1,
        "prompt": "",
        "categories": ["cat", "cup"],
        "blanked": blanked,
    }


def box(prompt_id, number, category, score, place, rival="", rival_score=0.0) -> dict[str, Any]:
    return {
        "image": f"{prompt_id}_{number}",
        "prompt_id": prompt_id,
        "round": number,
        "category": category,
        "score": score,
        "box": place,
        "rival": rival or category,
        "rival_score": rival_score or score,
    }


IMAGES = [image(4, 0), image(4, 1), image(7, 0), image(7, 1, blanked=True)]
BOXES = [
    box(4, 0, "cat", 0.9, HIGH),
    box(4, 0, "cup", 0.8, LOW),
    box(4, 1, "cat", 0.3, LOW),
    box(4, 1, "cup", 0.02, LOW, "bowl", 0.4),
    box(7, 0, "cat", 0.7, HIGH),
    box(7, 0, "cup", 0.6, LOW),
    box(7, 1, "cat", 0.7, HIGH),
]


@pytest.fixture
def inputs(store_dir) -> dict[str, list[Input]]:
    rivals = {"rival": pa.string(), "rival_score": pa.float32()}
    return {
        "generated": [
            stored(INDEX_NAME, part, GENERATED_SCHEMA, blanked=pa.bool_())
            for part in (IMAGES[:3], IMAGES[3:])
        ],
        "detected": [
            stored(DETECTIONS_NAME, part, DETECTION_SCHEMA, **rivals)
            for part in (BOXES[:5], BOXES[5:])
        ],
    }


def score(kind, inputs, **changes):
    spec = ScoreSpec(
        label="base",
        benchmark=kind,
        kind=kind,
        **{"prompts": PROMPTS, "num_rounds": 2, "threshold": 0.1, **inputs, **changes},
    )
    return spec, score_model.fn(spec)


def test_images_are_judged_and_kept_one_row_each(inputs):
    _, manifest = score("visor", inputs)
    rows = read_table(open_store().path(manifest, IMAGES_TABLE_NAME), ScoredImage)
    assert [(r.prompt_id, r.round, r.blanked, r.found, r.instead, r.related) for r in rows] == [
        (4, 0, False, ["cat", "cup"], [], True),
        (4, 1, False, ["cat"], ["bowl"], False),
        (7, 0, False, ["cup", "cat"], [], False),
        (7, 1, True, [], [], False),
    ]
    assert [row.num_found for row in rows] == [2, 1, 2, 0]
    assert (manifest.num_in, manifest.facts["blanked"]) == (4, 1)


def test_each_kind_is_counted_in_its_own_way(inputs):
    def result(kind, model):
        _, manifest = score(kind, inputs)
        text = open_store().path(manifest, SCORE_NAME).read_text()
        return model.model_validate_json(text)

    visor = result("visor", VisorResult)
    assert visor.object_accuracy.percent == pytest.approx(100 * 2 / 3)
    assert visor.unconditional.percent == pytest.approx(100 / 3)
    multigen = result("multigen", MultiGenResult)
    assert multigen.mean == pytest.approx({2: 100 * 2 / 3})
    assert multigen.confusion == {"cup": {"bowl": 1}}
    assert (multigen.num_images, multigen.num_blanked) == (4, 1)


def test_key_holds_what_the_score_depends_on(inputs):
    plain, _ = score("multigen", inputs)
    others = [
        plain.model_copy(update={"kind": "visor"}),
        plain.model_copy(update={"threshold": 0.2}),
        plain.model_copy(update={"prompts": PROMPTS[::-1]}),
        plain.model_copy(update={"detected": plain.detected[:1]}),
    ]
    assert len({spec.key for spec in [plain, *others]}) == 5
    assert plain.model_copy(update={"label": "grounded"}).key == plain.key


def test_missing_image_is_named(inputs):
    with pytest.raises(ValueError, match=r"1 missing \[\(7, 1\)\], 0 too many"):
        score("multigen", {**inputs, "generated": inputs["generated"][:1], "detected": []})


def test_boxes_below_the_threshold_are_not_read(inputs):
    seen = read_seen_images(open_store(), **inputs, threshold=0.5)
    assert [len(seen[key].boxes) for key in [(4, 0), (4, 1), (7, 0)]] == [2, 0, 2]
    # A score at the threshold is left to the comparison that counts it.
    seen = read_seen_images(open_store(), **inputs, threshold=0.3)
    assert [b.category for b in seen[4, 1].boxes] == ["cat", "cup"]
