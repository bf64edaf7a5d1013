import numpy as np
import pytest
from PIL import Image

from data_schemas.records import SelectedImage
from tokencompose_core.importing.import_image import import_image
from tokencompose_core.importing.read_rows import ListedNoun, ListedRow
from tokencompose_core.selection.candidates import roots_of
from tokencompose_core.store.keys import file_digest

CAT = ListedRow("A cat.", (ListedNoun("cat", "cat.png"),))
BLANK = ListedRow(" ", ())


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (9, 6)).save(tmp_path / "k.png")
    Image.fromarray(np.eye(6, 9, dtype=bool)).save(tmp_path / "cat.png")
    return tmp_path


def import_rows(folder, *rows):
    digest = file_digest(folder / "k.png")
    image = SelectedImage(key="k", image_path="k.png", image_sha256=digest, captions=["A cat."])
    return import_image(image, rows, folder, roots_of(folder), "whole_image")


def test_row_whose_caption_was_not_selected_is_passed_over_and_reported(folder):
    caption, rejections, _ = import_rows(folder, BLANK, CAT)
    assert (caption.caption, caption.width, caption.height) == ("A cat.", 9, 6)
    assert [phrase.text for phrase in caption.phrases] == ["cat"]
    assert [(r.key, str(r.reason)) for r in rejections] == [("k", "id-taken")]


@pytest.mark.parametrize("rows", [(), (BLANK,)])
def test_rows_that_changed_since_the_image_was_selected_are_refused(folder, rows):
    with pytest.raises(ValueError, match=r"captions of k\.png have changed"):
        import_rows(folder, *rows)
