"""The tables of an ablation from what lies in the store; no server."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_schemas.evaluation_records import SCORED_SCHEMA, ScoredImage
from tasks.ablation_tables import HELD_OUT
from tasks.compare_variants import TABLES_NAME, AblationSpec, VariantResult, compare_scores
from tasks.score_images import IMAGES_TABLE_NAME
from tasks.stage import Input, open_store
from tokencompose_core.store.tables import write_table


def score(num_found: tuple[tuple[int, ...], ...] = ((0,), (1,), (2,))) -> Input:
    """The judged images of a model: for every prompt how many categories each round shows."""

    def write(folder: Path) -> dict[str, Any]:
        rows = [
            ScoredImage(
                prompt_id=number,
                round=own,
                blanked=False,
                found=["cat", "cup"][:found],
                num_found=found,
                instead=[],
                related=None,
            )
            for number, rounds in enumerate(num_found)
            for own, found in enumerate(rounds)
        ]
        write_table(folder / IMAGES_TABLE_NAME, rows, SCORED_SCHEMA)
        return {}

    return Input.of(open_store().publish("score-v1-x", "score", write))


def training(key: str, before: float, after: float, names: tuple[str, ...] = HELD_OUT) -> Input:
    def write(folder: Path) -> dict[str, Any]:
        (folder / "model.txt").write_text(key)
        facts = {
            f"{name} (held out, {when})": value
            for name in names
            for when, value in (("before", before), ("after", after))
        }
        return {"facts": facts}

    return Input.of(open_store().publish(f"finetune-v1-{key}", "finetune", write))


@pytest.mark.parametrize(
    ("reference", "before"),
    [("all layers", "0.1500"), ("middle", "0.5000"), ("frozen", "0.1500")],
)
def test_a_frozen_variant_is_measured_as_the_one_that_others_are_held_to(
    store_dir, reference, before
):
    trained = {
        "frozen": [],
        "all layers": [training("a1", 0.1, 0.2), training("a2", 0.2, 0.4)],
        # Of a version that did not measure all.
        "middle": [
            training("m1", 0.4, 0.6, ("inside", "denoising")),
            training("m2", 0.6, 0.8, ("inside", "denoising")),
        ],
    }
    spec = AblationSpec(
        title_text="",
        foot="",
        num_objects=2,
        studies={
            "layers": [
                VariantResult(
                    label=label,
                    reference=label == reference,
                    published={},
                    trained=models,
                    scored=[score()] * max(1, len(models)),
                )
                for label, models in trained.items()
            ]
        },
    )
    path = open_store().path(compare_scores.fn(spec), TABLES_NAME)
    (columns, *rows), _ = json.loads(path.read_text())["layers"]
    inside = {row[0]: row[columns.index("inside")] for row in rows}
    assert inside == {"frozen": before, "all layers": "0.3000", "middle": "0.7000"}
    preference = {row[0]: row[columns.index("preference")] for row in rows}
    frozen = "" if reference == "middle" else before
    assert preference == {"frozen": frozen, "all layers": "0.3000", "middle": ""}


def test_images_of_a_prompt_are_its_rounds(store_dir):
    """One prompt succeeds in both rounds and the other in none, so prompts decide everything."""
    variant = VariantResult(
        label="one", reference=False, published={}, trained=[], scored=[score(((2, 2), (0, 0)))]
    )
    spec = AblationSpec(title_text="", foot="", num_objects=2, studies={"study": [variant]})
    path = open_store().path(compare_scores.fn(spec), TABLES_NAME)
    (columns, row), _ = json.loads(path.read_text())["study"]
    assert row[columns.index("MG2")] == "50.0 [0.0, 100.0]"
