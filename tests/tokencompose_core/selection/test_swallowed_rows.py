"""Quotes that are not closed in a CSV file, of which a later quote makes a cell of many rows."""

import pytest

from tests.tokencompose_core.selection.caption_sets import found, read, reasons
from tests.tokencompose_core.selection.test_read_csv import csv_source

ROWS = "look like rows; is a quote not closed?"


@pytest.mark.parametrize(
    ("content", "rejected", "kept"),
    [
        (
            'file,text\na.jpg,"A cat\nb.jpg,A dog\nc.jpg,A bird\nd.jpg,"A fox"\ne.jpg,End\n',
            f"row 1: lines taken into field 'text': 3, and they {ROWS}",
            ["e.jpg"],
        ),
        (
            'file,text\na.jpg,"A cat\nb.jpg,"A dog"\ne.jpg,End\n',
            f"row 1: lines taken into field 'text': 1, and they {ROWS}",
            ["e.jpg"],
        ),
        (
            'file,text\r\n1/a,"A cat\r\n2/b,A dog\r\n3/c,A 5" fox\r\n4/e,End\r\n',
            f"row 1: lines taken into field 'text': 2, and they {ROWS}",
            ["4/e"],
        ),
        (
            'file,text\nhttp://x/a.jpg?w=1,"A cat\nb.png,A dog\nhttp://x/c.jpg?w=2,A fox"\n',
            f"row 1: lines taken into field 'text': 2, and they {ROWS}",
            [],
        ),
        (
            'text,file\n"A cat,a.jpg\n"A dog",b.jpg\nEnd,e.jpg\n',
            f"row 1: lines taken into field 'text': 1, and they {ROWS}",
            ["e.jpg"],
        ),
        (
            'file,text,by\na.jpg,"A cat,me\nb.jpg,"A dog",you\ne.jpg,End,me\n',
            f"row 1: lines taken into field 'text': 1, and they {ROWS}",
            ["e.jpg"],
        ),
        (
            'file,text,by\na.jpg,A cat,"me\nb.jpg,A dog,you\nc.jpg,A fox,"me"\ne.jpg,End,me\n',
            f"row 1: lines taken into field 'by': 2, and they {ROWS}",
            ["e.jpg"],
        ),
        (
            'file,text\n"a.jpg,A cat\n"b.jpg",A dog\ne.jpg,End\n',
            "row 1: lines taken into field 'file': 1; is a quote not closed?",
            ["e.jpg"],
        ),
        (
            'file,text\na.jpg,"A cat\nb.jpg,A dog\nc.jpg,"A fox, red"\ne.jpg,End\n',
            "row 1: 3 cells instead of 2, lines taken into them: 2; is a quote not closed?",
            ["e.jpg"],
        ),
    ],
    ids=[
        "three",
        "one",
        "no suffix",
        "query",
        "text first",
        "between",
        "unused",
        "image",
        "uneven",
    ],
)
def test_rows_inside_a_cell_are_said(tmp_path, content, rejected, kept):
    candidates, lost = read(csv_source(tmp_path, content.encode()))
    assert reasons(lost) == [("row-broken", f"c.csv, {rejected}")]
    assert [candidate.image for candidate in candidates] == kept


CAPTIONS = [
    "A cat, black\nand big, with a dog.",
    "One\n\ntwo, three\r\nfour",
    "A cat,\nHello, world",
    'He said "b.jpg"\nand left, slowly',
    "See\nb.jpg, c.jpg, d.jpg",
    "Page 1,\n2, then 3",
]


@pytest.mark.parametrize("caption", CAPTIONS)
def test_captions_of_many_lines_stay(tmp_path, caption):
    quoted = caption.replace('"', '""')
    content = f'file,text\na.jpg,"{quoted}"\nb.jpg,A fox\n'
    candidates, lost = read(csv_source(tmp_path, content.encode()))
    assert not lost
    assert found(candidates) == [("a.jpg", [caption]), ("b.jpg", ["A fox"])]
