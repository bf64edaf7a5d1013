from data_schemas.results import MultiGenResult, Share, VisorResult
from tasks.result_cells import result_cells, table_lines

MULTIGEN = MultiGenResult(
    num_images=128,
    num_blanked=0,
    prompts_digest="",
    mean={2: 74.21, 3: 25.0},
    deviation={2: 3.94, 3: 4.7},
    sample_deviation={2: 5.5, 3: 6.6},
    interval={2: (66.41, 81.2), 3: None},
    success={},
    missed={},
    confusion={},
)
ONCE = MULTIGEN.model_copy(
    update={"deviation": {2: 0.0, 3: 0.0}, "sample_deviation": {2: None, 3: None}}
)
VISOR = VisorResult(
    num_images=8,
    num_blanked=1,
    prompts_digest="",
    object_accuracy=Share(percent=29.86, interval=(20.0, 40.04)),
    unconditional=Share(percent=18.8, interval=(10.0, 30.0)),
    conditional=Share(percent=None, interval=None),
    at_least={1: Share(percent=50, interval=None), 2: Share(percent=0, interval=(0, 0))},
)


def test_cells():
    assert result_cells(MULTIGEN) == {"MG2": "74.2 (3.9)", "MG3": "25.0 (4.7)"}
    with_intervals = result_cells(MULTIGEN, intervals=True)
    assert with_intervals == {"MG2": "74.2 (3.9) [66.4, 81.2]", "MG3": "25.0 (4.7)"}
    assert result_cells(VISOR, intervals=True) == {
        "OA": "29.9 [20.0, 40.0]",
        "uncond": "18.8 [10.0, 30.0]",
        "cond": "-",
        "VISOR1": "50.0",
        "VISOR2": "0.0 [0.0, 0.0]",
    }


def test_one_round_has_no_deviation():
    assert result_cells(ONCE) == {"MG2": "74.2", "MG3": "25.0"}
    assert result_cells(ONCE, intervals=True) == {"MG2": "74.2 [66.4, 81.2]", "MG3": "25.0"}
    assert table_lines([("base", ONCE)]) == [
        "MultiGen: share of images with at least k of their three categories, in percent",
        "",
        "model             MG2      MG3   images",
        "base             74.2     25.0      128",
    ]


def test_brackets_are_explained_if_any_row_has_them():
    lines = table_lines([("base", ONCE), ("own", MULTIGEN)])
    assert lines[1:] == [
        "(in brackets the population standard deviation over rounds)",
        "",
        "model                  MG2           MG3   images",
        "base                  74.2          25.0      128",
        "own             74.2 (3.9)    25.0 (4.7)      128",
    ]


def test_prompts_that_differ_in_number_have_up_to_the_largest():
    title, *_ = table_lines([("base", MULTIGEN)], "multigen-own", is_mixed=True)
    assert title == (
        "MultiGen (multigen-own): share of images with at least k of their up to three categories,"
        " in percent"
    )


def test_table_of_multigen():
    assert table_lines([("base", MULTIGEN), ("grounded", MULTIGEN)]) == [
        "MultiGen: share of images with at least k of their three categories, in percent",
        "(in brackets the population standard deviation over rounds)",
        "",
        "model                  MG2           MG3   images",
        "base            74.2 (3.9)    25.0 (4.7)      128",
        "grounded        74.2 (3.9)    25.0 (4.7)      128",
    ]


def test_table_of_visor_says_how_many_images_were_blanked():
    title, _, _, *lines = table_lines([("base", VISOR)], "visor")
    assert title.startswith("VISOR (visor): ")
    assert lines == [
        "model              OA   uncond     cond   VISOR1   VISOR2   images  blanked",
        "base             29.9     18.8        -     50.0      0.0        8        1",
    ]


def test_a_long_label_moves_its_column_alone():
    long = "denoising + token + pixel"
    _, _, _, head, *rows = table_lines([("base", MULTIGEN), (long, MULTIGEN)])
    assert rows[1].startswith(f"{long}    74.2 (3.9)")
    assert {len(line) for line in (head, *rows)} == {len(long) + 14 + 14 + 9}
    ends = [head.index(name) + len(name) for name in ("MG2", "MG3", "images")]
    for row in rows:
        assert [row[end - 1] for end in ends] == [")", ")", "8"]
