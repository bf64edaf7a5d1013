import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from tokencompose_core.pocket.world import write_world
from tokencompose_core.selection.read_coco import read_coco_captions
from tokencompose_core.selection.read_vsr import read_vsr_lines
from tokencompose_core.selection.select_images import images_of_split
from tokencompose_core.store.keys import folder_digest
from tokencompose_core.store.open_image import open_image


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, seed=5, num_images=60, num_damaged=0)
    return folder


def test_world_is_a_function_of_its_seed(tmp_path, world):
    write_world(tmp_path / "same", seed=5, num_images=60, num_damaged=0)
    write_world(tmp_path / "other", seed=6, num_images=60, num_damaged=0)
    assert folder_digest(tmp_path / "same") == folder_digest(world)
    assert folder_digest(tmp_path / "other") != folder_digest(world)


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_cocos_own_tools_read_captions_and_masks(world, split):
    captions = COCO(world / f"annotations/captions_{split}.json")
    instances = COCO(world / f"annotations/instances_{split}.json")
    ids = captions.getImgIds()
    assert ids
    for image_id in ids:
        image = captions.loadImgs([image_id])[0]
        with Image.open(world / split / image["file_name"]) as picture:
            assert picture.format == "JPEG"
            assert picture.size == (image["width"], image["height"])
        notes = captions.loadAnns(captions.getAnnIds([image_id]))
        assert len(notes) == 5
        assert sum(note["quality"] == "wrong" for note in notes) == 1
        assert sum(note["quality"] == "vague" for note in notes) == 1
        covered = np.zeros((image["height"], image["width"]), dtype=int)
        for note in instances.loadAnns(instances.getAnnIds([image_id])):
            mask = instances.annToMask(note)
            covered += mask
            assert mask.sum() == note["area"] > 0
            x, y, width, height = (int(v) for v in note["bbox"])
            assert mask[y : y + height, x : x + width].sum() == mask.sum()
        assert covered.max() == 1, "masks are of what is visible, so they do not overlap"


def test_images_differ_in_size_and_aspect(world):
    sizes = {Image.open(path).size for path in (world / "train2017").glob("*.jpg")}
    assert len({width / height for width, height in sizes}) >= 4


def test_vsr_talks_about_some_images_of_both_splits_with_both_labels(world):
    lines = list(read_vsr_lines(world / "vsr/random_train.jsonl"))
    train = images_of_split(lines, "train2017")
    captions, rejected = read_coco_captions([world / "annotations/captions_train2017.json"])
    assert not rejected
    assert set(train) < set(captions)
    assert images_of_split(lines, "val2017")
    assert {line.label for line in lines} == {0, 1}
    assert len({line.relation for line in lines}) >= 4


def test_damaged_images_are_broken_in_four_ways(tmp_path):
    write_world(tmp_path, seed=5, num_images=60, num_damaged=4)
    notes = json.loads((tmp_path / "annotations/captions_train2017.json").read_text())
    broken = missing = 0
    for image in notes["images"]:
        path = tmp_path / "train2017" / image["file_name"]
        if not path.is_file():
            missing += 1
            continue
        try:
            open_image(path)
        except ValueError:
            broken += 1
    texts = [note["caption"] for note in notes["annotations"]]
    assert (broken, missing) == (1, 1)
    assert sum(not text.strip() for text in texts) == 5
    assert texts.count("Very nice.") == 5
