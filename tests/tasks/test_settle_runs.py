"""Runs of a process that is killed while a flow that it called waits for a task."""

import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter
from prefect.settings import get_current_settings
from prefect.states import Crashed, Running

from tasks.settle_runs import settle_runs

_CODE = """
import os, signal, time
from prefect import flow, task
from prefect.runtime import flow_run

@task
def short():
    pass

@task
def endless():
    print(flow_run.parent_flow_run_id, flow_run.id, flush=True)
    time.sleep(600)

@flow
def inner():
    short()
    endless()

@flow
def outer():
    inner()

outer()
"""


@pytest.fixture
def killed(prefect_server: None) -> tuple[UUID, UUID]:
    """The flow runs of a process that is gone, the caller first."""
    environment = os.environ | {"PREFECT_API_URL": str(get_current_settings().api.url)}
    process = subprocess.Popen(
        [sys.executable, "-c", _CODE], env=environment, stdout=subprocess.PIPE, text=True
    )
    outer, inner = (UUID(name) for name in process.stdout.readline().split())
    with get_client(sync_client=True) as client:
        # What it has done is recorded a little later.
        while states(client, inner) != {"Completed": 1, "Running": 1}:
            assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return outer, inner


def states(client: SyncPrefectClient, flow: UUID) -> Counter[str]:
    """Names of the states of a flow run's task runs."""
    chosen = FlowRunFilter.model_validate({"id": {"any_": [str(flow)]}})
    runs = client.read_task_runs(flow_run_filter=chosen, task_run_filter=TaskRunFilter())
    return Counter(run.state.name for run in runs if run.state)


def test_what_was_inside_of_an_earlier_attempt_is_crashed_too(killed: tuple[UUID, UUID]):
    outer, inner = killed
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(outer, Crashed(message="no heartbeat"), force=True)
        client.set_flow_run_state(outer, Running(), force=True)
        settle_runs(grace=timedelta(0))  # they might be of this attempt, by another clock
        assert states(client, inner) == {"Completed": 1, "Running": 1}
        assert len(settle_runs(grace=timedelta(0), clocks=timedelta(0))) == 3
        assert states(client, inner) == {"Completed": 1, "Crashed": 1}
        assert client.read_flow_run(outer).state.is_running()


def test_what_was_inside_of_a_crashed_run_is_crashed_and_nothing_else(killed: tuple[UUID, UUID]):
    outer, inner = killed
    with get_client(sync_client=True) as client:
        # As long as nobody knows that its process is gone, it may be working.
        settle_runs(grace=timedelta(0))
        assert states(client, inner) == {"Completed": 1, "Running": 1}
        client.set_flow_run_state(outer, Crashed(message="no heartbeat"), force=True)
        # Its tasks' last words may be on their way.
        settle_runs(grace=timedelta(minutes=5))
        assert states(client, outer) == {"Running": 1}
        settled = settle_runs(grace=timedelta(0))
        assert len(settled) == 3  # the call, the flow that was called, and its task
        assert states(client, outer) == {"Crashed": 1}
        assert states(client, inner) == {"Completed": 1, "Crashed": 1}
        called = client.read_flow_run(inner)
        assert called.state is not None
        assert called.state.name == "Crashed"
        assert "ended as Crashed" in called.state.message
        assert settle_runs(grace=timedelta(0)) == []
