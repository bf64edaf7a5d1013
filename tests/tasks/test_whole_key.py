"""Keys that people shorten, where a command takes the key of an output."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.__main__ import main
from flows.command_line import parse_arguments
from tasks.model_under_test import ModelUnderTest
from tasks.stage import open_store
from tasks.whole_key import whole_key

TWO = ["dataset-v1-" + digits * 16 for digits in ("ab", "ac")]
MODEL = "finetune-v3-" + "0f" * 16


@pytest.fixture
def filled(store_dir: Path) -> None:
    """A store with two data sets and a model, which say nothing but that they are there."""

    def writes(name: str) -> Callable[[Path], dict[str, Any]]:
        def write(folder: Path) -> dict[str, Any]:
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("{}")
            return {}

        return write

    for key in TWO:
        open_store().publish(key, "dataset", writes("dataset.json"))
    open_store().publish(MODEL, "finetune", writes("model/model_index.json"))


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("dataset-v1-aba", TWO[0]),
        (TWO[1], TWO[1]),
        ("dataset-v1-ad", "dataset-v1-ad"),
        ("dataset", "dataset"),
        ("photos-v1-a", "photos-v1-a"),
        ("", ""),
    ],
)
def test_beginning_of_one_key_is_that_key(name, whole):
    assert whole_key(open_store(), name) == whole


@pytest.mark.usefixtures("filled")
def test_beginning_of_several_is_refused_with_them():
    with pytest.raises(
        ValueError, match=rf"^2 outputs begin with 'dataset-v1-a': {', '.join(TWO)}"
    ):
        whole_key(open_store(), "dataset-v1-a")


@pytest.mark.usefixtures("filled")
def test_model_is_found_by_the_beginning_of_its_key():
    (own,) = parse_arguments(["evaluate", "own=finetune-v3-0f0f"]).values["models"]
    found = ModelUnderTest.model_validate(own)
    assert found.stored is not None
    assert found.stored.key == MODEL


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("name", ["dataset-v1-aba", TWO[0]])
def test_data_set_in_place_of_a_model_hears_that_it_is_none(name, capsys):
    assert main(["evaluate", f"base={name}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"models.0.stored: {TWO[0]!r} is a data set, and no model; the flow")
