"""A plan says what `curate` would compute and why, and computes nothing."""

import asyncio
import json
from typing import Any

import pytest
import torch
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from safetensors.torch import save_file

from flows.__main__ import main
from flows.curate import curate
from flows.plan import plan
from tasks.markdown import plain_text
from tasks.planning import UNKNOWN_INPUT, Reason, StagePlan
from tests.flows.conftest import NUM_ROWS, Base, DrawnSet, run_flow
from tests.flows.plans import STAGES, check_plan, images, only, plan_and_run, reasons
from tokencompose_core.pocket.floors.held_out import draw_held_out
from tokencompose_core.store.explain import DAMAGED, GONE, INPUT_CHANGED, NEVER, UNRECORDED


def files(drawn: DrawnSet) -> dict[str, int]:
    """All but the notes of uses, of which there is one more if midnight has passed."""
    return {
        str(path): path.stat().st_mtime_ns
        for path in drawn.store_dir.rglob("*")
        if path.is_file() and path.parent.parent.name != "used"
    }


def test_new_set_is_planned_without_a_model_and_then_computed_as_planned(base: Base):
    check_plan(base.planned)
    assert base.stages_after_plan == {"select"}
    assert reasons(base.planned) == {
        "rank": [NEVER],
        **{stage: [UNKNOWN_INPUT] for stage in STAGES[1:]},
    }
    for stage in base.planned.result:
        assert stage.stored == 0
        assert base.computed.states[stage.stage] == {"Completed": stage.reasons[0].outputs}
        assert stage.reasons[0].images == NUM_ROWS


def test_nothing_is_to_do_after_a_run(drawn: DrawnSet):
    before = files(drawn)
    planned = plan_and_run(drawn.config())
    assert reasons(planned) == {stage: [] for stage in STAGES}
    assert [stage.stored_images for stage in planned.result] == [NUM_ROWS] * len(STAGES)
    assert files(drawn) == before


def test_changed_threshold_is_named_with_both_values(drawn: DrawnSet):
    config = drawn.config(mask={"box_threshold": 0.4, "short_side": 80})
    before = files(drawn)
    planned = run_flow(plan, config)
    check_plan(planned)
    assert files(drawn) == before
    assert reasons(planned) == {
        "rank": [],
        "parse": [],
        "mask": ["mask.box_threshold 0.25 -> 0.4; mask.short_side 112 -> 80"],
        "shard": [UNKNOWN_INPUT],
        "dataset": [UNKNOWN_INPUT],
    }
    assert only(planned, "mask").images == NUM_ROWS
    plan_and_run(config)


def test_other_model_is_named_by_its_digest(drawn: DrawnSet, tmp_path):
    path = tmp_path / "other.safetensors"
    # No segmenter: a plan reads what a file holds, and builds no model of it.
    save_file({"weight": torch.zeros(1)}, path)
    planned = run_flow(plan, drawn.config(mask={"segmenter_checkpoint": str(path)}))
    check_plan(planned)
    why = only(planned, "mask").why
    assert why.startswith("mask.segmenter_checkpoint sha256:")
    assert len(why) < 80


def test_changed_caption_is_counted(drawn: DrawnSet):
    drawn.rows[17]["caption"] = [f"A photo of {drawn.rows[17]['caption'][0].lower()}"]
    planned = plan_and_run(drawn.config())
    assert only(planned, "rank").why == INPUT_CHANGED
    assert only(planned, "rank").rows == {"changed": 1}
    assert [images(planned)[stage] for stage in ("rank", "parse", "mask")] == [1, 1, 1]
    assert images(planned)["shard"] > 1
    assert [only(planned, stage).why for stage in STAGES[1:]] == [UNKNOWN_INPUT] * 4


def test_new_rows_extend_the_last_partition_or_are_new(drawn: DrawnSet):
    for number, item in enumerate(draw_held_out(14, seed=42), start=NUM_ROWS):
        drawn.add(number, item)
    planned = plan_and_run(drawn.config())
    rank = planned.result[0]
    extended, new = rank.reasons
    assert (extended.why, extended.outputs, new.why) == (INPUT_CHANGED, 1, NEVER)
    assert extended.rows == {"added": extended.images}
    assert extended.images + new.images == 14


def test_lost_and_damaged_outputs_are_named_and_nothing_else_is_computed(drawn: DrawnSet):
    (first, *_) = drawn.manifests("rank")
    for path in (drawn.store_dir / first).iterdir():
        path.unlink()
    (first, *_) = drawn.manifests("mask")
    (drawn.store_dir / first / "grounded.parquet").write_bytes(b"PAR1")
    planned = plan_and_run(drawn.config())
    assert only(planned, "rank") == Reason(why=GONE, outputs=1, images=only(planned, "rank").images)
    assert only(planned, "mask").why == DAMAGED
    assert {s: r for s, r in reasons(planned).items() if r} == {"rank": [GONE], "mask": [DAMAGED]}


def rewrite_manifests(drawn: DrawnSet, stage: str, **changes: Any) -> None:
    for key in drawn.manifests(stage):
        path = drawn.store_dir / key / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_new_version_of_a_stage_is_named(drawn: DrawnSet):
    """What the store has is given the keys that it would have from an earlier version."""
    for key, manifest in drawn.manifests("mask").items():
        earlier = key.replace("mask-v2-", "mask-v1-")
        (drawn.store_dir / key).rename(drawn.store_dir / earlier)
        path = drawn.store_dir / earlier / "manifest.json"
        path.write_text(manifest.model_copy(update={"key": earlier}).model_dump_json())
    rewrite_manifests(drawn, "shard", inputs={})
    planned = run_flow(plan, drawn.config())
    check_plan(planned)
    assert only(planned, "mask").why == "version of the stage 1 -> 2"


def test_outputs_of_an_earlier_release_are_found_though_they_recorded_less(drawn: DrawnSet):
    for stage in STAGES:
        for key in drawn.manifests(stage):
            path = drawn.store_dir / key / "manifest.json"
            record = json.loads(path.read_text())
            del record["parts"], record["provenance"]["created"]
            path.write_text(json.dumps(record))
    assert reasons(run_flow(plan, drawn.config())) == {stage: [] for stage in STAGES}
    planned = run_flow(plan, drawn.config(mask={"box_threshold": 0.4}))
    assert only(planned, "mask").why == UNRECORDED
    drawn.rows[17]["caption"] = ["A photo of a cat."]
    assert only(run_flow(plan, drawn.config()), "rank").rows == {"changed": 1}


def test_missing_checkpoint_is_found_by_a_plan(drawn: DrawnSet):
    with pytest.raises(FileNotFoundError, match=r"sam_hq_vit_h\.pth"):
        plan(drawn.config(mask={"segmenter_checkpoint": "checkpoints/sam_hq_vit_h.pth"}))


def test_model_of_a_hub_is_planned_by_its_name_and_looked_for_by_a_run(drawn: DrawnSet):
    changes = {
        "detector_backend": "transformers",
        "detector_config": "",
        "text_encoder": "",
        "detector_checkpoint": "nobody/grounding-dino",
        "detector_revision": "v7",
    }
    planned = run_flow(plan, drawn.config(mask=changes))
    check_plan(planned)
    assert "nobody/grounding-dino@v7" in only(planned, "mask").why
    with pytest.raises(FileNotFoundError, match=r"mask\.detector_checkpoint: 'nobody/grounding"):
        curate(drawn.config(mask=changes))
    with pytest.raises(FileNotFoundError, match="no grounding-dino at"):
        plan(drawn.config(mask=changes | {"detector_checkpoint": "/nobody/grounding-dino"}))


def test_plan_is_one_artifact(drawn: DrawnSet):
    state = plan(drawn.config(mask={"box_threshold": 0.3}), return_state=True)

    async def read() -> list:
        of_run = ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id])
        async with get_client() as client:
            return await client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=of_run))

    # What takes more than three seconds shows its progress besides.
    (artifact,) = (found for found in asyncio.run(read()) if found.type != "progress")
    assert artifact.key == "plan-drawn"
    why = plain_text("mask.box_threshold 0.25 -> 0.3")
    assert f"| {NUM_ROWS} | {why} |" in artifact.data


def test_command_prints_the_plan(drawn: DrawnSet, capsys: pytest.CaptureFixture):
    config = drawn.config(mask={"box_threshold": 0.3})
    assert main(["plan", "--config", config.model_dump_json()]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    num_partitions = str(len(drawn.manifests("mask")))
    change = ["mask.box_threshold", "0.25", "->", "0.3"]
    assert ["rank", num_partitions, "0", "0"] in lines
    assert ["mask", "0", num_partitions, str(NUM_ROWS), *change] in lines
    follows = UNKNOWN_INPUT.split()
    assert ["shard", "0", "up", "to", num_partitions, str(NUM_ROWS), *follows] in lines


def test_plan_ends_with_the_stage_that_has_left_out_too_much(
    drawn: DrawnSet, capsys: pytest.CaptureFixture
):
    # Of what is stored: captions in which the tagger finds no noun.
    for row in drawn.rows[:10]:
        row["caption"] = ["Very nice."]
    curate(drawn.config(max_rejected_fraction=0.5))
    config = drawn.config(max_rejected_fraction=0.2)
    rank, parse = run_flow(plan, config).result
    assert (rank.stage, rank.stop, rank.reasons, parse.reasons) == ("rank", "", [], [])
    lost = "10 of 40 samples were left out (10 no-noun), more than max_rejected_fraction = 0.2"
    assert (parse.stage, parse.stop) == ("parse", f"{lost}: curate would stop here")
    # And of the selection, which a plan runs.
    for row in drawn.rows:
        row["img_path"] = f"wrong/{row['img_path']}"
    assert main(["plan", "--config", drawn.config().model_dump_json()]) == 0
    lost = (
        "40 of 40 samples were left out (40 image-missing), more than max_rejected_fraction = 0.2"
    )
    row = f"select 1 0 0 {lost}: curate would stop here"
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    head = lines.index("stage there to compute images why")
    assert lines[head + 1 : head + 3] == [row, ""]


def test_plan_survives_json(base: Base):
    for stage in base.planned.result:
        assert StagePlan.model_validate_json(stage.model_dump_json()) == stage
