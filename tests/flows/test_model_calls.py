"""A set that grows or changes costs model calls for its changed partitions only."""

import json

import pytest

from flows.curate import curate
from tests.flows.conftest import NUM_ROWS, Base, DrawnSet, run_flow
from tokencompose_core.pocket.floors.held_out import draw_held_out


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
def test_new_rows_cost_the_last_partition_and_new_ones(drawn: DrawnSet, num_new: int):
    """Five per cent of new rows, and so many that they fill partitions of their own.

    A partition ends where a sample's key says so. What is appended therefore extends the last
    partition, which may be cut anew, and moves no other boundary: at most the images of the last
    partition are seen again.
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
    assert run.calls == expected(len(images))
    assert run.states["mask"] == {"Cached": len(before) - 1, "Completed": len(redone)}
    assert (len(redone) > 1) == (num_new > 2)


def test_changed_caption_costs_its_partition(drawn: DrawnSet):
    before = drawn.partitions()
    drawn.rows[17]["caption"] = [f"A photo of {drawn.rows[17]['caption'][0].lower()}"]
    run = run_flow(curate, drawn.config())
    (redone,) = drawn.partitions() - before
    assert "017.jpg" in images_of(redone)
    assert run.calls == expected(len(redone))
    assert run.states["shard"] == {"Cached": len(before) - 1, "Completed": 1}


def test_changed_caption_that_is_not_chosen_is_masked_no_more(drawn: DrawnSet):
    before = drawn.partitions()
    drawn.rows[17]["caption"][1] = "Some things."
    run = run_flow(curate, drawn.config())
    (redone,) = drawn.partitions() - before
    # The table of scores changes, the caption that CLIP chooses and its nouns do not.
    assert run.calls == expected(len(redone), "clip", "tagger")
    assert run.states["mask"] == {"Cached": len(before)}
    assert run.states["dataset"] == {"Cached": 1}


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
