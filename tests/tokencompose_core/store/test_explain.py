from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tokencompose_core.store.content_store import MANIFEST_NAME, Store
from tokencompose_core.store.explain import (
    DAMAGED,
    GONE,
    INPUT_CHANGED,
    NEVER,
    Cause,
    explain_missing,
)
from tokencompose_core.store.history import History
from tokencompose_core.store.keys import make_key

FIELDS = {"thresholds": ("box", "text")}


def parts(box: float = 0.2, text: float = 0.3, model: str = "a", source: str = "d" * 64) -> dict:
    return {"source": source, "thresholds": [box, text], "model": model}


def put(store: Store, given: dict[str, Any], version: int = 1, created: str = "2026") -> str:
    key = make_key("mask", version, given)
    store.publish(
        key,
        "mask",
        lambda folder: {},
        inputs={"rank-v1-x": given["source"]},
        parts=given,
        provenance={"created": created},
    )
    return key


def explain(store: Store, wanted: dict[str, Any], version: int = 1) -> Cause:
    key = make_key("mask", version, wanted)
    inputs = {"rank-v1-x": wanted["source"]}
    return explain_missing(History(store), key, wanted, inputs, FIELDS)


def test_empty_store_has_computed_nothing(store):
    assert explain(store, parts()) == Cause(NEVER)


def test_parts_are_recorded_as_json_holds_them(store):
    given = parts() | {"layers": ("mid", "up")}
    key = put(store, given)
    assert store.find(key).parts == given | {"layers": ["mid", "up"]}


@pytest.mark.parametrize(
    ("wanted", "version", "why"),
    [
        (parts(box=0.25), 1, "mask.box 0.2 -> 0.25"),
        (parts(text=0.1, model="b"), 1, "mask.model a -> b; mask.text 0.3 -> 0.1"),
        (parts(), 2, "version of the stage 1 -> 2"),
        (parts(box=0.1), 2, "version of the stage 1 -> 2; mask.box 0.2 -> 0.1"),
        (parts(model="sha256:" + "e" * 64), 1, "mask.model a -> sha256:eeeeeeee"),
        (parts() | {"words": ["x"]}, 1, 'mask.words not set -> ["x"]'),
        (parts() | {"thresholds": [0.2]}, 1, None),
        (parts(source="f" * 64), 1, NEVER),
    ],
)
def test_difference_is_named(store, wanted, version, why):
    put(store, parts())
    found = explain(store, wanted, version).why
    if why is None:  # a list of another length, as an earlier version of the code had it
        why = "mask.box 0.2 -> not set; mask.text 0.3 -> not set; mask.thresholds not set -> [0.2]"
    assert found == why


def test_most_similar_output_is_compared_and_of_equals_the_newest(store):
    put(store, parts(box=0.5, text=0.5), created="2029")
    put(store, parts(box=0.5), created="2026")
    assert explain(store, parts()).why == "mask.box 0.5 -> 0.2"
    put(store, parts(box=0.7), created="2028")
    put(store, parts(box=0.6), created="2027")
    assert explain(store, parts()).why == "mask.box 0.7 -> 0.2"


def test_lost_output_is_remembered_by_what_was_made_from_it(store):
    key = put(store, parts())
    store.publish("shard-v1-x", "shard", lambda folder: {}, inputs={key: "0" * 64})
    store.filesystem.rm(f"{store.root}/{key}", recursive=True)
    assert explain(store, parts()) == Cause(GONE)
    assert History(store).digests_read[key] == "0" * 64


def test_damaged_output_is_told_from_one_that_never_was(store):
    put(store, parts())
    assert explain(store, parts()) == Cause(DAMAGED)


def test_what_is_no_manifest_of_its_folder_is_passed_over(store):
    key = put(store, parts())
    store.filesystem.cp_file(f"{store.root}/{key}/{MANIFEST_NAME}", f"{store.root}/moved")
    store.filesystem.mkdirs(f"{store.root}/mask-v1-0", exist_ok=True)
    store.filesystem.mv(f"{store.root}/moved", f"{store.root}/mask-v1-0/{MANIFEST_NAME}")
    store.filesystem.mkdirs(f"{store.root}/mask-v1-1", exist_ok=True)
    store.filesystem.pipe_file(f"{store.root}/mask-v1-1/{MANIFEST_NAME}", b"{")
    assert list(History(store).manifests) == [key]


def table(rows: dict[str, int]) -> Callable[[Path], dict]:
    def write(folder: Path) -> dict:
        columns = {"key": list(rows), "value": list(rows.values())}
        pq.write_table(pa.table(columns), folder / "rows.parquet")
        return {}

    return write


def test_input_is_compared_row_by_row_with_the_one_that_shares_most(store):
    tables = {
        "far": {"a": 1, "x": 1, "y": 1},
        "near": {"a": 1, "b": 1, "c": 1, "d": 1},
        "new": {"a": 1, "b": 2, "c": 1, "e": 1, "f": 1},
        "other": {"z": 1},
    }
    digests = {}
    for name, rows in tables.items():
        manifest = store.publish(f"rank-v1-{name}", "rank", table(rows))
        digests[name] = manifest.file("rows.parquet").sha256
        if name in ("far", "near"):
            given = parts(source=digests[name])
            store.publish(
                make_key("mask", 1, given),
                "mask",
                lambda folder: {},
                inputs={f"rank-v1-{name}": digests[name]},
                parts=given,
            )

    def explain_table(name: str) -> Cause:
        given = parts(source=digests[name])
        inputs = {f"rank-v1-{name}": digests[name]}
        return explain_missing(History(store), make_key("mask", 1, given), given, inputs, FIELDS)

    counts = {"added": 2, "changed": 1, "removed": 1}
    assert explain_table("new") == Cause(INPUT_CHANGED, counts)
    assert explain_table("other") == Cause(NEVER)
    store.filesystem.rm(f"{store.root}/rank-v1-near", recursive=True)
    assert explain_table("new").rows == {"added": 4, "removed": 2}
