"""A set that has grown holds what a computation from nothing gives."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_schemas.records import IndexedCaption, ParsedCaption
from data_schemas.rejections import Rejection
from flows.curate import curate
from flows.retry_rejected import retry_rejected
from tests.flows.conftest import NUM_ROWS, DrawnSet, run_flow
from tests.flows.test_retry_rejected import run_with_a_fault
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.left_out import read_left_out
from tokencompose_core.store.lineage import trace
from tokencompose_core.store.tables import read_table


def outputs(folder: Path, dataset: str) -> dict[str, list[Any]]:
    """The manifests that a data set was made from, by stage, in the order of their samples."""
    store = Store(str(folder), check="digest")
    found: dict[str, list[Any]] = {}
    for manifest in trace(store, dataset):
        found.setdefault(manifest.stage, []).append(manifest)
    return found


def samples(folder: Path, dataset: str) -> list[IndexedCaption]:
    return [
        row
        for shard in outputs(folder, dataset)["shard"]
        for row in read_table(folder / shard.key / "index.parquet", IndexedCaption)
    ]


def left_out(folder: Path, dataset: str, stage: str) -> list[Rejection]:
    return read_left_out(Store(str(folder)), outputs(folder, dataset)[stage])


def check_equal(one: list[IndexedCaption], other: list[IndexedCaption]) -> None:
    """Rows are equal, but for the last digits of what models give."""
    assert [row.model_dump(exclude={"phrases"}) for row in one] == [
        row.model_dump(exclude={"phrases"}) for row in other
    ]
    for a, b in zip(one, other, strict=True):
        for ours, theirs in zip(a.phrases, b.phrases, strict=True):
            numbers = {"boxes", "scores", "score", "mask_counts", "mask_area", "mask_share"}
            assert ours.model_dump(exclude=numbers) == theirs.model_dump(exclude=numbers)
            assert np.allclose(ours.scores, theirs.scores, rtol=0, atol=1e-5)
            assert np.allclose(ours.boxes, theirs.boxes, rtol=0, atol=1e-2)
            assert np.isclose(ours.mask_area or 0, theirs.mask_area or 0, atol=3)


def test_grown_set_is_the_one_computed_from_nothing(
    drawn: DrawnSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With every kind of row: new, changed, removed, and with something left out of it."""
    changes = drawn.damage("nowhere.jpg") | {"parse": {"stop_nouns": ["dog", "table", "cup"]}}
    drawn.rows.sort(key=lambda row: row["img_path"])
    first = run_flow(curate, drawn.config(**changes)).result.dataset
    drawn.spread(4)
    drawn.rows[11]["caption"] = ["A photo of a dog and a cat."]
    del drawn.rows[30]
    config = drawn.config(**changes)
    noted: set[str] = set()
    monkeypatch.setattr("tasks.earlier_rows.record_use", lambda store, keys: noted.update(keys))
    grown = run_flow(curate, config)
    assert grown.calls["clip"] == 5
    assert 0 < grown.calls["tagger"] <= 5
    assert 0 < grown.calls["grounding_dino"] <= 5

    folder = tmp_path / "another store"
    monkeypatch.setenv("TOKENCOMPOSE_STORE", str(folder))
    fresh = run_flow(curate, config)
    assert fresh.calls["clip"] > NUM_ROWS
    ours, theirs = grown.result.dataset, fresh.result.dataset
    assert first not in (ours, theirs)
    check_equal(samples(drawn.store_dir, ours), samples(folder, theirs))
    for stage in ("rank", "parse", "mask"):
        one = outputs(drawn.store_dir, ours)[stage]
        other = outputs(folder, theirs)[stage]
        assert [(m.num_in, m.num_out, m.rejected) for m in one] == [
            (m.num_in, m.num_out, m.rejected) for m in other
        ]
        lost = left_out(folder, theirs, stage)
        assert left_out(drawn.store_dir, ours, stage) == lost
        # A sheet of what was masked, too, shows rows whoever computed them.
        assert [m.names() for m in one] == [m.names() for m in other]
        assert any(manifest.facts.get("rows_taken_over") for manifest in one)
        assert not any("rows_taken_over" in manifest.facts for manifest in other)
        # `gc` is told what the run will read.
        assert noted.issuperset(key for m in one for key in m.facts.get("taken_over_from", ()))
    lost = left_out(drawn.store_dir, ours, "parse")
    stopped = {r.key for r in lost if r.reason == "phrase-on-stop-list"}
    kept = {
        row.key
        for manifest in outputs(drawn.store_dir, ours)["parse"]
        for row in read_table(drawn.store_dir / manifest.key / "parsed.parquet", ParsedCaption)
    }
    assert stopped & kept


def test_what_was_left_out_is_asked_for_again(drawn: DrawnSet):
    """An image that could be read in part only while a grown set was ranked."""
    drawn.spread(2)
    config = drawn.config()
    run_with_a_fault(config, drawn.folder / "010a.jpg")
    mended = run_flow(retry_rejected, config)
    assert mended.result.made_again == 1
    (reason,) = (r for r in mended.result.reasons if r.reason == "image-unreadable")
    assert (reason.before, reason.mended, reason.still) == (1, 1, 0)
    assert mended.calls["clip"] == 1
    # Nor does a set that grows once more take a rejection over for a row.
    samples_now = samples(drawn.store_dir, mended.result.dataset)
    assert "010a.jpg" in {row.image_path for row in samples_now}
