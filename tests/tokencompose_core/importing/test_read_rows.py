import json
import tracemalloc
from pathlib import Path

import pytest

from data_schemas.rejections import Rejection
from tokencompose_core.importing.locate_nouns import locate_nouns
from tokencompose_core.importing.read_rows import ListedNoun, ListedRow, read_listed_rows


def read(tmp_path: Path, *rows: object) -> dict[str, list[ListedRow | Rejection]]:
    path = tmp_path / "metadata.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return read_listed_rows(path, tmp_path)


def test_rows_of_an_image_are_under_its_key_in_order(tmp_path):
    first = {"file_name": "1.jpg", "text": "A cat.", "attn_list": [["cat", "seg/1.png"]]}
    second = {"file_name": "./1.jpg", "text": "A dog.", "attn_list": [["dog", None]]}
    outside = {"file_name": "../1.jpg", "text": "A cat.", "attn_list": []}
    assert read(tmp_path, first, 7, second, outside) == {
        "1": [
            ListedRow("A cat.", (ListedNoun("cat", "seg/1.png"),)),
            ListedRow("A dog.", (ListedNoun("dog", None),)),
        ]
    }


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        ({"attn_list": None}, "row-field-missing", "field 'attn_list' is empty"),
        ({"attn_list": {"cat": None}}, "row-wrong-type", "expected a list, received dict"),
        ({"attn_list": [["cat", None], ["dog"]]}, "row-wrong-type", "'attn_list[1]'"),
        ({"attn_list": [["cat", 3]]}, "row-wrong-type", "received ['cat', 3]"),
        ({"attn_list": ["ab"]}, "row-wrong-type", "expected [noun, path or null], received 'ab'"),
        ({"attn_list": [["\ud800", None]]}, "row-not-utf8", "half a character"),
        ({"text": ["A cat.", "A dog."]}, "row-wrong-type", "expected one text, received 2"),
    ],
)
def test_row_without_nouns_that_can_be_read_says_why(tmp_path, change, reason, detail):
    row = {"file_name": "1.jpg", "text": "A cat.", "attn_list": [["cat", None]]}
    [[rejection]] = read(tmp_path, row | change).values()
    assert (rejection.key, str(rejection.reason)) == ("1", reason)
    assert rejection.detail.startswith("metadata.jsonl, line 1: ")
    assert detail in rejection.detail


def test_metadata_without_nouns_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no column 'attn_list', but \['file_name', 'text'\]"):
        read(tmp_path, {"file_name": "1.jpg", "text": "A cat."})


def test_every_noun_of_the_released_rows_is_found_in_its_caption(shared_data):
    path = shared_data / "tokencompose/metadata_part.jsonl"
    rows = read_listed_rows(path, Path("images"))
    assert len(rows) == 2263
    num_nouns = num_masks = num_spans = 0
    for key, (row,) in rows.items():
        assert isinstance(row, ListedRow)
        nouns = {noun.text: noun.mask for noun in row.nouns}
        for text, spans in locate_nouns(row.caption, nouns).items():
            assert spans, (key, text)
            assert all(row.caption[a:b].split() == text.split() for a, b in spans)
            num_spans += len(spans)
        for text, mask in nouns.items():
            assert mask in (None, f"seg/{key}/mask_{key}_{text.replace(' ', '_')}.png")
        num_nouns += len(nouns)
        num_masks += sum(mask is not None for mask in nouns.values())
    assert (num_nouns, num_masks, num_spans) == (7599, 6841, 7601)


def test_no_more_than_the_rows_themselves_is_held_while_they_are_read(tmp_path):
    path = tmp_path / "metadata.jsonl"
    with path.open("w") as stream:
        for number in range(4000):
            nouns = [[noun, f"seg/{number}/mask_{number}_{noun}.png"] for noun in ("cat", "dog")]
            row = {"file_name": f"{number // 5}.jpg", "text": f"A cat, a dog: {number}."}
            stream.write(json.dumps(row | {"attn_list": nouns}) + "\n")
    read_listed_rows(path, tmp_path)  # what is loaded once
    tracemalloc.start()
    rows = read_listed_rows(path, tmp_path)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == 800
    assert peak < 1.4 * held
