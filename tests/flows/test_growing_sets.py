"""A caption set that grows or changes keeps the partitions that did not."""

import json
from pathlib import Path

import pytest
from PIL import Image
from prefect import flow

from data_schemas.configs.curate_config import CurateConfig
from tasks.prepare_source import prepare_source
from tasks.select_images import select_partitions

pytestmark = pytest.mark.usefixtures("prefect_server")


@flow
def select(config: CurateConfig) -> list[str]:
    return [part.digest for part in select_partitions(prepare_source(config), config)]


def partitions(folder: Path, rows: list[dict], name: str = "c.jsonl", **source) -> list[str]:
    text = "\n".join(map(json.dumps, rows)) if name.endswith("l") else json.dumps(rows)
    (folder / name).write_text(text)
    source = {"kind": "json", "paths": [str(folder / name)], "images_dir": str(folder), **source}
    return select(CurateConfig.load(source=source, select={"partition_size": 8}))


def test_only_what_changed_has_another_digest(tmp_path, store_dir):
    rows = []
    for number in range(63):
        # Stems repeat, so that keys must not depend on which others there are.
        name = f"{number % 3}/{number // 3}.png"
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), (number, 0, 0)).save(tmp_path / name)
        rows.append({"img_path": name, "caption": f"A cat number {number}."})
    before = partitions(tmp_path, rows[:60])
    assert len(before) >= 4
    # Another shape and another place, with the same rows.
    assert partitions(tmp_path, rows[:60], "c.json") == before
    grown = partitions(tmp_path, rows)
    assert grown[: len(before) - 1] == before[:-1]
    assert grown != before
    rows[20] = rows[20] | {"caption": "A dog."}
    changed = partitions(tmp_path, rows)
    assert len(changed) == len(grown)
    assert sum(a != b for a, b in zip(changed, grown, strict=True)) == 1


def test_limits_of_images_decide_what_is_selected(tmp_path, store_dir):
    rows = []
    for width, height in ((32, 32), (64, 64), (128, 128), (32, 62)):
        Image.new("RGB", (width, height)).save(tmp_path / f"{width}-{height}.png")
        rows.append({"img_path": f"{width}-{height}.png", "caption": "A cat."})
    relaxed = {"max_rejected_fraction": 1.0, "select": {"partition_size": 8}}
    found = set()
    decisive = ({"min_side": 64}, {"max_pixels": 64 * 64}, {"max_ratio": 1})
    for limits in ({}, *decisive, {"timeout_seconds": 1.0}):
        (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)))
        source = {
            "kind": "json",
            "paths": [str(tmp_path / "c.jsonl")],
            "images_dir": str(tmp_path),
            "image_limits": limits,
        }
        found.add(tuple(select(CurateConfig.load(source=source, **relaxed))))
    # The time for a URL decides nothing here.
    assert len(found) == 4
    assert len(list(store_dir.glob("select-*"))) == 4
