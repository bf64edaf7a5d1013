"""A Prefect server and a worker of a benchmark's own, as processes that may be killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx

ROOT = Path(__file__).parent.parent
_START_SECONDS = 180
_STOP_SECONDS = 60


class OwnPrefect:
    """Prefect with the settings of `pyproject.toml`, but a port and a folder of its own.

    Args:
        folder: For the database, results and logs.
        port: Of the server.
        environment: Further settings of all its processes.
    """

    def __init__(self, folder: Path, port: int, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.api = f"http://127.0.0.1:{port}/api"
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
            "PYTHONPATH": str(ROOT),
            "DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",
            **environment,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.commands: dict[str, tuple[str, ...]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self.start_server()
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(list(self.processes)):
            self.stop(name, signal.SIGTERM)

    def start_server(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            RuntimeError: If it does not, with the end of its log, or another one answers already.
        """
        if self.answers():
            raise RuntimeError(f"another server answers at {self.api}")
        self.start("server", "-m", "prefect", "server", "start")
        deadline = time.monotonic() + _START_SECONDS
        while not self.answers():
            if self.processes["server"].poll() is not None or time.monotonic() > deadline:
                log = (self.folder / "server.log").read_text()
                raise RuntimeError(f"the Prefect server did not come up: {log[-2000:]}")
            time.sleep(0.2)

    def start_worker(self, pool: str) -> None:
        """Start a worker of processes; it takes up work when it has come up."""
        self.start("worker", "-m", "prefect", "worker", "start", "--type", "process", "-p", pool)

    def run(self, *command: str) -> None:
        """Run a command of Python's to its end.

        Raises:
            RuntimeError: If it fails, with what it printed.
        """
        ran = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        if ran.returncode:
            raise RuntimeError(f"{' '.join(command)}: {ran.stdout[-2000:]}{ran.stderr}")

    def stop(self, name: str, signum: int) -> None:
        """Send a process a signal and wait for its end."""
        process = self.processes.pop(name)
        process.send_signal(signum)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def answers(self) -> bool:
        """Whether the server is there."""
        try:
            return httpx.get(f"{self.api}/health", timeout=2).is_success
        except httpx.HTTPError:
            return False

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Ask the server with a body, again if it is busy."""
        return self.ask("POST", path, body)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the server, again if it is busy.

        Raises:
            HTTPError: If it says no, or has nothing to say for minutes.
        """
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                answer = httpx.request(method, f"{self.api}/{path}", json=body, timeout=60)
                answer.raise_for_status()
                return answer.json() if answer.content else None
            except httpx.HTTPError as error:
                said = getattr(error, "response", None)
                if time.monotonic() > deadline or (said and said.status_code < 500):
                    raise
            time.sleep(2)

    def read_all(self, kind: str, **filters: Any) -> list[dict[str, Any]]:
        """All runs of a kind, "flow_runs" or "task_runs"."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.post(f"{kind}/filter", {**filters, "limit": 200, "offset": len(found)})
            found += page
            if len(page) < 200:
                return found

    def start(self, name: str, *command: str) -> None:
        """Start a command of Python's beside the server, under a name."""
        self.commands[name] = command
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
