import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokencompose_core.store.keys import canonical_json, folder_digest, make_key, split_key

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON, min_size=2))
def test_order_of_fields_plays_no_part(value):
    assert canonical_json(value) == canonical_json(dict(reversed(list(value.items()))))


@pytest.mark.parametrize("value", [Path("a"), {1, 2}, (x for x in "ab"), float("nan"), object()])
def test_what_json_does_not_hold_is_refused(value):
    with pytest.raises((TypeError, ValueError)):
        make_key("stage", 1, {"value": value})


def test_key_is_a_function_of_stage_version_and_parts():
    key = make_key("mask", 1, {"threshold": 0.25})
    assert key == "mask-v1-" + key.rpartition("-")[2]
    assert key != make_key("mask", 2, {"threshold": 0.25})
    assert key != make_key("mask", 1, {"threshold": 0.26})
    assert key != make_key("shard", 1, {"threshold": 0.25})


@given(st.from_regex(r"[a-z]+(-[a-z0-9]+)*", fullmatch=True), st.integers(1, 99))
def test_stage_and_version_are_read_from_a_key(stage, version):
    assert split_key(make_key(stage, version, {})) == (stage, version)


def test_key_does_not_depend_on_the_hash_seed():
    code = (
        "from tokencompose_core.store.keys import make_key;"
        "print(make_key('a', 1, {'x': ['b', 'c'], 'y': {'k': 1, 'l': 2.5}}))"
    )
    keys = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(keys) == 1


def test_folder_digest_sees_names_and_contents(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/c").write_text("2")
    first = folder_digest(tmp_path)
    assert folder_digest(tmp_path) == first
    (tmp_path / "b/c").write_text("3")
    second = folder_digest(tmp_path)
    (tmp_path / "b/c").rename(tmp_path / "b/d")
    assert len({first, second, folder_digest(tmp_path)}) == 3
