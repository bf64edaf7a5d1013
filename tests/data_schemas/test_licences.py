"""The licence ledger against what the profiles name, and its page against the ledger."""

import tomllib
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest

from data_schemas.profiles import profile_names
from tests.conftest import ROOT

ENTRIES = tomllib.loads((resources.files("data_schemas") / "licences.toml").read_text("utf-8"))[
    "entry"
]
# Fields of profiles whose values are models or data.
FIELDS = {
    "model",
    "base_model",
    "text_encoder",
    "detector_checkpoint",
    "detector_config",
    "segmenter_checkpoint",
    "segmenter_config",
    "weights",
    "vsr_path",
    "captions_paths",
    "images_dir",
    "path",
    "paths",
}


def named(values: Any, field: str = "") -> Iterator[str]:
    """Every model and every data set in a profile."""
    if isinstance(values, dict):
        for name, value in values.items():
            yield from named(value, name)
    elif isinstance(values, list):
        for value in values:
            yield from named(value, field)
    elif isinstance(values, str) and field in FIELDS and values:
        yield values


def is_listed(name: str) -> bool:
    return any(
        name == listed or name.startswith(f"{listed}/")
        for entry in ENTRIES
        for listed in entry["names"]
    )


@pytest.mark.parametrize("profile", profile_names())
def test_every_model_and_data_set_of_a_profile_is_listed(profile):
    text = (resources.files("data_schemas.profiles") / f"{profile}.toml").read_text("utf-8")
    found = set(named(tomllib.loads(text)))
    assert len(found) >= 6
    assert {name for name in found if not is_listed(name)} == set()


def test_every_entry_is_named_by_a_profile_and_says_who_says_so():
    used: set[str] = set()
    for profile in profile_names():
        text = (resources.files("data_schemas.profiles") / f"{profile}.toml").read_text("utf-8")
        used |= set(named(tomllib.loads(text)))
    for entry in ENTRIES:
        assert entry["licence"]
        assert entry["source"]
        for listed in entry["names"]:
            assert any(name == listed or name.startswith(f"{listed}/") for name in used), listed


def test_model_that_is_not_listed_is_found():
    assert not is_listed("somebody/else")
    assert not is_listed("pocket:clippy")


def test_page_shows_the_ledger():
    rows = [
        f"| {entry['what']} | {', '.join(f'`{name}`' for name in entry['names'])}"
        f" | {entry['licence']} | {entry['source']} | {entry['note']} |"
        for entry in ENTRIES
    ]
    page = (ROOT / "docs/licences.md").read_text("utf-8").splitlines()
    assert [line for line in page if line.startswith("| ")][1:] == rows
