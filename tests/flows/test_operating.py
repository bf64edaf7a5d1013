"""gc, verify and lineage on a store that `curate` has filled, from the command line."""

import json
import shutil
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest

from flows.__main__ import main
from flows.curate import curate
from tests.flows.conftest import Base, DrawnSet, run_flow
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.uses import record_use

STAGES = ("select", "rank", "parse", "mask", "shard", "dataset", "card")


def age(drawn: DrawnSet, days: int) -> Store:
    """Have all outputs made so long ago, and asked for by nobody since."""
    shutil.rmtree(drawn.store_dir / "used")
    store = Store(str(drawn.store_dir))
    record_use(store, [], date(2020, 1, 1))
    created = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    for path in drawn.store_dir.glob("*/manifest.json"):
        manifest = json.loads(path.read_text())
        manifest["provenance"]["created"] = created
        path.write_text(json.dumps(manifest))
    return store


def columns(printed: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line.strip()}


def test_run_after_gc_computes_what_was_removed_and_nothing_else(
    base: Base, drawn: DrawnSet, capsys: pytest.CaptureFixture
):
    store = age(drawn, 60)
    record_use(store, list(drawn.manifests("parse")), datetime.now(UTC).date())
    parts = str(len(drawn.manifests("mask")))
    (drawn.store_dir / "unfinished/finetune-v3-0").mkdir(parents=True)
    before = {stage: set(drawn.manifests(stage)) for stage in STAGES}

    assert main(["gc"]) == 0
    printed = capsys.readouterr().out
    assert "Would remove" in printed
    assert columns(printed)["mask"][0] == "0"
    assert columns(printed)["mask"][3] == parts
    assert columns(printed)["parse"][0] == parts
    assert {stage: set(drawn.manifests(stage)) for stage in STAGES} == before

    assert main(["gc", "--config", json.dumps({"delete": True})]) == 0
    assert "Removed" in capsys.readouterr().out
    left = {stage: set(drawn.manifests(stage)) for stage in STAGES}
    gone = {"mask", "shard", "dataset", "card"}
    assert left == {stage: set() if stage in gone else before[stage] for stage in STAGES}
    assert (drawn.store_dir / "unfinished/finetune-v3-0").is_dir()

    again = run_flow(curate, drawn.config())
    assert again.result == base.computed.result.model_copy(
        update={"report_path": again.result.report_path}
    )
    for stage in STAGES:
        states = again.states[stage]
        assert ("Completed" in states) == (stage in gone), stage
        assert states.total() == len(before[stage])
    assert again.calls["clip"] == 0


def test_gc_leaves_what_last_nights_run_reused(drawn: DrawnSet, capsys: pytest.CaptureFixture):
    age(drawn, 60)
    states = run_flow(curate, drawn.config()).states
    assert sum(states.values(), Counter())["Completed"] == 0
    assert main(["gc", "--config", '{"delete": true}']) == 0
    assert "Removed 0 outputs" in capsys.readouterr().out


def test_gc_refuses_a_key_that_is_not_there(drawn: DrawnSet, capsys: pytest.CaptureFixture):
    assert main(["gc", "--config", '{"keep": ["mask-v2-0"]}']) == 1
    assert "mask-v2-0" in capsys.readouterr().err
    assert main(["gc", "--config", '{"older_than_days": 0}']) == 2


def test_verify_fails_on_damage_and_says_what_mends_it(
    drawn: DrawnSet, capsys: pytest.CaptureFixture
):
    assert main(["verify", "--deep"]) == 0
    assert "compared by digest: 0 broken" in capsys.readouterr().out
    mask = min(drawn.manifests("mask"))
    path = drawn.store_dir / mask / "grounded.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert main(["verify"]) == 0
    assert main(["verify", "--deep"]) == 1
    printed = capsys.readouterr()
    assert printed.err == "broken outputs: 1 damaged\n"
    assert f"{mask}  damaged: grounded.parquet has another content" in printed.out
    assert "Run the flow that made it again" in printed.out
    run_flow(curate, drawn.config())
    assert main(["verify", "--deep"]) == 0


def test_lost_input_is_no_damage(drawn: DrawnSet, capsys: pytest.CaptureFixture):
    parse = min(drawn.manifests("parse"))
    shutil.rmtree(drawn.store_dir / parse)
    assert main(["verify"]) == 0
    printed = capsys.readouterr().out
    assert f"its input {parse} is not there" in " ".join(printed.split())
    assert columns(printed)["mask"][-1] == "1"


def test_lineage_of_a_data_set(base: Base, drawn: DrawnSet, capsys: pytest.CaptureFixture):
    assert main(["lineage", base.computed.result.dataset[:20]]) == 0
    printed = capsys.readouterr().out
    parts = len(drawn.manifests("mask"))
    assert f"mask v2 x {parts}" in printed
    assert "box_threshold 0.25" in printed
    assert "captions and images of drawn" in printed
    assert printed.partition("made into")[2].split()[1:3] == ["card", "v2"]
    assert main(["lineage", "mask"]) == 1
    assert f"{parts} outputs begin with 'mask'" in capsys.readouterr().err
    assert main(["lineage"]) == 2
    assert "key: Field required" in capsys.readouterr().err
