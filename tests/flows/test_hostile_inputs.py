"""The flow `curate` on sets of hostile inputs: nothing is lost, nothing crashes it."""

import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.manifest import Manifest
from data_schemas.rejections import PHRASE_REASONS, Rejection
from flows.curate import curate
from tests.hostile_inputs import CAPTION, KEPT, encoded, hostile_source, picture, write_hostile_set
from tokencompose_core.selection.sample_key import key_of_name
from tokencompose_core.shards.read_shard import GroundedSample, read_shard
from tokencompose_core.store.rejections import REJECTIONS_NAME, TooManyRejectedError
from tokencompose_core.store.tables import read_table

pytestmark = pytest.mark.usefixtures("prefect_server")


class Run:
    """What a run of `curate` left in its store."""

    def __init__(self, store_dir: Path, source: dict, partition_size: int = 16) -> None:
        curate(
            CurateConfig.load(
                caption_set="hostile",
                source=source,
                select={"partition_size": partition_size},
                max_rejected_fraction=1.0,
            )
        )
        self.manifests = [
            Manifest.model_validate_json(path.read_text())
            for path in store_dir.glob("*/manifest.json")
        ]
        self.rejections = [
            rejection
            for path in store_dir.glob(f"*/{REJECTIONS_NAME}")
            for rejection in read_table(path, Rejection)
            if rejection.reason not in PHRASE_REASONS
        ]
        self.samples: dict[str, GroundedSample] = {}
        for path in store_dir.glob("shard-*/shard.tar"):
            for sample in read_shard(path):
                assert sample.key not in self.samples
                self.samples[sample.key] = sample

    def check_that_nothing_is_lost(self) -> None:
        num_in = num_out = 0
        for stage in ("select", "rank", "parse", "mask", "shard"):
            own = [manifest for manifest in self.manifests if manifest.stage == stage]
            num_in = sum(manifest.num_in for manifest in own)
            assert stage == "select" or num_in == num_out, stage
            num_out = sum(manifest.num_out for manifest in own)
            lost = sum(
                count
                for manifest in own
                for reason, count in manifest.rejected.items()
                if reason not in PHRASE_REASONS
            )
            assert num_in == num_out + lost, stage


def test_each_hostile_input_ends_in_a_shard_or_with_its_own_reason(tmp_path, store_dir):
    cases = write_hostile_set(tmp_path / "set")
    assert len(cases) >= 60
    root = tmp_path / "set/images"
    run = Run(store_dir, hostile_source(tmp_path / "set"))
    run.check_that_nothing_is_lost()
    expected: dict[str, str] = {}
    for number, case in enumerate(cases, start=1):
        if isinstance(case.row, bytes):
            key = f"captions.jsonl, line {number}"
        else:
            key = key_of_name(case.row["img_path"].removeprefix(f"{root}/"))
        assert key not in expected
        expected[key] = case.reason
    found = {rejection.key: str(rejection.reason) for rejection in run.rejections}
    assert len(found) == len(run.rejections)
    assert found | dict.fromkeys(run.samples, KEPT) == expected
    upright = np.asarray(picture(), dtype=float)
    for key, sample in run.samples.items():
        assert sample.masks, key
        assert sample.image.size == picture().size, key
        if "grey" not in key and "sixteen" not in key:
            # Closer than JPEG's and the palette's errors, and far from any turn or other frame.
            assert np.abs(np.asarray(sample.image, dtype=float) - upright).mean() < 12, key
        for mask in sample.masks:
            assert mask.shape == upright.shape[:2]


JPEG = encoded(picture(), format="JPEG", quality=92)


def csv_source(folder: Path) -> tuple[dict, dict[str, int], int]:
    rows = [
        b"id,file,text",
        b"1,a.jpg," + CAPTION.encode(),
        b"1,b.jpg," + CAPTION.encode(),
        b"x/y,b.jpg," + CAPTION.encode(),
        b"x.y,c.jpg," + CAPTION.encode(),
        b"2,a.jpg",
        b"3,a.jpg,one,two",
        b"4,a.jpg,\xff\xfe",
        b"5,,A cat.",
        b",a.jpg,A cat.",
        b'6,a.jpg,"  "',
        b'7,a.jpg,"A cat.',
        b'8,b.jpg,"A dog."',
    ]
    (folder / "c.csv").write_bytes(b"\n".join(rows))
    source = {
        "kind": "csv",
        "paths": [str(folder / "c.csv")],
        "images_dir": str(folder),
        "id_column": "id",
        "image_column": "file",
        "caption_column": "text",
    }
    reasons = {
        "id-taken": 1,
        "row-broken": 3,
        "row-not-utf8": 1,
        "row-field-missing": 2,
        "caption-empty": 1,
    }
    return source, reasons, 3


def parquet_source(folder: Path) -> tuple[dict, dict[str, int], int]:
    rows = {
        "file": ["a.jpg", None, "b.jpg", "c.jpg", "gone.jpg", "../a.jpg"],
        "text": [[CAPTION, " "], ["A cat."], None, [], [CAPTION], [CAPTION]],
    }
    pq.write_table(pa.table(rows), folder / "c.parquet")
    source = {
        "kind": "parquet",
        "paths": [str(folder / "c.parquet")],
        "images_dir": str(folder),
        "image_column": "file",
        "caption_column": "text",
    }
    reasons = {
        "row-field-missing": 1,
        "caption-missing": 2,
        "image-missing": 1,
        "image-outside-root": 1,
    }
    return source, reasons, 1


def parquet_images_source(folder: Path) -> tuple[dict, dict[str, int], int]:
    """Images in the table itself, as Hugging Face writes them."""
    contents = [JPEG, JPEG[:200], b"", b"<html>", None, JPEG, encoded(picture())]
    images = [{"bytes": content, "path": "a.jpg"} for content in contents]
    images[4:5] = [{"bytes": None, "path": "../a.jpg"}]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = {"image": pa.array([*images, None], kind), "text": [CAPTION] * 8}
    pq.write_table(pa.table(rows), folder / "images.parquet")
    source = {
        "kind": "parquet",
        "paths": [str(folder / "images.parquet")],
        "images_dir": str(folder),
        "image_column": "image",
        "caption_column": "text",
    }
    reasons = {
        "image-unreadable": 1,
        "image-empty": 1,
        "image-unknown-format": 1,
        "image-outside-root": 1,
        "row-field-missing": 1,
    }
    return source, reasons, 2


def tar_source(folder: Path) -> tuple[dict, dict[str, int], int]:
    files = [
        ("train/0.jpg", JPEG),
        ("train/0.txt", CAPTION.encode()),
        ("train/1.txt", CAPTION.encode()),
        ("2.jpg", JPEG),
        ("3.jpg", JPEG[:200]),
        ("3.json", b'{"caption": "A cat."}'),
        ("4.png", b""),
        ("4.txt", b"A cat."),
        ("5.jpg", JPEG),
        ("5.txt", b"\xff"),
    ]
    with tarfile.open(folder / "0.tar", "w") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    source = {
        "kind": "webdataset",
        "paths": [str(folder / "0.tar")],
        "images_dir": str(folder / "images"),
    }
    reasons = {
        "row-field-missing": 1,
        "row-not-utf8": 1,
        "caption-missing": 1,
        "image-unreadable": 1,
        "image-empty": 1,
    }
    return source, reasons, 1


@pytest.mark.parametrize("write", [csv_source, parquet_source, parquet_images_source, tar_source])
def test_other_shapes_run_through_as_well(tmp_path, store_dir, write):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(JPEG)
    source, reasons, num_kept = write(tmp_path)
    run = Run(store_dir, source)
    run.check_that_nothing_is_lost()
    assert Counter(str(rejection.reason) for rejection in run.rejections) == reasons
    assert len(run.samples) == num_kept


def one_row(folder: Path, image: str, caption: str) -> dict:
    with (folder / "c.jsonl").open("a") as file:
        file.write(json.dumps({"img_path": image, "caption": caption}) + "\n")
    return {"kind": "json", "paths": [str(folder / "c.jsonl")], "images_dir": str(folder)}


@pytest.mark.parametrize(
    ("image", "caption", "stage", "reason"),
    [
        ("no.jpg", CAPTION, "select", "image-missing"),
        ("cut.jpg", CAPTION, "rank", "image-unreadable"),
        ("a.jpg", "Very nice.", "parse", "no-noun"),
    ],
)
def test_set_of_which_nothing_is_left_stops_and_says_why_whatever_the_limit(
    tmp_path, store_dir, image, caption, stage, reason
):
    (tmp_path / "a.jpg").write_bytes(JPEG)
    (tmp_path / "cut.jpg").write_bytes(JPEG[: len(JPEG) // 2])
    source = one_row(tmp_path, image, caption)
    with pytest.raises(TooManyRejectedError) as caught:
        Run(store_dir, source)
    first, example, listed, remedy = str(caught.value).split("\n")
    said = f"{stage}: 1 of 1 samples were left out (1 {reason}), so that none is left."
    assert first == said
    assert example.startswith(f"  {reason}  ")
    assert remedy == "Mend the source, or the settings of the stage"
    # What was computed stays, with why; no data set is made of nothing.
    (rejections,) = store_dir.glob(f"{stage}-*/{REJECTIONS_NAME}")
    assert [str(found.reason) for found in read_table(rejections, Rejection)] == [reason]
    assert str(rejections) in listed
    assert not list(store_dir.glob("dataset-*"))


def test_partition_of_which_no_image_can_be_decoded_passes_through(tmp_path, store_dir):
    (tmp_path / "good.jpg").write_bytes(JPEG)
    for number in range(12):
        (tmp_path / f"cut{number}.jpg").write_bytes(JPEG[: len(JPEG) // 2])
        one_row(tmp_path, f"cut{number}.jpg", CAPTION)
    run = Run(store_dir, one_row(tmp_path, "good.jpg", CAPTION), partition_size=4)
    run.check_that_nothing_is_lost()
    assert {m.num_out for m in run.manifests if m.stage == "shard"} == {0, 1}
    assert {str(rejection.reason) for rejection in run.rejections} == {"image-unreadable"}
    assert list(run.samples) == ["good"]
