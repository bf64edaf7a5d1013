"""Two runs of one key whose unfinished work lies in one folder."""

import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest
from prefect.client.schemas.objects import State

from tasks.stage import open_store, reuse_or_publish
from tests.stored_numbers import NumberSpec


class KeptSpec(NumberSpec):
    stage: ClassVar[str] = "kept"
    keeps_checkpoints: ClassVar[bool] = True


class Fitting:
    """A run that leaves a checkpoint, and ends when it is told to."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.began, self.may_end = threading.Event(), threading.Event()
        self.found: list[str] = []
        self.outcome: Any = None
        self.thread = threading.Thread(target=self.run)

    def start(self) -> None:
        self.thread.start()

    def run(self) -> None:
        def write(folder: Path, store: Any) -> dict[str, Any]:
            work_dir = store.work_dir(spec.key)
            self.found = [path.name for path in work_dir.glob("[!.]*")]
            (work_dir / "checkpoint").write_text("half")
            self.began.set()
            assert self.may_end.wait(30)
            assert (work_dir / "checkpoint").is_file()
            if self.fails:
                raise ArithmeticError
            return {"num_out": 1}

        spec = KeptSpec(number=1)
        try:
            self.outcome = reuse_or_publish(spec, write)
        except ArithmeticError as error:
            self.outcome = error

    def end(self) -> None:
        self.may_end.set()
        self.thread.join(30)


def two_at_once(*, first_fails: bool) -> tuple[Fitting, Fitting]:
    first, second = Fitting(fails=first_fails), Fitting()
    first.start()
    assert first.began.wait(30)
    second.start()
    assert not second.began.wait(1)
    first.end()
    second.end()
    return first, second


@pytest.mark.usefixtures("store_dir")
def test_second_run_waits_and_finds_what_the_first_has_made() -> None:
    first, second = two_at_once(first_fails=False)
    assert not second.began.is_set()
    assert isinstance(second.outcome, State)
    assert second.outcome.name == "Reused"
    assert first.outcome.key == KeptSpec(number=1).key
    assert not (open_store().local_dir / "unfinished" / first.outcome.key).exists()


@pytest.mark.usefixtures("store_dir")
def test_second_run_waits_and_goes_on_from_what_a_failed_one_has_left() -> None:
    first, second = two_at_once(first_fails=True)
    assert isinstance(first.outcome, ArithmeticError)
    assert second.found == ["checkpoint"]
    assert second.outcome.num_out == 1
