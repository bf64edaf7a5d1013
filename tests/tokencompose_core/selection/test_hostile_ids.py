"""Ids and file names that want to be paths, in each shape of a caption set."""

import json
import re

import pytest
from PIL import Image

from data_schemas.rejections import Rejection
from tests.tokencompose_core.selection.caption_sets import read, source
from tokencompose_core.selection.digest_source import digest_source
from tokencompose_core.selection.read_vsr import read_vsr_lines
from tokencompose_core.selection.sample_key import key_of_name
from tokencompose_core.selection.select_images import (
    images_of_split,
    name_candidates,
    select_images,
)

IDS = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "a/../../b",
    "a\\..\\b",
    "C:\\Windows",
    "~root",
    "-rf",
    "$(id)",
    "`id`; rm -rf /",
    "a b\tc\nd",
    "a\u202egpj.exe",
    "x" * 5000,
    "{0..9}",
    "pipe:id",
    "a::b",
    "file:///etc/passwd",
    "<script>alert(1)</script>",
    "CON",
    "über",
    "%2e%2e%2f",
    "https://[cdn/b.jpg",
    "https://[id].example.com/a.jpg",
    "http://exam\u2100ple.com/a.jpg",
]
PATHS = ["../secret.png", "a/../../secret.png", "ROOT/../secret.png", "/etc/hostname", "./../x.png"]


@pytest.mark.parametrize("name", IDS)
def test_key_of_any_id_is_one_plain_word(name):
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}", key_of_name(name))


def test_no_two_of_them_share_a_key():
    assert len({key_of_name(name) for name in IDS}) == len(IDS)


def write_source(folder, kind, path):
    row = {"img_path": path, "caption": "A cat."}
    if kind == "json":
        (folder / "c.jsonl").write_text(json.dumps(row))
        return source("json", folder / "set", paths=[str(folder / "c.jsonl")])
    if kind == "csv":
        (folder / "c.csv").write_text(f'img_path,caption\n"{path}",A cat.\n')
        columns = {"image_column": "img_path", "caption_column": "caption"}
        return source("csv", folder / "set", paths=[str(folder / "c.csv")], **columns)
    if kind == "image_folder":
        (folder / "set/metadata.jsonl").write_text(
            json.dumps({"file_name": path, "text": "A cat."})
        )
        return source("image_folder", folder / "set")
    content = {
        "images": [{"id": 1, "file_name": path}],
        "annotations": [{"image_id": 1, "caption": "A cat."}],
    }
    (folder / "c.json").write_text(json.dumps(content))
    return source("coco_captions", folder / "set", captions_paths=[str(folder / "c.json")])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["json", "csv", "image_folder", "coco_captions"])
def test_image_outside_the_root_is_left_out(tmp_path, kind, path):
    (tmp_path / "set").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "secret.png")
    path = path.replace("ROOT", str(tmp_path / "set"))
    candidates, rejected = read(write_source(tmp_path, kind, path))
    assert candidates == []
    assert [str(rejection.reason) for rejection in rejected] == ["image-outside-root"]
    assert path in rejected[0].detail


@pytest.mark.parametrize("name", ["../1.jpg", "/etc/passwd", "a\\b.jpg", "a\0b", ""])
def test_vsr_line_whose_image_is_a_path_is_refused_by_its_number(tmp_path, name):
    line = {"image": name, "image_link": "http://x/train2017/1.jpg", "caption": "A cat."}
    (tmp_path / "v.jsonl").write_text(json.dumps({**line, "label": 1, "relation": "on"}))
    with pytest.raises(ValueError, match=r"v\.jsonl, line 1: field image"):
        list(read_vsr_lines(tmp_path / "v.jsonl"))


def test_vsr_names_become_keys_as_all_others_do(tmp_path):
    names = ["000000000001.jpg", "img.v2.jpg", "img.v3.jpg", "a b.png", "..", "n" * 300 + ".jpg"]
    line = {"image_link": "http://x/train2017/1.jpg", "caption": "A cat.", "label": 1}
    rows = [json.dumps({"image": name, "relation": "on", **line}) for name in names]
    (tmp_path / "v.jsonl").write_text("\n".join(rows))
    (tmp_path / "c.json").write_text("{}")
    (tmp_path / "train2017").mkdir()
    for name in names[:4]:
        Image.new("RGB", (40, 40)).save(tmp_path / "train2017" / name)
    assert digest_source(tmp_path / "v.jsonl", [tmp_path / "c.json"], tmp_path, "train2017")
    found = images_of_split(read_vsr_lines(tmp_path / "v.jsonl"), "train2017")
    candidates = name_candidates(found, {name: ["A cat."] for name in names}, "train2017")
    assert [candidate.key for candidate in candidates] == [key_of_name(name) for name in names]
    assert candidates[0].key == "000000000001"
    limits = {"min_side": 32, "max_pixels": 10**6, "max_ratio": 30}
    selected = list(select_images(candidates, tmp_path, **limits))
    reasons = [str(image.reason) for image in selected if isinstance(image, Rejection)]
    assert reasons == ["image-missing", "image-missing"]
