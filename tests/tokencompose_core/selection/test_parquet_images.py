"""Parquet files with the images in them."""

import hashlib
import io
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.tokencompose_core.selection.caption_sets import read, reasons, source


def image_bytes(colour):
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(stream, format="PNG")
    return stream.getvalue()


RED, BLUE = image_bytes("red"), image_bytes("blue")
BYTES = pa.binary(), [RED, BLUE, None, b"", RED]
LARGE = pa.large_binary(), BYTES[1]
# As Hugging Face writes a column of images.
STRUCTS = (
    pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    [
        {"bytes": RED, "path": "red.png"},
        {"bytes": BLUE, "path": None},
        None,
        {"bytes": b"", "path": None},
        {"bytes": RED, "path": "again.png"},
    ],
)
CAPTIONS = ["Red.", "Blue.", "None.", "Empty.", ["Red again.", "Red."]]


def parquet_source(folder, images, **settings):
    table = pa.table(
        {
            "image": images,
            "text": pa.array([[text] if isinstance(text, str) else text for text in CAPTIONS]),
            "lang": ["en", "fr", "en", "en", "en"],
        }
    )
    pq.write_table(table, folder / "c.parquet", row_group_size=2)
    return source(
        "parquet",
        folder,
        paths=[str(folder / "c.parquet")],
        image_column="image",
        caption_column="text",
        **settings,
    )


@pytest.mark.parametrize(("kind", "images"), [BYTES, LARGE, STRUCTS], ids=["bytes", "large", "hf"])
def test_images_are_unpacked_once_and_rows_of_one_image_joined(tmp_path, kind, images):
    settings = parquet_source(tmp_path, pa.array(images, kind))
    candidates, rejected = read(settings)
    contents = [(tmp_path / candidate.image).read_bytes() for candidate in candidates]
    assert contents == [RED, BLUE, b""]
    assert candidates[0].image == f"unpacked/{hashlib.sha256(RED).hexdigest()}"
    assert [c.captions for c in candidates] == [["Red.", "Red again."], ["Blue."], ["Empty."]]
    assert len({candidate.key for candidate in candidates}) == 3
    assert reasons(rejected) == [
        ("row-field-missing", "c.parquet, row 3: field 'image' is empty"),
    ]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("unpacked/*")}
    assert read(settings) == (candidates, rejected)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("unpacked/*")} == before


def test_an_image_that_lost_its_bytes_is_unpacked_again(tmp_path):
    settings = parquet_source(tmp_path, pa.array(BYTES[1], BYTES[0]))
    (candidate, *_), _ = read(settings)
    whole = (tmp_path / candidate.image).read_bytes()
    (tmp_path / candidate.image).write_bytes(b"")
    read(settings)
    assert (tmp_path / candidate.image).read_bytes() == whole
    assert not list(tmp_path.rglob("*.part"))


def test_path_counts_where_there_are_no_bytes(tmp_path):
    kind, images = STRUCTS
    images = [{"bytes": None, "path": "a.png"}, {"bytes": None, "path": "../b.png"}, *images[2:]]
    candidates, rejected = read(parquet_source(tmp_path, pa.array(images, kind)))
    assert candidates[0].image == "a.png"
    assert "image-outside-root" in {reason for reason, _ in reasons(rejected)}


def test_only_images_of_rows_that_are_taken_are_unpacked(tmp_path):
    settings = parquet_source(tmp_path, pa.array(BYTES[1], BYTES[0]), filters={"lang": ["fr"]})
    (candidate,), _ = read(settings)
    assert [path.name for path in tmp_path.rglob("unpacked/*")] == [
        candidate.image.removeprefix("unpacked/")
    ]


def test_row_group_larger_than_memory_shall_be_is_read_in_pieces(tmp_path):
    """300 MB of images in one row group, read by a process that grows by much less."""
    table = pa.table(
        {
            "image": pa.array([np.random.default_rng(n).bytes(1_000_000) for n in range(100)]),
            "text": [f"Noise {n}." for n in range(100)],
        }
    )
    schema = table.schema
    # Pages, which are read whole, end where rows are counted: after so many.
    options = {"use_dictionary": False, "write_batch_size": 8}
    with pq.ParquetWriter(tmp_path / "c.parquet", schema, **options) as writer:
        writer.write_table(pa.concat_tables([table] * 3), row_group_size=300)
    assert pq.ParquetFile(tmp_path / "c.parquet").num_row_groups == 1
    code = rf"""
import re
from pathlib import Path
from tokencompose_core.selection.caption_row import Columns
from tokencompose_core.selection.read_parquet import read_parquet
folder = Path({str(tmp_path)!r})
def peak():
    # Not `ru_maxrss`, which begins with that of the process that started this one.
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before = peak()
rows = read_parquet(folder / "c.parquet", Columns("image", "text"), folder)
assert len({{row.image for row in rows}}) == 100
print(peak() - before)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(ran.stdout) < 200
