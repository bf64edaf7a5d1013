import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_schemas.records import SelectedImage
from data_schemas.rejections import Rejection, RejectionReason
from tokencompose_core.selection.digest_source import digest_source
from tokencompose_core.selection.partition import cut_partitions
from tokencompose_core.selection.read_coco import read_coco_captions
from tokencompose_core.selection.read_vsr import read_vsr_lines
from tokencompose_core.selection.select_images import (
    images_of_split,
    name_candidates,
    select_images,
)
from tokencompose_core.store.open_image import open_image

LINE = {
    "image": "000000000001.jpg",
    "image_link": "http://images.cocodataset.org/train2017/000000000001.jpg",
    "caption": "The cat is left of the boat.",
    "label": 0,
    "relation": "left of",
}


def write_vsr(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_real_vsr_file_gives_the_images_of_the_release(shared_data):
    names = images_of_split(read_vsr_lines(shared_data / "vsr/random_train.jsonl"), "train2017")
    assert len(names) == 4758
    rows = (shared_data / "tokencompose/metadata_part.jsonl").read_text().splitlines()
    released = {json.loads(row)["file_name"] for row in rows}
    assert released <= set(names)


def test_false_statements_select_images_too_and_other_splits_do_not(tmp_path):
    other = LINE | {"image": "2.jpg", "image_link": "http://x/val2017/2.jpg", "label": 1}
    lines = list(read_vsr_lines(write_vsr(tmp_path / "vsr.jsonl", [LINE, other, LINE])))
    assert images_of_split(lines, "train2017") == ["000000000001.jpg"]
    assert images_of_split(lines, "val2017") == ["2.jpg"]


def test_labels_and_relations_choose_images(tmp_path):
    true = LINE | {"image": "2.jpg", "label": 1, "relation": "above"}
    lines = list(read_vsr_lines(write_vsr(tmp_path / "vsr.jsonl", [LINE, true])))
    assert images_of_split(lines, "train2017", labels=(1,)) == ["2.jpg"]
    assert images_of_split(lines, "train2017", relations=("left of",)) == ["000000000001.jpg"]
    assert images_of_split(lines, "train2017", (1,), ("left of",)) == []


@pytest.mark.parametrize(
    "name", ["../../x_val2014_1.jpg", "COCO_../../etc2014_1.jpg", "COCO_val2014_/etc/1.jpg"]
)
def test_coco_2014_names_are_no_paths(name):
    (found,) = name_candidates(["1.jpg"], {name: ["A cat."]}, "train2017", 2014)
    assert found.image == "train2017/1.jpg"


def test_coco_2014_has_the_images_in_other_folders(tmp_path):
    captions = {
        "COCO_val2014_000000000001.jpg": ["A cat."],
        "COCO_train2014_000000000002.jpg": ["A dog."],
    }
    names = ["000000000001.jpg", "000000000002.jpg", "000000000003.jpg"]
    found = name_candidates(names, captions, "train2017", 2014)
    assert [(c.key, c.image, c.captions) for c in found] == [
        ("000000000001", "val2014/COCO_val2014_000000000001.jpg", ["A cat."]),
        ("000000000002", "train2014/COCO_train2014_000000000002.jpg", ["A dog."]),
        ("000000000003", "train2017/000000000003.jpg", []),
    ]
    write_vsr(tmp_path / "vsr.jsonl", [LINE])
    content = {"images": [{"id": 1, "file_name": "COCO_val2014_000000000001.jpg"}]}
    (tmp_path / "captions.json").write_text(json.dumps(content | {"annotations": []}))
    digests = []
    for colour in ("red", "blue"):
        (tmp_path / "val2014").mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), colour).save(tmp_path / found[0].image)
        paths = tmp_path / "vsr.jsonl", [tmp_path / "captions.json"], tmp_path
        digests.append(digest_source(*paths, "train2017", coco_year=2014))
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"image": ', r"line 2: not JSON"),
        ('{"image": "a.jpg"}', r"line 2: field image_link: Field required"),
        (json.dumps(LINE | {"label": "yes"}), r"line 2: field label"),
        (json.dumps(LINE | {"image": "../../1.jpg"}), r"line 2: field image: .* match pattern"),
        (json.dumps(LINE | {"image_link": "http://[x/a.jpg"}), "line 2: field image_link: .*IPv6"),
    ],
)
def test_bad_vsr_line_is_named(tmp_path, text, message):
    path = tmp_path / "vsr.jsonl"
    path.write_text(json.dumps(LINE) + "\n" + text + "\n")
    with pytest.raises(ValueError, match=message):
        list(read_vsr_lines(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, "needs? a list under 'annotations'"),
        ({"images": [{"id": 1}], "annotations": []}, r"images\[0\]: no field 'file_name'"),
        (
            {
                "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}],
                "annotations": [{"image_id": 1, "caption": "A cat."}],
            },
            r"captions\.json: images\[1\]: id 1 is that of 'a\.jpg' and of 'b\.jpg'",
        ),
    ],
)
def test_bad_coco_file_is_named(tmp_path, content, message):
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_coco_captions([path])


def test_each_lost_image_has_its_reason(tmp_path):
    (tmp_path / "train2017").mkdir()
    for name in ("good.jpg", "blank.jpg", "bare.jpg"):
        Image.new("RGB", (4, 4)).save(tmp_path / "train2017" / name)
    captions = {
        "good.jpg": ["A cat.", "  ", "A dog."],
        "blank.jpg": ["  ", ""],
        "bare.jpg": [],
        "gone.jpg": ["A cat."],
    }
    names = ["good.jpg", "blank.jpg", "bare.jpg", "gone.jpg", "unknown.jpg"]
    candidates = name_candidates(names, captions, "train2017")
    found = list(select_images(candidates, tmp_path, min_side=4, max_pixels=10**6, max_ratio=30))
    selected = [image for image in found if isinstance(image, SelectedImage)]
    rejected = [image for image in found if isinstance(image, Rejection)]
    assert len(selected) + len(rejected) == len(names)
    assert [image.key for image in selected] == ["good"]
    assert selected[0].captions == ["A cat.", "A dog."]
    assert {r.key: r.reason for r in rejected} == {
        "blank": RejectionReason.CAPTION_EMPTY,
        "bare": RejectionReason.CAPTION_MISSING,
        "gone": RejectionReason.IMAGE_MISSING,
        "unknown": RejectionReason.CAPTION_MISSING,
    }


def test_source_digest_sees_content_and_not_place(tmp_path):
    def make(root):
        (root / "train2017").mkdir(parents=True)
        write_vsr(root / "vsr.jsonl", [LINE])
        (root / "captions.json").write_text("{}")
        Image.new("RGB", (4, 4)).save(root / "train2017" / LINE["image"])
        return root

    def digest(root):
        return digest_source(root / "vsr.jsonl", [root / "captions.json"], root, "train2017")

    first, second = make(tmp_path / "a"), make(tmp_path / "b")
    assert digest(first) == digest(second)
    Image.new("RGB", (4, 4), "red").save(second / "train2017" / LINE["image"])
    changed = digest(second)
    (second / "train2017" / LINE["image"]).unlink()
    assert len({digest(first), changed, digest(second)}) == 3
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json"):
        digest_source(first / "vsr.jsonl", [first / "nowhere.json"], first, "train2017")


@pytest.mark.parametrize("content", [b"", b"not an image", "half"])
def test_broken_image_is_refused_by_name(tmp_path, content):
    path = tmp_path / "x.jpg"
    if content == "half":
        Image.effect_noise((64, 64), 50).save(path)
        content = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.jpg"):
        open_image(path)


KEYS = st.lists(st.integers(0, 10**6).map(lambda n: f"{n:012d}"), unique=True, max_size=300)


@given(KEYS, st.integers(4, 40))
def test_partitions_cover_everything_in_order_and_keep_their_size(keys, mean_size):
    parts = list(cut_partitions(keys, mean_size, str))
    assert [key for part in parts for key in part] == keys
    assert all(mean_size // 2 <= len(part) <= 2 * mean_size for part in parts[:-1])


@given(KEYS, KEYS, st.integers(4, 40))
def test_growing_set_keeps_all_partitions_but_the_last(keys, more, mean_size):
    grown = keys + [key for key in more if key not in set(keys)]
    before = list(cut_partitions(keys, mean_size, str))
    after = list(cut_partitions(grown, mean_size, str))
    assert after[: len(before[:-1])] == before[:-1]


def test_one_removed_sample_changes_few_partitions():
    keys = [f"{n:012d}" for n in range(2000)]
    before = set(map(tuple, cut_partitions(keys, 32, str)))
    fewer = keys[:1000] + keys[1001:]
    after = set(map(tuple, cut_partitions(fewer, 32, str)))
    assert len(before - after) <= 4


def test_digest_of_a_source_changes_with_every_file_that_it_reads(tmp_path):
    vsr, captions = tmp_path / "vsr.jsonl", tmp_path / "captions.json"
    image = tmp_path / "train2017" / LINE["image"]
    image.parent.mkdir()
    coco = {
        "images": [{"id": 1, "file_name": LINE["image"]}],
        "annotations": [{"image_id": 1, "caption": "A cat."}],
    }

    def digest(colour="red", caption="A cat.", line=LINE):
        Image.new("RGB", (40, 40), colour).save(image)
        captions.write_text(
            json.dumps(coco | {"annotations": [{"image_id": 1, "caption": caption}]})
        )
        write_vsr(vsr, [line])
        return digest_source(vsr, [captions], tmp_path, "train2017")

    plain = digest()
    others = [
        digest(colour="blue"),
        digest(caption="A cat and a boat."),
        digest(line=LINE | {"caption": "The boat is left of the cat."}),
    ]
    assert len({plain, *others}) == 4
    assert digest() == plain
