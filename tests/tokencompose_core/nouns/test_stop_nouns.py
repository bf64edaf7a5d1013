import pytest

from tokencompose_core.nouns.stop_nouns import is_stopped


@pytest.mark.parametrize(
    ("phrase", "stop_nouns", "stopped"),
    [
        ("side", ["side"], True),
        ("left side", ["side"], True),
        ("side dish", ["side"], False),
        ("Table  Top", ["top"], True),
        ("laptop", ["top"], False),
        ("tops", ["top"], False),
        ("wine glass", ["wine glass"], True),
        ("red Wine\nGlass", ["wine glass"], True),
        ("glass", ["wine glass"], False),
        ("wine glass", ["wine"], False),
        ("ÉTÉ", ["été"], True),
        ("e\u0301te\u0301", ["été"], True),
        ("été", ["e\u0301te\u0301"], True),
        ("cat", [], False),
    ],
)
def test_last_noun_decides(phrase, stop_nouns, stopped):
    assert is_stopped(phrase, stop_nouns) == stopped
