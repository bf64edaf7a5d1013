"""Server, worker, deployments and automations on this machine, and their end."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from configparser import ConfigParser
from contextlib import suppress
from pathlib import Path

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import get_current_settings

from flows.automations import NOTIFICATION_BLOCK, find_notification_block, register_automations
from flows.local_server import end_unused_server, is_running, ui_url
from flows.serve_reports import reports_address
from tasks.links import REPORTS_URL
from tasks.stage import open_store

_START_SECONDS = 120
_PID_SECONDS = 10
_STOP_SECONDS = 90
# Flows at once of one worker: a short one need not wait for a training; a GPU is for one alone.
POOLS = {"cpu": 2, "gpu": 1}


def serve() -> None:
    """Stand up everything, and say where it is; what stands already is left as it is.

    Pages, pictures and manifests of a store on this machine are served too, since browsers follow
    no link from the UI to a file (`flows/serve_reports.py`). With that, whoever may open a port of
    this machine on 127.0.0.1 may read them; `TOKENCOMPOSE_REPORTS_PORT=off` leaves it out.

    Raises:
        ValueError: If nothing says where the server is.
        RuntimeError: If another Prefect server has the address, or the own one does not come up.
    """
    home = Path(get_current_settings().home)
    home.mkdir(parents=True, exist_ok=True)
    if _supervisor(home) is None:
        end_unused_server()
        if is_running():
            raise RuntimeError(
                f"a Prefect server that `make serve` did not start answers at {ui_url()}; that of a"
                " command, as `make demo`, ends with the command; stop any other, or set"
                " PREFECT_SERVER_API_PORT and PREFECT_API_URL to another port"
            )
        _start_supervisor(home)
    _wait_for_server(home)
    register()
    print(f"The UI is at {ui_url()}, logs are in {home}. `make stop` ends it.")


def register() -> None:
    """Bring pools, deployments and automations of a running server to what this project says.

    Raises:
        RuntimeError: If no server answers, or it refuses a deployment.
    """
    if not is_running():
        raise RuntimeError(
            f"no Prefect server answers at {ui_url()}; start one with `make serve`, or set"
            " PREFECT_API_URL"
        )
    register_pools()
    register_deployments()
    names = register_automations()
    print(f"{len(names)} automations: {', '.join(n.removeprefix('tokencompose: ') for n in names)}")
    if find_notification_block() is None:
        print(
            "Failures are announced once there is a notification block named"
            f" {NOTIFICATION_BLOCK!r}; run `make deploy` then."
        )


def stop() -> None:
    """End what `serve` started; runs under way go on minutes after it is started again.

    Raises:
        RuntimeError: If it does not end.
    """
    home = Path(get_current_settings().home)
    supervisor = _supervisor(home)
    if supervisor is None:
        if end_unused_server():
            print("Stopped the server of a command that was killed.")
        else:
            print("Nothing to stop: `make serve` has started nothing here that still runs.")
        return
    os.kill(supervisor, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while _supervisor(home) is not None:
        if time.monotonic() > deadline:
            raise RuntimeError(f"process {supervisor} did not end within {_STOP_SECONDS} s")
        time.sleep(0.2)
    print("Stopped.")


def register_pools() -> None:
    """Make the work pools; one that is there keeps its pause, limits and job template."""
    with get_client(sync_client=True) as client:
        for pool in POOLS:
            with suppress(ObjectAlreadyExists):
                client.create_work_pool(WorkPoolCreate(name=pool, type="process"))


def register_deployments() -> None:
    """Bring all deployments to what `prefect.yaml` says, for which `prefect deploy` makes all anew.

    What a person has switched on or off stays so, and schedules that the file does not have, by
    their slugs, are made again as they were.

    Raises:
        RuntimeError: If the server refuses a deployment.
    """
    with get_client(sync_client=True) as client:
        before = {(d.name, d.flow_id): d.schedules for d in client.read_deployments()}
        try:
            _prefect("--no-prompt", "deploy", "--all")
        finally:  # it may have come to some of the deployments before it failed
            for deployment in client.read_deployments():
                _restore_schedules(
                    client, deployment, before.get((deployment.name, deployment.flow_id), [])
                )


def _restore_schedules(
    client: SyncPrefectClient, deployment: DeploymentResponse, before: Sequence[DeploymentSchedule]
) -> None:
    ids = {schedule.id for schedule in deployment.schedules}
    of_file = {schedule.slug: schedule for schedule in deployment.schedules if schedule.slug}
    for old in before:
        new = of_file.get(old.slug or "")
        if new is not None and new.active != old.active:
            client.update_deployment_schedule(deployment.id, new.id, active=old.active)
        elif new is None and old.id not in ids:
            own = old.model_dump(include=set(DeploymentScheduleCreate.model_fields))
            client.create_deployment_schedules(deployment.id, [DeploymentScheduleCreate(**own)])


def _prefect(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise RuntimeError(f"prefect {' '.join(arguments)}:\n{done.stdout}{done.stderr}")


def _start_supervisor(home: Path) -> None:
    config = ConfigParser(interpolation=None)
    config["supervisord"] = {
        "logfile": _plain(home / "supervisord.log"),
        "pidfile": _plain(_pid_path(home)),
        "directory": _plain(Path.cwd()),
    }
    _add_program(config, home, "server", "prefect", "server", "start")
    _add_program(config, home, "settle", "tasks.settle_runs")
    # A worker beside no GPU would take runs that can only fail.
    pools = [pool for pool in POOLS if pool != "gpu" or shutil.which("nvidia-smi")]
    for pool in pools:
        start = ("worker", "start", "--type", "process", "--pool", pool)
        limit = ("--limit", str(POOLS[pool]))
        _add_program(config, home, f"worker-{pool}", "prefect", *start, *limit)
    environment = dict(os.environ)
    store, address = open_store(), reports_address()
    if store.is_local and address is not None:
        _add_program(config, home, "reports", "flows.serve_reports")
        # Who serves them under another name, behind a proxy, has said so.
        environment.setdefault(REPORTS_URL, "http://{}:{}".format(*address))
    path = home / "supervisord.conf"
    with path.open("w") as file:
        config.write(file)
    subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "--configuration", str(path)],
        check=True,
        env=environment,
    )


def _add_program(config: ConfigParser, home: Path, name: str, *module: str) -> None:
    config[f"program:{name}"] = {
        "command": _plain(shlex.join([sys.executable, "-m", *module])),
        "stdout_logfile": _plain(home / f"{name}.log"),
        "redirect_stderr": "true",
        "autorestart": "true",
        # A worker waits for the server, a server for a port that is not free yet.
        "startretries": "1000000",
        "stopasgroup": "true",
        "killasgroup": "true",
        "stopwaitsecs": "60",
    }


def _plain(text: str | Path) -> str:
    """As supervisord reads it: it fills in what follows a per cent sign."""
    return str(text).replace("%", "%%")


def _wait_for_server(home: Path) -> None:
    begin = time.monotonic()
    while not is_running():
        seconds = time.monotonic() - begin
        # The supervisor notes its number some time after the command that started it has ended.
        gone = seconds > _PID_SECONDS and _supervisor(home) is None
        if seconds > _START_SECONDS or gone:
            log = home / "server.log"
            end = log.read_text()[-2000:] if log.is_file() else ""
            raise RuntimeError(f"the Prefect server did not come up; {log} ends:\n{end}")
        time.sleep(0.3)


def _pid_path(home: Path) -> Path:
    return home / "supervisord.pid"


def _supervisor(home: Path) -> int | None:
    """The process that keeps server and worker running, if it lives."""
    try:
        pid = int(_pid_path(home).read_text())
        command = psutil.Process(pid).cmdline()
    except (OSError, ValueError, psutil.Error):
        return None
    # After a restart of the machine another process may have its number.
    return pid if "supervisor.supervisord" in command else None
