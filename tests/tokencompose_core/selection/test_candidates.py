"""Keys of samples, and images that lie where they should not."""

import hashlib

import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from data_schemas.rejections import RejectionReason
from tests.tokencompose_core.selection.caption_sets import join
from tokencompose_core.selection.caption_row import CaptionRow
from tokencompose_core.selection.sample_key import key_of_name

NAMES = st.lists(st.text(min_size=1, max_size=60), unique=True, max_size=40)


def row(image, *captions, name=""):
    return CaptionRow("row", image, captions or ("A cat.",), name)


@given(NAMES)
def test_keys_are_valid_for_webdataset_and_differ(names):
    keys = [key_of_name(name) for name in names]
    for key in keys:
        assert webdataset.tariterators.base_plus_ext(f"{key}.0.png") == (key, "0.png")
        assert "/" not in key
        assert key.isascii()
    # `<key>.jpg` and `<key>` are one name.
    distinct = {name.removesuffix(".jpg") for name in names}
    assert len(set(keys)) >= len(distinct)


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        ("000000000139.jpg", None),
        ("my-id_7", None),
        ("b/a.jpg", "a-"),
        ("a.png", "a-"),
        ("https://x.org/p/IMG 7.png?size=2", "IMG-7-"),
        ("y" * 100, "y" * 40 + "-"),
        ("😀", ""),
    ],
)
def test_key_keeps_what_can_be_read(name, readable):
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    expected = name.removesuffix(".jpg") if readable is None else readable + digest
    assert key_of_name(name) == expected


def test_equal_stems_in_two_folders_have_keys_that_stay_when_the_set_grows(tmp_path):
    few = [row("a/x.jpg"), row("b/x.jpg")]
    more = [row("x.jpg"), row("x.png"), *few, row("c/x.jpg")]
    before = {c.image: c.key for c in join(few, tmp_path)[0]}
    after = {c.image: c.key for c in join(more, tmp_path)[0]}
    assert before.items() <= after.items()
    assert len(set(after.values())) == 5


def test_rows_of_one_image_are_joined_and_a_taken_id_is_rejected(tmp_path):
    rows = [
        row("a.jpg", "A cat.", name="1"),
        row("a.jpg", "A dog.", "A cat.", name="1"),
        row("b.jpg", name="1"),
    ]
    candidates, rejected = join(rows, tmp_path)
    assert [(c.key, c.image, c.captions) for c in candidates] == [
        ("1", "a.jpg", ["A cat.", "A dog."])
    ]
    assert [r.reason for r in rejected] == [RejectionReason.ID_TAKEN]


@pytest.mark.parametrize("image", ["../a.jpg", "b/../../a.jpg", "/etc/hostname", "..", "/"])
def test_path_that_leaves_the_root_is_rejected(tmp_path, image):
    candidates, rejected = join([row(image)], tmp_path / "images")
    assert not candidates
    assert rejected[0].reason == RejectionReason.IMAGE_OUTSIDE_ROOT
    assert image in rejected[0].detail


def test_path_inside_the_root_is_taken_however_it_is_written(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    (tmp_path / "link").symlink_to(root)
    names = ["a.jpg", "./a.jpg", "b/../a.jpg", str(root / "a.jpg"), str(tmp_path / "link/a.jpg")]
    for images_dir in (root, tmp_path / "link"):
        candidates, rejected = join(map(row, names[:4]), images_dir)
        assert [c.image for c in candidates] == ["a.jpg"]
        assert not rejected
    assert join([row(names[4])], tmp_path / "link")[0][0].image == "a.jpg"
