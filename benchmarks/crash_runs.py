"""Runs of a deployment whose processes are killed, and the states that the server shows of them."""

import os
import signal
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Timer
from typing import Any

import httpx
from own_prefect import OwnPrefect

# An output made faster is over before it is seen: its processes are held, and let go in steps.
_SHORT_SECONDS = 0.5
# How often to look for new processes of the run; to look takes longer than a step.
_LOOK_SECONDS = 2.0
# Short beside the shortest output, so that none begins and ends within one step.
_STEP_SECONDS = 0.003
# Long enough for the signal or the removal that is meant to happen while they are held.
_HOLD_SECONDS = 0.3
_FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@dataclass
class Run:
    """A flow run of a deployment.

    Attributes:
        own: The server.
        id: Of the flow run.
    """

    own: OwnPrefect
    id: str

    def state(self) -> dict[str, Any]:
        """The state that the server shows now."""
        found = self.own.post("flow_runs/filter", {"flow_runs": {"id": {"any_": [self.id]}}})
        return found[0]["state"]

    def is_final(self) -> bool:
        """Whether the server takes it for ended; an absent server knows of no end."""
        try:
            return self.state()["type"] in _FINAL
        except httpx.HTTPError:
            return False

    def pids(self) -> list[int]:
        """The process of the flow and what it has started."""
        wanted = f"PREFECT__FLOW_RUN_ID={self.id}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (path / "environ").read_bytes().split(b"\0"):
                    found.append(int(path.name))
            except OSError:
                continue
        return sorted(found)

    def kill(self, signum: int) -> None:
        """Send its processes a signal; one that is to end politely is told by its first process."""
        pids = self.pids()
        self.send(pids if signum == signal.SIGKILL else pids[:1], signum)

    def send(self, pids: Sequence[int], signum: int) -> None:
        """Send processes a signal, if they are still there."""
        for pid in pids:
            try:
                os.kill(pid, signum)
            except ProcessLookupError:
                continue

    def wait_for_processes(self, seconds: float) -> bool:
        """Wait until none is left; False if one outlives the time."""
        deadline = time.monotonic() + seconds
        while self.pids():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True

    def wait_for_end(self, seconds: float) -> str:
        """Wait for a final state and return its name, or the last one that was seen."""
        deadline = time.monotonic() + seconds
        while not self.is_final() and time.monotonic() < deadline:
            time.sleep(0.5)
        return self.state()["name"]


class Held:
    """The processes of a run, held again and again where an output could pass unseen.

    Args:
        run: The run.
        seconds: What the output takes; nothing is held for one that takes long enough.
    """

    def __init__(self, run: Run, seconds: float) -> None:
        self.run = run
        self.is_short = seconds < _SHORT_SECONDS
        self.pids: list[int] = []
        self._looked = 0.0

    def step(self) -> None:
        """Let them go on for an instant."""
        if not self.is_short:
            return
        if time.monotonic() > self._looked + _LOOK_SECONDS:
            self.pids = self.run.pids()
            self._looked = time.monotonic()
        self.run.send(self.pids, signal.SIGCONT)
        time.sleep(_STEP_SECONDS)
        self.run.send(self.pids, signal.SIGSTOP)

    def let_go_soon(self) -> None:
        """Let them go on, but what is about to happen to them happens before."""
        if self.is_short:
            Timer(_HOLD_SECONDS, self.run.send, (self.pids, signal.SIGCONT)).start()


def find_deployment(own: OwnPrefect, name: str) -> str:
    """The id of a deployment, "flow/name"."""
    return own.ask("GET", f"deployments/name/{name}")["id"]


def lift_limit(own: OwnPrefect, deployment: str) -> None:
    """Let a deployment run although a run of it that is dead is still taken for alive."""
    path = f"deployments/{find_deployment(own, deployment)}"
    own.ask("PATCH", path, {"concurrency_limit": None})


def start_run(own: OwnPrefect, deployment: str, config: dict[str, Any], store: Path) -> Run:
    """Have a worker run a deployment with a store, and Prefect results, of its own."""
    environment = {
        **{name: own.environment[name] for name in ("PYTHONPATH", "OMP_NUM_THREADS")},
        "TOKENCOMPOSE_STORE": str(store),
        "PREFECT_LOCAL_STORAGE_PATH": str(own.folder / f"results-{store.parent.name}"),
    }
    made = own.post(
        f"deployments/{find_deployment(own, deployment)}/create_flow_run",
        {
            "parameters": {"config": config},
            "job_variables": {"env": environment},
            "state": {"type": "SCHEDULED"},
            # Asked twice, the server makes one run.
            "idempotency_key": uuid.uuid4().hex,
        },
    )
    return Run(own, made["id"])


@dataclass(frozen=True)
class Settled:
    """What the server says of a run and of all that was under way inside of it.

    Attributes:
        name: Its state.
        seconds: After how many seconds it had this state.
        all_seconds: After how many seconds nothing inside of it was unfinished; None if it is.
        num_inside: How many task runs and called flow runs there were.
    """

    name: str
    seconds: float
    all_seconds: float | None
    num_inside: int


def read_settled(own: OwnPrefect, run: Run, since: float) -> Settled:
    """Read the states of a run, its called flow runs, and the task runs of both."""
    state = run.state()
    ids, inside = [run.id], []
    called: Sequence[str] = [run.id]
    while called:
        flows = own.read_all("flow_runs", flow_runs={"parent_flow_run_id": {"any_": called}})
        called = [flow["id"] for flow in flows]
        inside += flows
        ids += called
    inside += own.read_all("task_runs", flow_runs={"id": {"any_": ids}}, sort="ID_DESC")
    states = [state, *(one["state"] for one in inside)]
    finished = all(one["type"] in _FINAL for one in states)
    latest = max(_seconds(one) for one in states) - since
    return Settled(
        state["name"], _seconds(state) - since, latest if finished else None, len(inside)
    )


def _seconds(state: dict[str, Any]) -> float:
    return datetime.fromisoformat(state["timestamp"]).timestamp()
