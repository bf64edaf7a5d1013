"""Each shape of a caption set, with good rows and with each kind of bad one."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tokencompose_core.selection.caption_sets import found, read, reasons, source
from tests.too_many_files import too_many_files
from tokencompose_core.selection.candidates import Candidate
from tokencompose_core.selection.caption_row import Columns
from tokencompose_core.selection.read_parquet import read_parquet

GOOD = [
    {"img_path": "a.jpg", "caption": "A cat."},
    {"img_path": "b/a.jpg", "caption": ["A dog.", "Two dogs."]},
    {"img_path": "./a.jpg", "caption": "A black cat."},
]
EXPECTED = [("a.jpg", ["A cat.", "A black cat."]), ("b/a.jpg", ["A dog.", "Two dogs."])]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(GOOD),
        "\ufeff " + json.dumps(GOOD, indent=1),
        "".join(json.dumps(row) + "\n\n" for row in GOOD),
        "\ufeff" + "\r\n".join(json.dumps(row) for row in GOOD),
    ],
    ids=["list", "list-bom", "lines", "lines-bom"],
)
def test_json_comes_as_a_list_or_as_lines(tmp_path, text):
    (tmp_path / "c.json").write_text(text, "utf-8", newline="")
    candidates, rejected = read(source("json", tmp_path, paths=[str(tmp_path / "c.json")]))
    assert found(candidates) == EXPECTED
    assert not rejected


def test_ten_photographs_are_read(shared_data):
    folder = shared_data / "photos"
    if not folder.is_dir():
        pytest.skip("the photographs are not on this machine")
    candidates, rejected = read(
        source("json", folder, paths=[str(folder / "captions.jsonl")], images_dir=str(folder))
    )
    assert not rejected
    assert len(candidates) == 10
    assert {candidate.image for candidate in candidates} == {p.name for p in folder.glob("*.jpg")}
    assert all(len(candidate.captions) >= 1 for candidate in candidates)


def test_each_bad_line_has_its_reason_and_its_number(tmp_path):
    lines = [
        b'{"img_path": "a.jpg", "caption": "A cat."}',
        b'{"img_path": "b.jpg", "caption": ',
        b'{"img_path": "c.jpg"}',
        b'{"img_path": 7, "caption": "x"}',
        b'{"img_path": "d.jpg", "caption": {"en": "x"}}',
        b'{"img_path": "e.jpg", "caption": ["x", 3]}',
        b'{"img_path": "", "caption": "x"}',
        b'{"img_path": "f.jpg", "caption": "\xff"}',
        b'{"img_path": "g.jpg", "caption": "\\ud83d"}',
        b'["h.jpg", "x"]',
        b"[" * 100_000,
        b'{"img_path": "i.jpg", "caption": ' + b"9" * 5000 + b"}",
        b'{"img_path": "j.jpg", "caption": null}',
    ]
    path = tmp_path / "c.jsonl"
    path.write_bytes(b"\n".join(lines))
    candidates, rejected = read(source("json", tmp_path, paths=[str(path)]))
    assert found(candidates) == [("a.jpg", ["A cat."]), ("j.jpg", [])]
    expected = [
        ("row-broken", "line 2: not JSON"),
        ("row-field-missing", "line 3: no field 'caption'"),
        ("row-wrong-type", "line 4: field 'img_path': expected text, received int"),
        ("row-wrong-type", "line 5: field 'caption': expected text or a list"),
        ("row-wrong-type", "line 6: field 'caption[1]': expected text, received int"),
        ("row-field-missing", "line 7: field 'img_path' is empty"),
        ("row-not-utf8", "line 8: not UTF-8 at byte 34"),
        ("row-not-utf8", "line 9: '\\ud83d' is half a character"),
        ("row-wrong-type", "line 10: expected an object, received list"),
        ("row-broken", "line 11: not JSON"),
        ("row-broken", "line 12: not JSON"),
    ]
    assert len(rejected) == len(expected)
    for (reason, detail), (expected_reason, expected_detail) in zip(
        reasons(rejected), expected, strict=True
    ):
        assert reason == expected_reason
        assert detail.startswith(f"c.jsonl, {expected_detail}")
    assert len({rejection.key for rejection in rejected}) == len(rejected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"img_path": "a.jpg",\n "caption": }]', r"c\.json: not JSON .*line 2"),
        (b'[{"img_path": "\xff"}]', r"c\.json: not UTF-8 at byte 15"),
        (
            b'[{"image": "a.jpg", "caption": "A cat."}]',
            r"c\.json has no column 'img_path', but \['caption', 'image'\]",
        ),
    ],
)
def test_list_that_cannot_be_read_is_refused_whole(tmp_path, content, message):
    (tmp_path / "c.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(source("json", tmp_path, paths=[str(tmp_path / "c.json")]))


@pytest.mark.parametrize("compression", ["snappy", "zstd", "gzip", "none"])
def test_damaged_pages_of_a_parquet_file_name_it_and_the_last_row(tmp_path, compression):
    texts = [f"caption {number * 7919}" for number in range(5000)]
    table = pa.table({"file": [f"{number}.jpg" for number in range(5000)], "text": texts})
    path = tmp_path / "c.parquet"
    with pq.ParquetWriter(
        path, table.schema, compression=compression, use_dictionary=False
    ) as file:
        file.write_table(table)
        start = path.stat().st_size  # Arrow buffers nothing of a group that is written
        file.write_table(table)
    content = path.read_bytes()
    settings = {"image_column": "file", "caption_column": "text", "paths": [str(path)]}
    for place, known in ((4, r"c\.parquet: "), (start, r"c\.parquet, after row 4096: ")):
        damaged = bytearray(content)
        damaged[place : place + 60] = b"\xff" * 60
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"{known}.*; mend the file, or get it again"):
            read(source("parquet", tmp_path, **settings))


def test_machine_that_cannot_read_a_parquet_file_is_no_damage(tmp_path):
    path = tmp_path / "c.parquet"
    pq.write_table(pa.table({"file": ["a.jpg"], "text": ["A cat."]}), path)
    rows = read_parquet(path, Columns("file", "text"), tmp_path)
    with too_many_files(), pytest.raises(OSError, match="Too many open files"):
        next(rows)


def test_parquet_takes_texts_and_lists_of_texts(tmp_path):
    rows = {
        "file": ["a.jpg", "b/a.jpg", None, "d.jpg"],
        "text": [["A cat.", "A black cat."], ["A dog.", "Two dogs."], ["x"], None],
        "n": [1, 1, 1, 1],
    }
    pq.write_table(pa.table(rows), tmp_path / "c.parquet")
    settings = {"image_column": "file", "caption_column": "text", "filters": {"n": ["1"]}}
    paths = [str(tmp_path / "c.parquet")]
    candidates, rejected = read(source("parquet", tmp_path, paths=paths, **settings))
    assert found(candidates) == [*EXPECTED, ("d.jpg", [])]
    assert reasons(rejected) == [
        ("row-field-missing", "c.parquet, row 3: field 'file' is empty"),
    ]
    with pytest.raises(ValueError, match=r"no column 'img', but \['file', 'text', 'n'\]"):
        read(source("parquet", tmp_path, paths=paths, **settings | {"image_column": "img"}))
    (tmp_path / "c.parquet").write_bytes(b"PAR1 no longer")
    with pytest.raises(ValueError, match=r"c\.parquet"):
        read(source("parquet", tmp_path, paths=paths, **settings))


def test_image_folder_as_hugging_face_has_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no metadata\.jsonl"):
        read(source("image_folder", tmp_path))
    rows = [{"file_name": row["img_path"], "text": row["caption"]} for row in GOOD]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metadata.jsonl").write_text(text)
    candidates, _ = read(source("image_folder", tmp_path))
    assert found(candidates) == EXPECTED


def test_coco_captions_alone_take_all_their_images(tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": "two", "file_name": "b.jpg"}],
        "annotations": [
            {"image_id": 1, "caption": "A cat."},
            {"image_id": 1, "caption": "A black cat."},
        ],
    }
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(content))
    settings = source("coco_captions", tmp_path, captions_paths=[str(path)])
    candidates, rejected = read(settings)
    assert candidates == [
        Candidate("a", "a.jpg", ["A cat.", "A black cat."]),
        Candidate("b", "b.jpg", []),
    ]
    assert not rejected


def test_each_bad_coco_annotation_has_its_reason_and_its_place(tmp_path):
    image = {"id": 1, "file_name": "a.jpg"}
    annotations = [
        {"image_id": 1, "caption": "A cat."},
        {"image_id": 1, "caption": None},
        {"image_id": 1},
        {"image_id": [1], "caption": "A dog."},
        {"image_id": 7, "caption": "A dog."},
        {"image_id": 1, "caption": "\ud83d"},
        "A dog.",
        {"image_id": 1, "caption": "A black cat."},
    ]
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"images": [image, image], "annotations": annotations}))
    candidates, rejected = read(source("coco_captions", tmp_path, captions_paths=[str(path)]))
    assert found(candidates) == [("a.jpg", ["A cat.", "A black cat."])]
    assert reasons(rejected) == [
        (
            "row-wrong-type",
            "c.json, annotations[1]: field 'caption': expected text, received NoneType",
        ),
        ("row-field-missing", "c.json, annotations[2]: no field 'caption'"),
        (
            "row-wrong-type",
            "c.json, annotations[3]: field 'image_id': expected a number or text, received list",
        ),
        ("row-broken", "c.json, annotations[4]: belongs to image 7, which is not there"),
        ("row-not-utf8", "c.json, annotations[5]: field 'caption': '\\ud83d' is no Unicode"),
        ("row-field-missing", "c.json, annotations[6]: no field 'image_id'"),
    ]
    assert len({rejection.key for rejection in rejected}) == len(rejected)


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.json"):
        read(source("json", tmp_path, paths=[str(tmp_path / "no.json")]))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read(source("json", tmp_path, paths=["x"], images_dir=str(tmp_path / "nowhere")))
