"""An output is followed to its captions and on to what was made from it."""

from pathlib import Path

import pytest

from data_schemas.manifest import Manifest
from tasks.trace_lineage import lineage_lines, mermaid, tree_lines
from tokencompose_core.store.ancestry import VARIES, Ancestry, find_key, trace_ancestry
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.history import History
from tokencompose_core.store.keys import make_key

FIELDS = {"mask": {"thresholds": ("box_threshold", "text_threshold")}}


def put(store: Store, stage: str, made_from: dict[str, str], version: int = 1, **parts) -> Manifest:
    decides = {"inputs": sorted(made_from.values()), **parts}
    key = make_key(stage, version, decides)

    def write(folder: Path) -> dict:
        (folder / "rows.txt").write_text(key)
        return {"num_in": 3, "num_out": 2}

    return store.publish(
        key,
        stage,
        write,
        inputs=made_from,
        parts=decides,
        provenance={"created": f"2026-05-0{version}T00:00:00+00:00", "torch": f"{version}.0"},
    )


def of(*manifests: Manifest) -> dict[str, str]:
    return {manifest.key: manifest.digest for manifest in manifests}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def curated(store: Store) -> dict[str, list[Manifest]]:
    """Captions in three partitions, of which one was masked with another threshold."""
    select = put(store, "select", {"source": "d1g3st"}, settings={"split": "train", "size": 8})
    parsed = [put(store, "parse", of(select), model="sha256:" + n * 64) for n in "aab"]
    parsed[1] = put(store, "parse", of(select), model="sha256:" + "a" * 64, part=1)
    masks = [
        put(store, "mask", of(one), thresholds=[box, 0.25])
        for one, box in zip(parsed, (0.25, 0.25, 0.4), strict=True)
    ]
    dataset = put(store, "dataset", of(*masks))
    card = put(store, "card", of(dataset), title="holidays")
    model = put(store, "finetune", of(dataset), version=2, seed=1)
    return {
        "select": [select],
        "mask": masks,
        "dataset": [dataset],
        "card": [card],
        "finetune": [model],
    }


def trace(store: Store, key: str) -> Ancestry:
    return trace_ancestry(History(store), key, FIELDS)


def test_equal_partitions_are_one_node_and_captions_have_their_set(store, curated):
    found = trace(store, curated["finetune"][0].key)
    by_title: dict[str, list] = {}
    for node in found.nodes:
        by_title.setdefault(node.title, []).append(node)
    assert {title: len(nodes) for title, nodes in by_title.items()} == {
        "finetune v2": 1,
        "dataset v1": 1,
        "mask v1": 2,
        "parse v1": 3,
        "select v1": 1,
        "captions and images": 1,
    }
    masks = {node.settings["box_threshold"]: node for node in by_title["mask v1"]}
    assert {box: len(node.members) for box, node in masks.items()} == {"0.25": 2, "0.4": 1}
    assert (masks["0.25"].num_in, masks["0.25"].num_out) == (6, 4)
    assert by_title["captions and images"][0].caption_sets == ("holidays",)
    assert by_title["captions and images"][0].members == ("d1g3st",)
    assert by_title["select v1"][0].settings == {"settings.size": "8", "settings.split": "train"}
    assert by_title["parse v1"][0].settings["model"] in ("sha256:aaaaaaaa", "sha256:bbbbbbbb")
    assert found.made_into == {0: []}


def test_what_was_made_from_captions_is_a_tree_downwards(store, curated):
    found = trace(store, curated["select"][0].key)
    lines = tree_lines(found, found.made_into, settings=False)
    words = [line.lstrip("│├└─ ").partition("  ")[0] for line in lines]
    assert words.count("dataset v1") == 1
    assert {"mask v1", "mask v1, as above"} & set(words)
    assert {"card v1", "finetune v2"} <= set(words)
    assert found.nodes[0].title == "select v1"
    assert any("captions and images of holidays  d1g3st" in line for line in lineage_lines(found))


def test_other_versions_are_named(store, curated):
    lines = lineage_lines(trace(store, curated["finetune"][0].key))
    assert "made with torch 2.0" in lines
    assert "but dataset v1: torch 1.0" in lines


def test_gap_is_shown_and_nothing_beyond_it(store, curated):
    for mask in curated["mask"]:
        store.filesystem.rm(f"{store.root}/{mask.key}", recursive=True)
    found = trace(store, curated["dataset"][0].key)
    (gone,) = (node for node in found.nodes if node.is_gone)
    assert len(gone.members) == 3
    assert any("mask v1 x 3, gone from the store" in line for line in lineage_lines(found))


def test_many_kinds_of_a_stage_are_one_node_whose_settings_vary(store):
    models = [put(store, "finetune", {"base": "0"}, seed=n, steps=5) for n in range(9)]
    report = put(store, "ablation", of(*models))
    (node,) = (n for n in trace(store, report.key).nodes if n.title == "finetune v1")
    assert (node.settings["seed"], node.settings["steps"]) == (VARIES, "5")
    assert len(node.members) == 9


def test_key_may_be_shortened_while_it_is_one(store, curated):
    history = History(store)
    card = curated["card"][0].key
    assert find_key(history, card) == card
    assert find_key(history, "card") == card
    names = ", ".join(sorted(mask.key for mask in curated["mask"]))
    with pytest.raises(ValueError, match=rf"3 outputs begin with 'mask': {names}$"):
        find_key(history, "mask")
    with pytest.raises(ValueError, match=r"has no output 'shard'"):
        find_key(history, "shard")


def test_drawing_of_a_large_set_is_small_and_its_labels_stay_text(store):
    """Equal partitions are one node; hostile names end no label."""
    parts = [put(store, "mask", {"source": str(n)}, model='a"] --> <b>') for n in range(300)]
    dataset = put(store, "dataset", of(*parts) | {'x"]; click <script>': "#1"})
    found = trace(store, dataset.key)
    drawn = "\n".join(mermaid(found))
    assert "mask v1 x 300" in drawn
    assert "<script>" not in drawn
    assert drawn.count('"]') == len(found.nodes[:80])
    assert len(drawn) < 20_000
