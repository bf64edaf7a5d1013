"""`make serve` and `make stop`, as a person uses them."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient

from tests.conftest import ROOT
from tests.local_servers import own_prefect

_SECONDS = 600
YEARLY: dict[str, Any] = {
    "schedule": {"cron": "0 0 1 1 *", "timezone": "Europe/Berlin"},
    "active": False,
    "parameters": {"config": {"profile": "pocket"}},
    "max_scheduled_runs": 1,
}


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Prefect of the test's own, and its end."""
    own = own_prefect(tmp_path)
    yield own
    run("stop", own)


def run(command: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows", command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=2 * _SECONDS,
    )


def wait_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + _SECONDS
    while not what():
        assert time.monotonic() < end
        time.sleep(0.3)


def send(environment: dict[str, str], method: Any, path: str, body: dict | None = None) -> Any:
    """What the server answers. A busy one says 503, and Prefect's client then asks again."""
    with SyncPrefectClient(environment["PREFECT_API_URL"]) as client:
        answer = client.request(method, path, json=body)
        return answer.json() if answer.content else None


def ask(environment: dict[str, str], path: str) -> list[dict]:
    return send(environment, "POST", f"/{path}/filter", {})


def schedules_of(environment: dict[str, str]) -> dict[str, list[str]]:
    """Everything of all schedules but where and since when the server has them, by deployment."""
    own = {"id", "created", "updated", "deployment_id"}
    return {
        deployment["id"]: sorted(
            json.dumps({name: value for name, value in schedule.items() if name not in own})
            for schedule in deployment["schedules"]
        )
        for deployment in ask(environment, "deployments")
    }


def is_up(environment: dict[str, str]) -> bool:
    try:
        return httpx.get(f"{environment['PREFECT_API_URL']}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False


def answer_of(url: str) -> int | None:
    try:
        return httpx.get(url, timeout=5).status_code
    except httpx.HTTPError:
        return None


def program(home: Path, name: str) -> psutil.Process | None:
    """The server or the worker that the supervisor of this home keeps running."""
    supervisor = psutil.Process(int((home / "supervisord.pid").read_text()))
    for child in supervisor.children():
        with suppress(psutil.Error):  # it has just ended
            if name in child.cmdline():
                return child
    return None


def clean_checkout(folder: Path, environment: dict[str, str], python: str) -> None:
    """`make clean` in a folder with nothing but a Makefile and a script as its Python."""
    executable = folder / ".venv/bin/python"
    executable.parent.mkdir(parents=True)
    executable.write_text(f"#!/bin/sh\n{python}\n")
    executable.chmod(0o755)
    shutil.copy(ROOT / "Makefile", folder)
    own = environment | {"PYTHONPATH": str(ROOT)}
    subprocess.run(["make", "clean"], cwd=folder, env=own, check=True, timeout=_SECONDS)
    assert [path.name for path in folder.iterdir()] == ["Makefile"]


@pytest.mark.timeout(1800)
def test_serve_stands_everything_up_keeps_it_up_and_stop_ends_it(environment: dict[str, str]):
    home = Path(environment["PREFECT_HOME"])
    first = run("serve", environment)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "`make stop` ends it" in first.stdout

    pools = {pool["name"]: pool["type"] for pool in ask(environment, "work_pools")}
    assert pools == {"cpu": "process", "gpu": "process"}
    deployments = ask(environment, "deployments")
    automations = ask(environment, "automations")
    assert len(automations) == 10
    # Schedules are off until a person switches one on, and then stay on.
    scheduled = [d for d in deployments if d["schedules"]]
    assert scheduled
    assert not any(s["active"] for d in scheduled for s in d["schedules"])
    switched = scheduled[0]
    schedule = switched["schedules"][0]["id"]
    send(
        environment,
        "PATCH",
        f"/deployments/{switched['id']}/schedules/{schedule}",
        {"active": True},
    )

    # A person adds others, also to a deployment that has none.
    for deployment in (switched, next(d for d in deployments if not d["schedules"])):
        for added in (YEARLY, {**YEARLY, "slug": "yearly", "active": True}):
            send(environment, "POST", f"/deployments/{deployment['id']}/schedules", [added])
    schedules = schedules_of(environment)
    assert sum(len(own) for own in schedules.values()) == len(scheduled) + 4

    worker = program(home, "worker")
    assert worker is not None
    # Links on the cards of its runs lead to the reports, which are served as well.
    reports = worker.environ()["TOKENCOMPOSE_REPORTS_URL"]
    wait_for(lambda: program(home, "flows.serve_reports") is not None)
    wait_for(lambda: answer_of(reports) == 404)
    again = run("serve", environment)
    assert again.returncode == 0, again.stdout + again.stderr
    assert {d["id"] for d in ask(environment, "deployments")} == {d["id"] for d in deployments}
    assert {a["id"] for a in ask(environment, "automations")} == {a["id"] for a in automations}
    assert schedules_of(environment) == schedules
    assert program(home, "worker") == worker  # it was left as it is

    server = program(home, "server")
    assert server is not None
    server.kill()
    wait_for(lambda: not server.is_running())
    wait_for(lambda: is_up(environment))
    worker.kill()
    wait_for(lambda: (new := program(home, "worker")) is not None and new.pid != worker.pid)

    stopped = run("stop", environment)
    assert stopped.returncode == 0, stopped.stderr
    assert not is_up(environment)
    assert "Nothing to stop" in run("stop", environment).stdout
    assert run("serve", environment).returncode == 0  # and it can be started again

    worker = program(home, "worker")
    assert worker is not None
    clean_checkout(home.parent / "checkout", environment, f'exec "{sys.executable}" "$@"')
    assert not worker.is_running()
    assert not is_up(environment)


def test_an_environment_that_is_broken_is_removed_too(environment: dict[str, str], tmp_path: Path):
    clean_checkout(tmp_path / "checkout", environment, "exit 1")


@pytest.mark.timeout(1800)
def test_a_schedule_fires_and_finds_nothing_to_do(environment: dict[str, str]):
    assert run("serve", environment).returncode == 0
    for automation in ask(environment, "automations"):
        if "curate what was registered" in automation["name"]:  # as a person switches it off
            send(environment, "PATCH", f"/automations/{automation['id']}", {"enabled": False})
    found = send(environment, "GET", "/deployments/name/register-captions/pocket")
    captions = {"kind": "pocket", "seed": 5, "num_images": 12, "num_damaged": 0}
    send(
        environment,
        "PATCH",
        f"/deployments/{found['id']}/schedules/{found['schedules'][0]['id']}",
        {
            "active": True,
            "schedule": {"interval": 15},
            "parameters": {"config": {"profile": "pocket", "source": captions}},
        },
    )

    def completed() -> list[dict]:
        runs = [r for r in ask(environment, "flow_runs") if r["state_type"] == "COMPLETED"]
        return sorted(runs, key=lambda flow_run: flow_run["start_time"])

    wait_for(lambda: len(completed()) >= 2)
    first, second = completed()[:2]
    assert first["auto_scheduled"]
    assert second["auto_scheduled"]
    assert second["total_run_time"] < 60  # one or two seconds where nothing else runs

    def states() -> list[str]:
        tasks = ask(environment, "task_runs")
        return [t["state_name"] for t in tasks if t["flow_run_id"] == second["id"]]

    wait_for(lambda: states() == ["Cached"] * 3)  # records are written a little later
    assert {r["flow_id"] for r in ask(environment, "flow_runs")} == {found["flow_id"]}


def test_serve_leaves_a_server_of_someone_else_alone(environment: dict[str, str]):
    python = (
        "import http.server as h\n"
        "class A(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.end_headers(); self.wfile.write(b'true')\n"
        f"h.HTTPServer(('127.0.0.1', {environment['PREFECT_SERVER_API_PORT']}), A).serve_forever()"
    )
    with subprocess.Popen([sys.executable, "-c", python], stderr=subprocess.DEVNULL) as other:
        try:
            wait_for(lambda: is_up(environment))
            refused = run("serve", environment)
        finally:
            other.kill()
    assert refused.returncode != 0
    assert "PREFECT_SERVER_API_PORT" in refused.stderr
