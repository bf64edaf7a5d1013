"""A stage of three outputs that takes no time, to see what becomes of it when its store fails."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from prefect import flow, get_client, task
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State

from tasks.stage import STAGE_OPTIONS, Spec, reuse_or_publish, run_stage
from tasks.task_runner import ONE_AT_A_TIME

BYTES = 200_000


class NumberSpec(Spec):
    """A number to write."""

    stage: ClassVar[str] = "number"
    version: ClassVar[int] = 1

    number: int

    def parts(self) -> dict[str, Any]:
        return {"number": self.number}


BEFORE: list[Callable[[int], None]] = []
"""What a test has happen before a number is written."""


@task(name="write-number", **STAGE_OPTIONS)
def write_number(spec: NumberSpec) -> Any:
    """Write a number.

    Writes: a file of `BYTES` bytes.
    """

    def write(folder: Path, store: Any) -> dict[str, Any]:
        for step in BEFORE:
            step(spec.number)
        (folder / "number.txt").write_bytes(bytes([48 + spec.number]) * BYTES)
        return {"num_out": 1}

    return reuse_or_publish(spec, write)


@flow(name="write-numbers", task_runner=ONE_AT_A_TIME)
def write_numbers(count: int = 3) -> list[str]:
    """Write numbers; returns how each came about."""
    return [o.state for o in run_stage(write_number, [NumberSpec(number=n) for n in range(count)])]


def run_numbers(count: int = 3, runner: Any = ONE_AT_A_TIME) -> State:
    """Run the flow and return its state, whatever it is."""
    return write_numbers.with_options(task_runner=runner)(count, return_state=True)


def states_of_tasks(state: State) -> list[str]:
    """What the server has of the tasks of a flow run, in the order of their ends."""
    with get_client(sync_client=True) as client:
        flow_run_id = state.state_details.flow_run_id
        only = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
        runs = client.read_task_runs(flow_run_filter=only)
    return sorted(run.state_name for run in runs)
