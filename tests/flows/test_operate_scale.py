"""The store of two thousand rows that the benchmark fills: all of it is found, and quickly."""

import time
from pathlib import Path

import pytest

from benchmarks.filled_store import config_of, write_set
from benchmarks.operate_scale import NEW_THRESHOLD, child_fill
from data_schemas.configs.operate_config import GcConfig, LineageConfig, VerifyConfig
from flows.gc import gc
from flows.lineage import lineage
from flows.plan import plan
from flows.verify import verify

NUM_ROWS = 2000
# Of the processor, on a machine with other work; a set fifty times as large has a minute.
MOST_SECONDS = 30.0


def test_looking_after_a_store_without_models(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TOKENCOMPOSE_STORE", str(tmp_path / "store"))
    write_set(tmp_path, NUM_ROWS)
    filled = child_fill(str(tmp_path), partition_size=64)
    parts = (filled["entries"] - 2) // 6
    assert filled["entries"] == 6 * parts + 3
    begin = time.process_time()

    stages = {stage.stage: stage for stage in plan(config_of(str(tmp_path), 64))}
    assert {name: stage.stored for name, stage in stages.items()} == {
        **dict.fromkeys(("rank", "parse", "mask", "shard"), parts),
        "dataset": 1,
    }
    assert all(not stage.reasons for stage in stages.values())
    assert stages["mask"].stored_images == NUM_ROWS
    changed = plan(config_of(str(tmp_path), 64, box_threshold=NEW_THRESHOLD))
    (why,) = {stage.stage: stage for stage in changed}["mask"].reasons
    assert why.why.startswith("mask.box_threshold 0.")
    assert (why.outputs, why.images) == (parts, NUM_ROWS)

    health = verify(VerifyConfig(deep=True))
    assert sum(stage.entries for stage in health.stages) == filled["entries"]
    assert not health.broken
    assert not health.broken_lineage
    found = lineage(LineageConfig(key="dataset"))
    members = {node.title: len(node.members) for node in found.nodes}
    assert members["mask v2"] == members["rank v2"] == parts

    garbage = gc(GcConfig(delete=True))
    going = {stage.stage: stage.unreferenced for stage in garbage.stages if stage.unreferenced}
    assert going == {"mask": parts, "shard": parts}
    assert not verify(VerifyConfig()).broken_lineage
    assert time.process_time() - begin < MOST_SECONDS
