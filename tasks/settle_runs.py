"""Give runs whose process is gone a state that is true.

A flow run without a heartbeat is crashed by an automation of the server's. What was under way
inside of it is not: its task runs would stay "Running" for ever, since no automation can change
them. `python -m tasks.settle_runs` looks again and again.
"""

import logging
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, StateType, TaskRun
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

_UNFINISHED = [kind for kind in StateType if kind not in TERMINAL_STATES]
_PAGE = 200
_SECONDS_BETWEEN = 30
_LOGGER = logging.getLogger("tokencompose.settle_runs")


def settle_runs(
    *, grace: timedelta = timedelta(minutes=1), clocks: timedelta = timedelta(seconds=20)
) -> list[str]:
    """Set runs to `Crashed` that nobody works on any more. May be called at any time, repeatedly.

    These are task runs of a flow run that has ended, or of an earlier attempt of one that runs
    again, and flow runs that were called by such a flow run in its own process.

    Args:
        grace: How long ago the flow run has to have ended: the last word of a task may be on its
            way.
        clocks: By how much the clocks of server and tasks may differ.

    Returns:
        Names of the runs that were settled.
    """
    settled: list[str] = []
    with get_client(sync_client=True) as client:
        while found := _settle_tasks(client, grace, clocks) + _settle_called(client):
            settled += found
    return settled


def _settle_tasks(client: SyncPrefectClient, grace: timedelta, clocks: timedelta) -> list[str]:
    """Task runs of flow runs that have ended, or have been started once more since."""
    unfinished = TaskRunFilter(
        state=TaskRunFilterState(type=TaskRunFilterStateType(any_=_UNFINISHED))
    )
    tasks: list[TaskRun] = []
    while page := client.read_task_runs(task_run_filter=unfinished, limit=_PAGE, offset=len(tasks)):
        tasks += page
    flows = _read_flow_runs(client, {run.flow_run_id for run in tasks if run.flow_run_id})
    latest = datetime.now(UTC) - grace
    settled = []
    for run in tasks:
        flow = flows.get(run.flow_run_id) if run.flow_run_id else None
        if flow is None or flow.state is None or run.state is None:
            continue
        if flow.state.is_final() and flow.state.timestamp < latest:
            message = f"Its flow run {flow.name} ended as {flow.state.name} before it did."
        elif flow.state.is_running() and run.state.timestamp < flow.state.timestamp - clocks:
            message = f"Its flow run {flow.name} died, and was started once more, before it ended."
        else:
            continue
        client.set_task_run_state(run.id, Crashed(message=message), force=True)
        settled.append(run.name)
    return settled


def _settle_called(client: SyncPrefectClient) -> list[str]:
    """Flow runs whose caller has ended; the run of the call stands for it among its task runs."""
    settled = []
    for run in _read_unfinished(client):
        # One with a deployment has a process of its own.
        if run.parent_task_run_id is None or run.deployment_id is not None:
            continue
        try:
            call = client.read_task_run(run.parent_task_run_id)
        except ObjectNotFound:  # never recorded, or deleted by a person; it may still be alive
            continue
        if call.state is not None and call.state.is_final():
            message = f"The flow run that called it ended: {call.state.message}"
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)
            settled.append(run.name)
    return settled


def _read_unfinished(client: SyncPrefectClient) -> list[FlowRun]:
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED)))
    found: list[FlowRun] = []
    while page := client.read_flow_runs(flow_run_filter=wanted, limit=_PAGE, offset=len(found)):
        found += page
    return found


def _read_flow_runs(client: SyncPrefectClient, ids: set[UUID]) -> dict[UUID, FlowRun]:
    wanted = sorted(ids)
    found: dict[UUID, FlowRun] = {}
    for start in range(0, len(wanted), _PAGE):
        chosen = FlowRunFilter(id=FlowRunFilterId(any_=wanted[start : start + _PAGE]))
        found |= {run.id: run for run in client.read_flow_runs(flow_run_filter=chosen)}
    return found


def main() -> None:
    """Settle runs for as long as the process lives, also while the server is away."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    while True:
        try:
            for name in settle_runs():
                _LOGGER.info("%s: Crashed", name)
        except Exception as error:  # the server's, whatever it is: it may be back the next time
            _LOGGER.warning("not settled: %r", error)
        time.sleep(_SECONDS_BETWEEN)


if __name__ == "__main__":
    main()
