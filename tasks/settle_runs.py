"""Give runs whose process is gone a state that is true.

A flow run without a heartbeat is crashed by an automation of the server's. What was under way
inside of it is not: its task runs, and flows that it called, would stay "Running" for ever.
"""

from collections.abc import Sequence
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
from prefect.states import Crashed

_UNFINISHED = [kind for kind in StateType if kind not in TERMINAL_STATES]
_PAGE = 200


def settle_runs(
    *, grace: timedelta = timedelta(minutes=1), pending: timedelta = timedelta(minutes=5)
) -> list[str]:
    """Set runs to `Crashed` that nobody works on any more. May be called at any time, repeatedly.

    These are task runs of a flow run that has ended, flow runs that were called by such a flow run
    in its own process, and flow runs that a worker took and never started.

    Args:
        grace: How long ago the flow run has to have ended: the last word of a task may be on its
            way.
        pending: How long a flow run may be `Pending`. More than a work pool takes to start one.

    Returns:
        Names of the runs that were settled.
    """
    with get_client(sync_client=True) as client:
        settled = _settle_pending(client, pending)
        while found := _settle_tasks(client, grace) + _settle_called(client):
            settled += found
    return settled


def _settle_tasks(client: SyncPrefectClient, grace: timedelta) -> list[str]:
    """Task runs of flow runs that have ended."""
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
        if flow is None or flow.state is None or not flow.state.is_final():
            continue
        if flow.state.timestamp < latest:
            message = f"Its flow run {flow.name} ended as {flow.state.name} before it did."
            client.set_task_run_state(run.id, Crashed(message=message), force=True)
            settled.append(run.name)
    return settled


def _settle_called(client: SyncPrefectClient) -> list[str]:
    """Flow runs whose caller has ended; the run of the call stands for it among its task runs."""
    settled = []
    for run in _read_unfinished(client, _UNFINISHED):
        # One with a deployment has a process of its own.
        if run.parent_task_run_id is None or run.deployment_id is not None:
            continue
        call = client.read_task_run(run.parent_task_run_id)
        if call.state is not None and call.state.is_final():
            message = f"The flow run that called it ended: {call.state.message}"
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)
            settled.append(run.name)
    return settled


def _settle_pending(client: SyncPrefectClient, pending: timedelta) -> list[str]:
    """Flow runs that no process has taken up since a worker submitted them."""
    latest = datetime.now(UTC) - pending
    settled = []
    for run in _read_unfinished(client, [StateType.PENDING]):
        if run.state is not None and run.state.timestamp < latest:
            message = "It was submitted, and no process has taken it up."
            client.set_flow_run_state(run.id, Crashed(message=message))
            settled.append(run.name)
    return settled


def _read_unfinished(client: SyncPrefectClient, kinds: Sequence[StateType]) -> list[FlowRun]:
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(kinds))))
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
