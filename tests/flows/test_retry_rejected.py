"""What a passing fault left out comes back, and nothing else is computed again."""

import json
from pathlib import Path

import pytest
from prefect import flow

from data_schemas.configs.curate_config import CurateConfig
from flows.__main__ import main
from flows.curate import curate, ground
from flows.retry_rejected import retry_rejected
from tasks.prepare_source import prepare_source
from tasks.retry_rejected import RetriedSet, retry_line
from tasks.select_images import select_partitions
from tests.flows.conftest import Base, DrawnSet, run_flow
from tokencompose_core.pocket.floors.held_out import draw_held_out
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.removal import remove_entries


def counts(result: RetriedSet) -> dict[str, tuple[int, int, int, int]]:
    return {r.reason: (r.before, r.tried, r.mended, r.still) for r in result.reasons}


def run_with_a_fault(config: CurateConfig, image: Path) -> None:
    """Run `curate` on a disk that gives half of an image while captions are ranked."""
    content = image.read_bytes()

    @flow
    def curate_with_a_fault() -> None:
        source = prepare_source(config)
        selected = select_partitions(source, config)
        image.write_bytes(content[: len(content) // 2])
        ground(source, selected, config)

    try:
        curate_with_a_fault()
    finally:
        image.write_bytes(content)


def forget_rank_of(drawn: DrawnSet, image: str) -> None:
    from data_schemas.records import RankedImage
    from tokencompose_core.store.tables import read_table

    store = Store(str(drawn.store_dir))
    for key in drawn.manifests("rank"):
        rows = read_table(drawn.store_dir / key / "ranked.parquet", RankedImage)
        if image in [row.image_path for row in rows]:
            remove_entries(store, [key])


def test_image_that_was_read_in_part_comes_back_by_a_retry_only(base: Base, drawn: DrawnSet):
    config = drawn.config()
    forget_rank_of(drawn, "005.jpg")
    run_with_a_fault(config, drawn.folder / "005.jpg")
    stuck = run_flow(curate, config)
    assert stuck.states["rank"]["Completed"] == 0
    assert stuck.result.dataset != base.computed.result.dataset

    mended = run_flow(retry_rejected, config)
    assert mended.result.dataset == base.computed.result.dataset
    assert counts(mended.result)["image-unreadable"] == (1, 1, 1, 0)
    assert mended.states["rank"]["Completed"] == 1
    assert mended.states["mask"]["Completed"] == mended.states["parse"]["Completed"] == 0
    assert mended.result.made_again == 1

    again = run_flow(retry_rejected, config)
    assert again.result.made_again == 0
    assert "image-unreadable" not in counts(again.result)
    assert sum(s["Completed"] for s in again.states.values()) == 0


def test_url_that_answers_now_is_mended_and_what_models_decide_is_not(
    drawn: DrawnSet, capsys: pytest.CaptureFixture
):
    item = draw_held_out(1, seed=77)[0]
    place = drawn.folder / "elsewhere.jpg"
    drawn.rows.append({"img_path": place.as_uri(), "caption": [item.sentence.text]})
    drawn.rows.append({"img_path": "never.jpg", "caption": ["A cat."]})
    config = drawn.config()
    limits = {"url_schemes": ["file"], "num_retries": 0}
    source = config.source.model_dump() | {"image_limits": limits}
    config = CurateConfig.model_validate(config.model_dump() | {"source": source})
    lost = run_flow(curate, config)
    assert lost.states["select"]["Completed"] == 1
    item.image.save(place, quality=92)

    assert main(["retry-rejected", "--config", json.dumps(config.model_dump(mode="json"))]) == 0
    printed = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line.strip()}
    assert rows["image-not-fetched"][:4] == ["1", "1", "1", "0"]
    assert rows["image-missing"][:4] == ["1", "1", "0", "1"]
    before, tried, mended, still = rows["phrase-without-box"][:4]
    assert (tried, mended) == ("0", "0")
    assert before == still


def test_what_another_setting_decides_is_not_called_mended_by_a_retry(base: Base, drawn: DrawnSet):
    strict = run_flow(curate, drawn.config(mask={"box_threshold": 0.6}))
    retried = run_flow(retry_rejected, drawn.config()).result
    assert counts(retried)["phrase-without-box"][2] > 0
    assert retried.compared_with == strict.result.dataset
    assert retried.settings == ["mask.box_threshold 0.6 -> 0.25"]
    assert (
        f"Before is {strict.result.dataset}, which was made with other settings,"
        " mask.box_threshold 0.6 -> 0.25: what these decide was not mended by a retry"
    ) in retry_line(retried)
    same = run_flow(retry_rejected, drawn.config(mask={"box_threshold": 0.6})).result
    assert (same.compared_with, same.settings) == (strict.result.dataset, [])
    assert retry_line(same).endswith(": 0")
