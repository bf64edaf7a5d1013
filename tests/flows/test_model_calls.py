"""A set that grows or changes costs model calls for its new and changed rows only."""

import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_schemas.records import GROUNDED_SCHEMA, GroundedCaption
from flows.curate import curate
from tasks.image_extractors import _clip
from tests.flows.conftest import NUM_ROWS, Base, DrawnSet, run_flow
from tokencompose_core.pocket.floors.held_out import draw_held_out
from tokencompose_core.store.tables import read_table


def expected(images: int, *models: str) -> dict[str, int]:
    return dict.fromkeys(models or ("clip", "tagger", "grounding_dino", "sam_hq"), images)


def images_of(partition: tuple[str, ...]) -> set[str]:
    return {json.loads(row)["image_path"] for row in partition}


def test_every_image_goes_through_every_model_once(base: Base):
    # SAM-HQ sees images with a box only, and each of these has one.
    assert {m.num_out for m in base.drawn.manifests("dataset").values()} == {NUM_ROWS}
    assert base.computed.calls == expected(NUM_ROWS)
    again = {image for partition in base.drawn.partitions() for image in images_of(partition)}
    assert len(again) == NUM_ROWS


def test_run_without_news_calls_no_model(drawn: DrawnSet):
    assert run_flow(curate, drawn.config()).calls == {}


@pytest.mark.parametrize("num_new", [2, 14])
def test_appended_rows_cost_themselves_and_change_the_last_partition(drawn: DrawnSet, num_new: int):
    """Five per cent of new rows, and so many that they fill partitions of their own.

    A partition ends where a sample's key says so. What is appended therefore extends the last
    partition, which may be cut anew, and moves no other boundary.
    """
    before = drawn.partitions()
    (last,) = (p for p in before if images_of(p) & {f"{NUM_ROWS - 1:03d}.jpg"})
    for number, item in enumerate(draw_held_out(num_new, seed=42), start=NUM_ROWS):
        drawn.add(number, item)
    run = run_flow(curate, drawn.config())
    redone = drawn.partitions() - before
    images = {image for partition in redone for image in images_of(partition)}
    new = {f"{NUM_ROWS + number:03d}.jpg" for number in range(num_new)}
    assert new <= images <= new | images_of(last)
    assert len(before) > 2
    assert run.calls == expected(num_new)
    assert run.states["mask"] == {"Cached": len(before) - 1, "Completed": len(redone)}
    assert (len(redone) > 1) == (num_new > 2)


@pytest.mark.parametrize("num_new", [2, 10])
def test_rows_among_the_old_ones_cost_themselves(drawn: DrawnSet, num_new: int):
    """Five per cent of new rows, and so many that every partition changes and some are cut anew."""
    before = drawn.partitions()
    ranked = set(drawn.manifests("rank"))
    drawn.spread(num_new)
    run = run_flow(curate, drawn.config())
    redone = drawn.partitions() - before
    assert run.calls == expected(num_new)
    assert num_new < sum(map(len, redone))
    assert num_new == 2 or len(redone) >= len(before)
    made = [m for key, m in drawn.manifests("rank").items() if key not in ranked]
    taken = [manifest.facts.get("rows_taken_over", 0) for manifest in made]
    assert sum(taken) == sum(map(len, redone)) - num_new
    sources = {key for m in made for key in m.facts.get("taken_over_from", {})}
    assert sources <= ranked
    assert not any(sources & manifest.inputs.keys() for manifest in made)
    # What grows once more finds its rows in outputs that took them over.
    drawn.spread(1, "b", seed=44)
    assert run_flow(curate, drawn.config()).calls == expected(1)


def test_changed_caption_costs_itself(drawn: DrawnSet):
    before = drawn.partitions()
    drawn.rows[17]["caption"] = [f"A photo of {drawn.rows[17]['caption'][0].lower()}"]
    run = run_flow(curate, drawn.config())
    (redone,) = drawn.partitions() - before
    assert "017.jpg" in images_of(redone)
    assert run.calls == expected(1)
    assert run.states["shard"] == {"Cached": len(before) - 1, "Completed": 1}


def test_changed_image_costs_no_nouns(drawn: DrawnSet):
    (item,) = draw_held_out(1, seed=42)
    item.image.save(drawn.folder / "017.jpg")
    drawn.rows[17]["caption"] = drawn.rows[17]["caption"][:1]
    first = run_flow(curate, drawn.config())
    assert first.calls["clip"] == 1
    assert first.calls["grounding_dino"] == 1
    assert first.calls["tagger"] == 0


def test_changed_caption_that_is_not_chosen_is_ranked_alone(drawn: DrawnSet):
    before = drawn.partitions()
    drawn.rows[17]["caption"][1] = "Some things."
    run = run_flow(curate, drawn.config())
    assert len(drawn.partitions() - before) == 1
    # The table of scores changes, the caption that CLIP chooses and its nouns do not.
    assert run.calls == expected(1, "clip")
    assert run.states["mask"] == {"Cached": len(before)}
    assert run.states["dataset"] == {"Cached": 1}


def test_removed_row_loads_no_model(drawn: DrawnSet):
    del drawn.rows[17]
    _clip.cache_clear()
    run = run_flow(curate, drawn.config())
    assert run.states["rank"]["Completed"] > 0
    assert (run.calls, run.built) == ({}, 0)


def test_images_that_moved_load_no_model(drawn: DrawnSet):
    """Samples are called by their paths, so each has another key."""
    (drawn.folder / "train").mkdir()
    for row in drawn.rows:
        moved = f"train/{row['img_path']}"
        (drawn.folder / row["img_path"]).rename(drawn.folder / moved)
        row["img_path"] = moved
    _clip.cache_clear()
    run = run_flow(curate, drawn.config())
    assert run.states["mask"]["Completed"] > 0
    assert (run.calls, run.built) == ({}, 0)
    assert run.known == dict.fromkeys(("rank", "parse", "mask"), NUM_ROWS)
    assert run_flow(curate, drawn.config()).known == {}  # nor is it said of what is cached
    tables = [
        read_table(drawn.store_dir / key / "grounded.parquet", GroundedCaption)
        for key, manifest in drawn.manifests("mask").items()
        if manifest.facts.get("rows_taken_over")
    ]
    rows = [row for table in tables for row in table]
    assert len(rows) == NUM_ROWS
    assert all(row.image_path.startswith("train/") for row in rows)


def test_what_was_left_out_is_not_asked_again(drawn: DrawnSet):
    """A caption without nouns, and one of which nothing is in the image."""
    drawn.rows[16]["caption"] = ["Very nice."]
    drawn.rows[18]["caption"] = ["A zeppelin."]
    config = drawn.config(mask={"box_threshold": 0.5, "text_threshold": 0.5})
    first = run_flow(curate, config)
    assert first.calls["tagger"] == 2
    made = drawn.manifests("mask")
    reasons = sum((Counter(m.rejected) for m in made.values()), Counter())
    assert reasons["no-box"] > 0
    del drawn.rows[17]
    run = run_flow(curate, drawn.config(mask={"box_threshold": 0.5, "text_threshold": 0.5}))
    assert run.states["mask"]["Completed"] > 0
    assert run.calls == {}


@pytest.mark.parametrize("damage", ["gone", "cut", "another digit"])
def test_damaged_output_is_not_taken_from(drawn: DrawnSet, damage: str):
    before = drawn.partitions()
    (path,) = (
        path
        for path in drawn.store_dir.glob("mask-*/grounded.parquet")
        if "017.jpg" in {row.image_path for row in read_table(path, GroundedCaption)}
    )
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:-100])
    else:
        rows = pq.read_table(path).to_pylist()
        for phrase in (phrase for row in rows for phrase in row["phrases"]):
            phrase["scores"] = [score / 2 for score in phrase["scores"]]
        pq.write_table(pa.Table.from_pylist(rows, schema=GROUNDED_SCHEMA), path)
    drawn.rows[17]["caption"] = [f"A photo of {drawn.rows[17]['caption'][0].lower()}"]
    run = run_flow(curate, drawn.config())
    (redone,) = drawn.partitions() - before
    assert (run.calls["clip"], run.calls["tagger"]) == (1, 1)
    assert run.calls["grounding_dino"] == run.calls["sam_hq"] == len(redone) > 1


def test_changed_threshold_costs_masks_and_neither_captions_nor_nouns(drawn: DrawnSet):
    before = drawn.manifests("mask")
    run = run_flow(curate, drawn.config(mask={"box_threshold": 0.4}))
    assert run.calls == expected(NUM_ROWS, "grounding_dino", "sam_hq")
    for stage in ("rank", "parse"):
        assert run.states[stage] == {"Cached": len(before)}
    assert run.states["mask"] == {"Completed": len(before)}
    # A partition that gets the same masks nevertheless keeps its shard.
    old = {manifest.file("grounded.parquet").sha256 for manifest in before.values()}
    redone = [m for key, m in drawn.manifests("mask").items() if key not in before]
    changed = [m for m in redone if m.file("grounded.parquet").sha256 not in old]
    assert run.states["shard"]["Completed"] == len(changed) > 0


def test_changed_batch_size_costs_nothing(drawn: DrawnSet):
    changes = {name: {"batch_size": 3} for name in ("rank", "parse", "mask")}
    assert run_flow(curate, drawn.config(**changes)).calls == {}
