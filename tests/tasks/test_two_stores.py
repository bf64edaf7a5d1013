"""Two stores behind one Prefect: the same key, and outputs that differ in a last bit."""

import itertools
from pathlib import Path
from typing import Any, ClassVar

import pytest
from prefect import flow, task

from tasks.opened_store import open_store
from tasks.stage import STAGE_OPTIONS, Input, Outcome, reuse_or_publish, run_stage
from tests.stored_numbers import NumberSpec

_DRAWS = itertools.count()


class DrawnSpec(NumberSpec):
    stage: ClassVar[str] = "drawn"


@task(name="write-drawn", **STAGE_OPTIONS)
def write_drawn(spec: DrawnSpec) -> Any:
    def write(folder: Path, store: Any) -> dict[str, Any]:
        (folder / "number.txt").write_text(f"{spec.number} {next(_DRAWS)}")
        return {}

    return reuse_or_publish(spec, write)


@flow(name="write-drawn-numbers")
def write_drawn_numbers() -> list[Outcome]:
    return run_stage(write_drawn, [DrawnSpec(number=number) for number in range(3)])


@pytest.mark.usefixtures("prefect_server")
def test_later_stages_read_what_lies_in_their_own_store(tmp_path, monkeypatch):
    def outcomes(store: str) -> list[Outcome]:
        monkeypatch.setenv("TOKENCOMPOSE_STORE", str(tmp_path / store))
        return write_drawn_numbers()

    first, second, again = outcomes("first"), outcomes("second"), outcomes("first")
    digests = [[outcome.manifest.digest for outcome in made] for made in (first, second, again)]
    assert digests[0] == digests[2]
    assert not set(digests[0]) & set(digests[1])
    assert [outcome.state for outcome in again] == ["Cached"] * 3
    for outcome in again:
        Input.of(outcome.manifest, "number.txt").path(open_store())
