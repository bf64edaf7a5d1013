"""Rows that are joined in a file, beside rows that are joined in lists."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_schemas.rejections import RejectionReason
from tests.plain_selection import join_plainly
from tests.tokencompose_core.selection.caption_sets import join
from tokencompose_core.selection.caption_row import CaptionRow, reject_row
from tokencompose_core.selection.joined_rows import JoinedRows, join_rows

# Few of each, so that rows meet; all that UTF-8 holds, zero bytes too.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
IMAGES = st.sampled_from(
    ["a.jpg", "./a.jpg", "b/a.jpg", "a", "../a.jpg", "nul\0.jpg", "s3://x/a.jpg", "über 😀.png"]
)
CAPTIONS = st.lists(st.sampled_from(["A cat.", "a cat.", "", " ", "A\0b"]) | TEXTS, max_size=4)
NAMES = st.sampled_from(["", "", "1", "2", "x/y"])


@st.composite
def rows(draw):
    fields = draw(st.lists(st.tuples(IMAGES, CAPTIONS, NAMES, st.booleans()), max_size=40))
    return [
        CaptionRow(f"row {number}", image, tuple(captions), name)
        if good
        else reject_row(f"row {number}", RejectionReason.ROW_BROKEN, image)
        for number, (image, captions, name, good) in enumerate(fields)
    ]


@given(rows())
def test_rows_are_joined_as_in_lists(rows):
    root = Path("images")
    assert join(rows, root) == join_plainly(rows, root)


def test_rows_can_be_read_again_and_are_counted(tmp_path):
    counted = []
    rows = [
        CaptionRow(f"row {n}", f"s3://x/{n % 700}.jpg", ("A cat.",), str(n % 1400))
        for n in range(2500)
    ]
    with join_rows(iter(rows), tmp_path, tmp_path / "rows", counted.append) as joined:
        assert sum(counted) == 2500
        assert len(counted) > 1
        assert joined.num_images == len(list(joined.candidates())) == 1400
        assert joined.num_urls == 700
        urls = list(joined.urls())
        assert sorted(urls) == sorted({row.image for row in rows})
        assert list(joined.candidates()) == list(joined.candidates())


def test_row_of_a_tar_whose_names_are_not_unicode_can_be_kept(tmp_path):
    rejection = reject_row("0.tar, sample \udcff", RejectionReason.ROW_NOT_UTF8, "\udcff")
    with TemporaryDirectory() as folder, join_rows([rejection], tmp_path, Path(folder) / "r") as j:
        (kept,) = j.rejections()
    assert kept.detail == "0.tar, sample \\udcff: \\udcff"


def test_file_that_is_gone_is_not_made_anew(tmp_path):
    with pytest.raises(FileNotFoundError, match="rows"):
        JoinedRows(tmp_path / "rows.sqlite")
    assert list(tmp_path.iterdir()) == []
