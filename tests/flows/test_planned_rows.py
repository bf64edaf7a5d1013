"""A plan counts the rows that will go through models, and no row that will be taken over."""

import shutil

import pytest
from PIL import Image

from flows.curate import curate
from flows.plan import plan
from tests.flows.conftest import NUM_ROWS, DrawnSet, run_flow
from tests.flows.plans import STAGES, check_plan, images, only, plan_and_run
from tokencompose_core.pocket.floors.held_out import draw_held_out


@pytest.mark.parametrize("num_new", [4, 10])
def test_rows_that_only_change_places_are_not_counted(drawn: DrawnSet, num_new: int):
    """New rows among the old ones move ends of partitions, and rows to other partitions."""
    drawn.rows[17]["caption"] = [f"A photo of {drawn.rows[17]['caption'][0].lower()}"]
    del drawn.rows[30]
    drawn.spread(num_new)
    planned = plan_and_run(drawn.config())
    assert only(planned, "rank").rows == {"added": num_new, "changed": 1, "removed": 1}
    assert [images(planned)[stage] for stage in STAGES[:3]] == [num_new + 1] * 3
    assert images(planned)["shard"] > num_new + 1


def test_nouns_that_are_not_known_count_as_new_ones(drawn: DrawnSet):
    drawn.spread(2)
    planned = run_flow(plan, drawn.config(parse={"stop_nouns": ["nothing"]}))
    check_plan(planned)
    bounds = [images(planned)[stage] for stage in ("rank", "parse", "mask")]
    assert bounds == [2, NUM_ROWS + 2, NUM_ROWS + 2]


def test_replaced_images_are_counted_after_a_run_that_ranked_them(drawn: DrawnSet):
    """Nouns are taken over with what is said of the images now."""
    for number, item in enumerate(draw_held_out(3, seed=43)):
        path = drawn.folder / f"{17 + number:03d}.jpg"
        item.image.resize(Image.open(path).size).save(path, quality=92)
        drawn.rows[17 + number]["caption"] = drawn.rows[17 + number]["caption"][:1]
    config = drawn.config()
    before = {key for stage in ("parse", "mask") for key in drawn.manifests(stage)}
    run_flow(curate, config)
    for stage in ("parse", "mask"):
        for key in drawn.manifests(stage).keys() - before:
            shutil.rmtree(drawn.store_dir / key)
    planned, computed = run_flow(plan, config), run_flow(curate, config)
    assert [images(planned)[stage] for stage in STAGES[:3]] == [0, 0, 3]
    assert [computed.calls[name] for name in ("clip", "tagger", "grounding_dino")] == [0, 0, 3]


def test_what_was_left_out_is_not_counted(drawn: DrawnSet):
    drawn.rows[16]["caption"] = ["Very nice."]
    run_flow(curate, drawn.config())
    drawn.spread(2)
    planned = plan_and_run(drawn.config())
    assert [images(planned)[stage] for stage in STAGES[:3]] == [2, 2, 2]


def test_caption_that_is_not_chosen_costs_less_than_planned(drawn: DrawnSet):
    drawn.rows[17]["caption"][1] = "Some things."
    config = drawn.config()
    planned = run_flow(plan, config)
    assert only(planned, "mask").outputs == 1
    assert run_flow(curate, config).states["mask"]["Completed"] == 0
