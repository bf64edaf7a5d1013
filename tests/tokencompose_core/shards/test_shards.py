import io
import json

import numpy as np
import pytest
import webdataset
from PIL import Image

from data_schemas.records import GroundedCaption, GroundedPhrase, IndexedCaption
from tokencompose_core.shards.read_shard import read_members, read_shard
from tokencompose_core.shards.write_shard import INDEX_NAME, SHARD_NAME, index_row, write_shard
from tokencompose_core.store.keys import file_digest
from tokencompose_core.store.run_lengths import encode_mask
from tokencompose_core.store.tables import read_table

MASK = np.zeros((12, 16), dtype=bool)
MASK[3:9, 2:7] = True


@pytest.fixture
def samples(tmp_path):
    (tmp_path / "images/train2017").mkdir(parents=True)
    result = []
    for number in range(3):
        path = tmp_path / f"images/train2017/{number:012d}.jpg"
        Image.effect_noise((16, 12), 40 + number).save(path)
        result.append(
            GroundedCaption(
                key=f"{number:012d}",
                image_path=f"train2017/{number:012d}.jpg",
                image_sha256=file_digest(path),
                width=16,
                height=12,
                caption="A café cat 😀",
                phrases=[
                    GroundedPhrase(
                        text="café", start=2, end=6, boxes=[], scores=[], mask_counts=""
                    ),
                    GroundedPhrase(
                        text="cat",
                        start=7,
                        end=10,
                        boxes=[[2, 3, 7, 9]],
                        scores=[0.5],
                        mask_counts=encode_mask(MASK),
                    ),
                ],
            )
        )
    return result


def test_equal_samples_give_equal_bytes(tmp_path, samples):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_shard(tmp_path / name, samples, tmp_path / "images")
    for name in (SHARD_NAME, INDEX_NAME):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_samples_come_back_with_their_grounded_phrases(tmp_path, samples):
    write_shard(tmp_path, samples, tmp_path / "images")
    again = list(read_shard(tmp_path / SHARD_NAME))
    assert [sample.key for sample in again] == [sample.key for sample in samples]
    assert again[0].caption == "A café cat 😀"
    assert again[0].spans == [(7, 10)]
    assert np.array_equal(again[0].masks[0], MASK)
    assert again[0].image.size == (16, 12)


def test_index_holds_the_samples_and_what_one_may_ask_for(tmp_path, samples):
    write_shard(tmp_path, samples, tmp_path / "images")
    rows = read_table(tmp_path / INDEX_NAME, IndexedCaption)
    for row, sample in zip(rows, samples, strict=True):
        kept = row.model_dump(exclude={"image", "phrases"})
        assert kept == sample.model_dump(exclude={"phrases"})
        for phrase, written in zip(row.phrases, sample.phrases, strict=True):
            computed = {"score", "mask", "mask_area", "mask_share"}
            assert phrase.model_dump(exclude=computed) == written.model_dump()
    bare, grounded = rows[0].phrases
    assert (bare.score, bare.mask, bare.mask_area, bare.mask_share) == (None, None, None, None)
    assert (grounded.score, grounded.mask_area) == (0.5, MASK.sum())
    assert grounded.mask_share == MASK.mean()
    names = [f"{rows[0].key}.{name}" for name in (rows[0].image, grounded.mask)]
    members = read_members(tmp_path / SHARD_NAME, names)
    assert members[names[0]] == (tmp_path / "images" / samples[0].image_path).read_bytes()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(members[names[1]]))), MASK)


def test_score_of_a_phrase_is_that_of_its_best_box(samples):
    bare, cat = samples[0].phrases
    two = cat.model_copy(update={"boxes": [[2, 3, 7, 9]] * 3, "scores": [0.4, 0.9, 0.3]})
    row = index_row(samples[0].model_copy(update={"phrases": [bare, two]}), "jpg")
    assert [phrase.score for phrase in row.phrases] == [None, 0.9]


def test_phrase_with_a_mask_and_no_score_is_indexed(tmp_path, samples):
    bare, cat = samples[0].phrases
    unscored = cat.model_copy(update={"boxes": [], "scores": []})
    sample = samples[0].model_copy(update={"phrases": [bare, unscored]})
    write_shard(tmp_path, [sample], tmp_path / "images")
    phrase = read_table(tmp_path / INDEX_NAME, IndexedCaption)[0].phrases[1]
    assert (phrase.score, phrase.mask, phrase.mask_area) == (None, "1.png", MASK.sum())


def test_shard_may_be_empty(tmp_path):
    write_shard(tmp_path, [], tmp_path)
    assert list(read_shard(tmp_path / SHARD_NAME)) == []


def test_plain_webdataset_reads_a_shard_and_images_are_untouched(tmp_path, samples):
    write_shard(tmp_path, samples, tmp_path / "images")
    dataset = webdataset.WebDataset(str(tmp_path / SHARD_NAME), shardshuffle=False)
    records = list(dataset)
    path = tmp_path / "images" / samples[1].image_path
    assert records[1]["jpg"] == path.read_bytes()
    assert json.loads(records[1]["json"])["phrases"][0]["mask"] is None
    decoded = next(iter(dataset.decode("pil")))
    assert decoded["1.png"].size == (16, 12)


def test_image_that_changed_since_selection_is_refused(tmp_path, samples):
    Image.new("RGB", (16, 12)).save(tmp_path / "images" / samples[2].image_path)
    with pytest.raises(ValueError, match=r"000000000002\.jpg has changed"):
        write_shard(tmp_path, samples, tmp_path / "images")
