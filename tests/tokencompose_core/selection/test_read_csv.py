"""CSV files: quotes, bad rows, filters, and files that are none."""

import pytest

from tests.tokencompose_core.selection.caption_sets import found, read, reasons, source


def csv_source(tmp_path, content, **settings):
    (tmp_path / "c.csv").write_bytes(content)
    own = {"image_column": "file", "caption_column": "text", "paths": [str(tmp_path / "c.csv")]}
    return source("csv", tmp_path, **own | settings)


def test_csv_with_quotes_line_breaks_and_bad_rows(tmp_path):
    content = (
        b"id,file,text,other\n"
        b'1,a.jpg,"A cat, black\nand ""big"".",x\n'
        b"2,b.jpg\n"
        b"3,c.jpg,A dog.,x,y\n"
        b"4,d.jpg,\xff,x\n"
        b"5,e.jpg,,\xff\n"
        b"6,,A bird.,x\n"
        b"7,a.jpg,A cat.,x\n"
        b"8,b.jpg\n"
    )
    candidates, rejected = read(csv_source(tmp_path, content))
    assert found(candidates) == [
        ("a.jpg", ['A cat, black\nand "big".', "A cat."]),
        ("e.jpg", [""]),
    ]
    assert sorted(reasons(rejected)) == [
        ("row-broken", "c.csv, row 2: 2 cells instead of 4"),
        ("row-broken", "c.csv, row 3: 5 cells instead of 4"),
        ("row-broken", "c.csv, row 8: 2 cells instead of 4"),
        ("row-field-missing", "c.csv, row 6: field 'file' is empty"),
        ("row-not-utf8", "c.csv, row 4: field 'text' is not UTF-8 at byte 0"),
    ]


def test_bytes_that_are_not_utf8_cost_their_row_alone_wherever_they_stand(tmp_path, capfd):
    content = (
        b"\xef\xbb\xbffile,text,by \xff,\xc3\xa9t\xc3\xa9\n"
        b"a.jpg,Caf\xc3\xa9 \xf0\x9f\x90\xb1.,\xff,\xff\n"
        b"b.jpg,Caf\xe9.,x,y,z\n"
        b"c.jpg,\x85\xe9.,x,y\n"
        b"d.jpg,\xe4\xb8\x80,x,y"
    )
    candidates, rejected = read(csv_source(tmp_path, content))
    assert found(candidates) == [("a.jpg", ["Caf\xe9 \U0001f431."]), ("d.jpg", ["\u4e00"])]
    assert sorted(reasons(rejected)) == [
        ("row-broken", "c.csv, row 2: 5 cells instead of 4"),
        ("row-not-utf8", "c.csv, row 3: field 'text' is not UTF-8 at byte 0"),
    ]
    assert capfd.readouterr().err == ""  # nothing that PyArrow could not pass on
    with pytest.raises(ValueError, match=r"no column 'name', but .*'by \\\\xff', 'été'\]"):
        read(csv_source(tmp_path, content, caption_column="name"))


def test_file_larger_than_a_block_is_read_to_its_end(tmp_path):
    text = "一" + "é" * 990
    rows = [f"{number}.jpg,{text}".encode() for number in range(2000)]  # 4 MB
    candidates, rejected = read(csv_source(tmp_path, b"\n".join([b"file,text", *rows])))
    assert not rejected
    assert found(candidates) == [(f"{number}.jpg", [text]) for number in range(2000)]


def test_rows_are_chosen_by_columns_and_filters(tmp_path):
    content = b"id;file;text;lang\na/1;a.jpg;A cat.;en\n2;b.jpg;Un chien.;fr\na/1;c.jpg;x;en\n"
    settings = {"delimiter": ";", "id_column": "id", "filters": {"lang": ["en", "de"]}}
    candidates, rejected = read(csv_source(tmp_path, content, **settings))
    assert found(candidates) == [("a.jpg", ["A cat."])]
    assert reasons(rejected) == [
        ("id-taken", "c.csv, row 3: 'a/1' is taken by a.jpg, not c.jpg"),
    ]
    with pytest.raises(ValueError, match=r"no column 'language', but \['id', 'file', 'text'"):
        read(csv_source(tmp_path, content, **settings | {"filters": {"language": ["en"]}}))


ROWS = b"file,text\na.jpg,A cat\n"


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (ROWS + b'b.jpg,"A dog\nc.jpg,A bird\n', 2),
        (ROWS + b'\n\n"b.jpg,A dog\nc.jpg,A bird\n', 2),
        (ROWS + b'too,many,cells\nb.jpg,"A dog', 3),
        (ROWS + b'b.jpg,"A ""dog""\nc.jpg,""\n', 2),
        (ROWS + b'b.jpg,"A dog\nc.jpg,"A bird"\nd.jpg,"A cow\ne.jpg,A fox\n', 3),
    ],
)
def test_csv_that_ends_inside_quotes_is_refused_with_the_row_that_opens_them(
    tmp_path, content, row
):
    with pytest.raises(
        ValueError, match=rf"c\.csv: the file ends inside quotes that row {row} opens"
    ):
        read(csv_source(tmp_path, content))


def test_csv_with_a_row_of_megabytes_says_where(tmp_path):
    content = ROWS + b'x\nb.jpg,"A dog\n' + b"c.jpg,A bird\n" * 200_000
    with pytest.raises(ValueError, match=r"c\.csv, after row 2: .* is a quote not closed\?"):
        read(csv_source(tmp_path, content))


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\r\n"])
def test_csv_whose_quotes_are_closed_is_read_to_its_end(tmp_path, end):
    body = ROWS + b"".join(b'%d.jpg,"%s"\n' % (n, b"x" * 100_000) for n in range(10))
    for length in range((1 << 20) - 20, (1 << 20) + 5):  # PyArrow reads 2**20 bytes at a time
        last = b'z.jpg,A 5" cat' + b"!" * (length - len(body) - len(end) - 14)
        content = body + last + end
        assert len(content) == length
        candidates, rejected = read(csv_source(tmp_path, content))
        assert not rejected
        assert len(candidates) == 12
        assert candidates[-1].captions == [last[6:].decode()]


def test_filters_that_leave_no_row_say_which_leaves_how_many(tmp_path):
    content = b"file,text,lang,by\na.jpg,A cat.,en,me\nb.jpg,Un chien.,fr,me\nc.jpg,x,,you\n"

    def read_with(**filters: list[str]) -> None:
        read(csv_source(tmp_path, content, filters=filters))

    with pytest.raises(
        ValueError, match=r"none of 3 rows: lang in \['eng'\] leaves 0 \(\['', 'en'"
    ):
        read_with(lang=["eng"])
    both = r"lang in \['fr', 'de'\] leaves 1, by in \['you'\] leaves 1\. Mend them"
    with pytest.raises(ValueError, match=rf"^source\.filters leave none of 3 rows: {both}"):
        read_with(lang=["fr", "de"], by=["you"])
    # Rows of two files count together, and one of them may have none that is asked for.
    (tmp_path / "d.csv").write_bytes(b"file,text,lang,by\nd.jpg,Ein Hund.,de,me\n")
    paths = [str(tmp_path / name) for name in ("c.csv", "d.csv")]
    candidates, _ = read(csv_source(tmp_path, content, paths=paths, filters={"lang": ["de"]}))
    assert found(candidates) == [("d.jpg", ["Ein Hund."])]
    with pytest.raises(ValueError, match="none of 4 rows"):
        read(csv_source(tmp_path, content, paths=paths, filters={"lang": ["it"]}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"c\.csv: Empty CSV file"),
        (b"name,words\na.jpg,A cat.\n", r"no column 'file', 'text', but \['name', 'words'\]"),
        (b"file,text\na.jpg,b.jpg,c.jpg\n\x00", None),
        (b"file,text\n", None),
    ],
)
def test_csv_as_a_whole(tmp_path, content, message):
    settings = csv_source(tmp_path, content)
    if message is None:
        assert not read(settings)[0]
    else:
        with pytest.raises(ValueError, match=message):
            read(settings)
