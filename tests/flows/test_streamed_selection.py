"""The stage `select`, which streams, writes what a selection with everything in memory writes."""

import json
import os
import sqlite3
import time
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.manifest import Manifest
from tasks.prepare_source import joined_path, prepare_source
from tasks.progress import Progress
from tasks.select_images import SelectSpec, select_from_source, select_partitions
from tasks.stage import run_stage
from tests.hostile_inputs import hostile_source, write_hostile_set
from tests.plain_selection import digest_plainly, entry, join_plainly
from tokencompose_core.pocket.world import write_world
from tokencompose_core.selection.caption_row import Columns
from tokencompose_core.selection.digest_source import digest_source
from tokencompose_core.selection.read_coco import read_coco_captions
from tokencompose_core.selection.read_csv import read_csv
from tokencompose_core.selection.read_json import read_json
from tokencompose_core.selection.read_vsr import read_vsr_lines
from tokencompose_core.selection.select_images import images_of_split, name_candidates

pytestmark = pytest.mark.usefixtures("prefect_server")

SPLIT = "train2017"


@flow
def select(config: CurateConfig):
    source = prepare_source(config)
    return source.digest, select_partitions(source, config)


@flow
def select_elsewhere(config: CurateConfig, added: str = ""):
    """The rows that were joined do not wait on the machine that selects."""
    source = prepare_source(config)
    joined_path(source.digest).unlink()
    if added:
        with Path(config.source.paths[0]).open("a") as stream:
            stream.write(added)
    return run_stage(select_from_source, [SelectSpec(source=source, settings=config.select)])


def config_of(source) -> CurateConfig:
    settings = {"split": SPLIT, "partition_size": 8}
    return CurateConfig.load(source=source, select=settings, max_rejected_fraction=1.0)


def found(store_dir) -> dict:
    (path,) = store_dir.glob("select-*/manifest.json")
    manifest = Manifest.model_validate_json(path.read_text())
    assert not list(store_dir.glob("unfinished/rows/*"))
    return {
        "key": manifest.key,
        "num_in": manifest.num_in,
        "num_out": manifest.num_out,
        "rejected": manifest.rejected,
        "files": {file.name: file.sha256 for file in manifest.files},
    }


def hostile_rows(folder: Path):
    write_hostile_set(folder)
    rows = list(read_json(folder / "captions.jsonl", Columns("img_path", "caption")))
    return hostile_source(folder), rows, folder / "images"


def shuffled_rows(folder: Path):
    """Rows of an image far apart, and ids that are taken again and again."""
    write_world(folder, seed=3, num_images=60, num_damaged=4)
    names = sorted(path.name for path in (folder / SPLIT).glob("*.jpg"))
    lines = ["id,file,text"]
    for number in range(6 * len(names)):
        row = number * 7 % len(names)
        name = f"{row % 45}" if number % 5 else f"own-{row}"
        lines.append(f"{name},{SPLIT}/{names[row]},A cat number {number % 11}.")
    lines += ["7,,x", "8,a,b,c"]
    (folder / "c.csv").write_text("\n".join(lines))
    source = {
        "kind": "csv",
        "paths": [str(folder / "c.csv")],
        "images_dir": str(folder),
        "id_column": "id",
        "image_column": "file",
        "caption_column": "text",
    }
    rows = list(read_csv(folder / "c.csv", Columns("file", "text", "id"), delimiter=","))
    return source, rows, folder


@pytest.mark.parametrize("write", [hostile_rows, shuffled_rows])
def test_own_source_gives_the_entry_of_the_plain_selection(tmp_path, store_dir, write):
    source, rows, images_dir = write(tmp_path / "set")
    digest, parts = select(config_of(source))
    candidates, rejected = join_plainly(rows, images_dir)
    assert len(rejected) >= 15
    assert digest == digest_plainly(candidates, rejected, images_dir)
    expected = entry(digest, candidates, rejected, images_dir, split=SPLIT, mean_size=8)
    assert found(store_dir) == expected
    assert {part.name: part.digest for part in parts}.items() <= expected["files"].items()
    assert len(parts) == len(expected["files"]) - 1 >= 3


def test_rows_that_are_gone_are_read_again(tmp_path, store_dir):
    source, rows, images_dir = shuffled_rows(tmp_path / "set")
    select_elsewhere(config_of(source))
    candidates, rejected = join_plainly(rows, images_dir)
    digest = digest_plainly(candidates, rejected, images_dir)
    expected = entry(digest, candidates, rejected, images_dir, split=SPLIT, mean_size=8)
    assert found(store_dir) == expected


def test_set_that_changed_meanwhile_is_not_stored_under_its_former_digest(tmp_path, store_dir):
    source, _, _ = shuffled_rows(tmp_path / "set")
    with pytest.raises(ValueError, match=r"have changed since the flow began; run it again"):
        select_elsewhere(config_of(source), "\n1,x.jpg,A dog.\n")
    assert not list(store_dir.glob("select-*"))


def test_pocket_world_gives_the_entry_of_the_plain_selection(tmp_path, store_dir):
    world = tmp_path / "world"
    write_world(world, seed=4, num_images=80, num_damaged=9)
    lines = [json.loads(line) for line in (world / "vsr/random_train.jsonl").open()]
    # The same name without a suffix: its key is taken.
    first = next(line for line in lines if SPLIT in line["image_link"])
    lines.append(first | {"image": Path(first["image"]).stem})
    (world / "vsr/random_train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    vsr, coco = world / "vsr/random_train.jsonl", world / f"annotations/captions_{SPLIT}.json"
    content = json.loads(coco.read_text())
    content["annotations"].append({"image_id": content["images"][0]["id"], "caption": None})
    coco.write_text(json.dumps(content))
    source = {
        "kind": "vsr_coco",
        "vsr_path": str(vsr),
        "captions_paths": [str(coco)],
        "images_dir": str(world),
    }
    digest, _ = select(config_of(source))
    assert digest == digest_source(vsr, [coco], world, SPLIT)
    names = images_of_split(read_vsr_lines(vsr), SPLIT)
    captions, rejected = read_coco_captions([coco])
    assert len(rejected) == 1
    candidates = name_candidates(names, captions, SPLIT)
    expected = entry(digest, candidates, rejected, world, split=SPLIT, mean_size=8)
    assert expected["rejected"]["id-taken"] == 1
    assert found(store_dir) == expected


def test_digests_are_remembered_beside_the_store_unless_switched_off(
    tmp_path, store_dir, monkeypatch
):
    source, _, _ = shuffled_rows(tmp_path / "set")
    monkeypatch.setenv("TOKENCOMPOSE_DIGEST_CACHE", "off")
    without = select(config_of(source))
    assert not (store_dir / "digests.sqlite").exists()
    monkeypatch.setenv("TOKENCOMPOSE_DIGEST_CACHE", "on")
    time.sleep(2.1)  # or the images would be too new to be noted
    assert select(config_of(source)) == without
    connection = sqlite3.connect(store_dir / "digests.sqlite")
    names = {os.fsdecode(name) for (name,) in connection.execute("SELECT path FROM digests")}
    connection.close()
    assert {path for path in names if path.endswith(".jpg")} == names
    assert len(names) >= 40
    monkeypatch.setenv("TOKENCOMPOSE_DIGEST_CACHE", "yes")
    with pytest.raises(ValueError, match="'yes', but it takes on or off"):
        select(config_of(source))


@flow
def read_for_a_while():
    with Progress("count rows", None, "rows") as progress:
        progress.advance(1000)
        time.sleep(3.1)
        progress.advance(5)


def test_work_of_unknown_length_says_how_much_is_done():
    read_for_a_while()
    with get_client(sync_client=True) as client:
        key = ArtifactFilterKey(any_=["progress-count-rows"])
        (artifact,) = client.read_artifacts(artifact_filter=ArtifactFilter(key=key))
    assert artifact.description == "count rows: 1005 rows"
    assert artifact.data == 100.0


def test_rows_that_a_killed_run_left_are_removed_by_a_later_one(tmp_path, store_dir):
    source, _, _ = shuffled_rows(tmp_path / "set")
    waiting = store_dir / "unfinished/rows"
    (waiting / "locked-0").mkdir(parents=True)
    (waiting / "locked-0/rows.sqlite").write_bytes(b"not locked")
    for name, age in (("0.sqlite", 25 * 3600), ("1.sqlite", 60)):
        (waiting / name).touch()
        os.utime(waiting / name, 2 * (time.time() - age,))
    select(config_of(source))
    assert [path.name for path in waiting.iterdir()] == ["1.sqlite"]
