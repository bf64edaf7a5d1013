"""CLIPScores have the digits that their scale needs, wherever they are shown."""

from pathlib import Path
from typing import Any

import pytest

from data_schemas.evaluation_records import CLIP_SCORE_SCHEMA, ClipScoredImage
from flows.print_results import print_evaluation
from tasks.clip_cells import clip_cell, clip_digits
from tasks.evaluation import Evaluation
from tasks.quality_tables import clip_score_table
from tasks.score_clip import SCORES_NAME, AgreementSpec, ModelClipScore, average_scores
from tasks.stage import Input, open_store
from tokencompose_core.store.tables import write_table


def scored(scale: float) -> ModelClipScore:
    return ModelClipScore(
        scored=Input(key="agreement-v3-00", digest="0", name=SCORES_NAME),
        label="base",
        benchmark="multigen-pocket",
        mean=0.3021 * scale,
        deviation=0.0514 * scale,
        interval=(0.29 * scale, 0.31 * scale),
        num_images=8,
        num_blanked=0,
        num_prompts=4,
        clip="pocket CLIP",
        weights="",
        convention="cos",
        scale=scale,
    )


@pytest.mark.parametrize(
    ("scale", "digits"), [(1000.0, 2), (100.0, 2), (99.0, 3), (10.0, 3), (2.5, 4), (1.0, 4)]
)
def test_a_smaller_scale_has_more_digits(scale, digits):
    assert clip_digits(scale) == digits


SHOWN = [
    (100.0, "30.21 (5.14)", "[29.00, 31.00]"),
    (2.5, "0.7552 (0.1285)", "[0.7250, 0.7750]"),
    (1.0, "0.3021 (0.0514)", "[0.2900, 0.3100]"),
]


@pytest.mark.parametrize(("scale", "cell", "ends"), SHOWN)
def test_on_the_page_and_in_the_terminal(scale, cell, ends, capsys):
    own = scored(scale)
    assert clip_cell(own.mean, own.deviation, scale) == cell
    assert clip_score_table([own]).rows[0].cells[1] == f"{cell}\n{ends}"
    print_evaluation(Evaluation(clip_scores=[own]), None)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("base")]
    assert f" {cell} " in line


@pytest.mark.parametrize(("scale", "cell"), [(100.0, "30.20 (10.20)"), (1.0, "0.3020 (0.1020)")])
def test_on_the_card_of_the_stage(store_dir, scale, cell):
    def write(folder: Path) -> dict[str, Any]:
        rows = [
            ClipScoredImage(image=f"{i}_0", prompt_id=i, round=0, blanked=False, score=own * scale)
            for i, own in enumerate((0.2, 0.404))
        ]
        write_table(folder / SCORES_NAME, rows, CLIP_SCORE_SCHEMA)
        return {}

    part = Input.of(open_store().publish("clipscore-v2-x", "clipscore", write), SCORES_NAME)
    spec = AgreementSpec(label="base", benchmark="visor", scored=[part], scale=scale)
    manifest = average_scores.fn(spec)
    assert manifest.facts["CLIPScore"] == cell
    assert all(
        len(end.partition(".")[2]) == clip_digits(scale)
        for end in manifest.facts["95 % interval"].split(" to ")
    )
