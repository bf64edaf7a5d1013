"""Commands that run at once share a server, and the last of them ends it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.local_servers import is_open, own_prefect, wait_until

_SECONDS = 300
# As in a terminal: what runs in the background of a shell ignores Ctrl-C, and so would this.
_COMMAND = """
import signal, sys
from flows.local_server import local_server

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    with local_server():
        print("has it", flush=True)
        sys.stdin.readline()
except KeyboardInterrupt:
    sys.exit(130)
"""


class Prefect:
    """Commands, and servers, with a Prefect of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.environment = own_prefect(folder)
        self.port = int(self.environment["PREFECT_SERVER_API_PORT"])
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # as from another terminal
        )
        self.processes.append(process)
        return process

    def command(self) -> subprocess.Popen[str]:
        return self.start("-c", _COMMAND)

    def servers(self) -> list[psutil.Process]:
        """All servers on the port, whoever started them."""
        found = []
        for process in psutil.process_iter():
            try:
                if (
                    process.cmdline()[-3:] == ["prefect", "server", "start"]
                    and process.environ().get("PREFECT_SERVER_API_PORT") == str(self.port)
                    and process.status() != psutil.STATUS_ZOMBIE
                ):
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture
def prefect(tmp_path: Path) -> Iterator[Prefect]:
    own = Prefect(tmp_path)
    yield own
    for process in own.processes:
        process.kill()
        process.communicate()
    for server in own.servers():
        server.kill()


def wait_for_server(command: subprocess.Popen[str]) -> None:
    assert command.stdout is not None
    said = command.stdout.readline()
    assert said == "has it\n", said + command.stdout.read()


def finish(command: subprocess.Popen[str]) -> None:
    out, _ = command.communicate("\n", timeout=_SECONDS)
    assert command.returncode == 0, out


def test_two_commands_share_a_server_that_the_last_one_ends(prefect: Prefect):
    first, second = prefect.command(), prefect.command()
    for command in (first, second):
        wait_for_server(command)
    (server,) = prefect.servers()
    finish(first)
    assert is_open(prefect.port)
    # Ctrl-C in the terminal of the second, while a third is there.
    third = prefect.command()
    wait_for_server(third)
    os.killpg(second.pid, signal.SIGINT)
    second.wait(_SECONDS)
    time.sleep(1)
    assert prefect.servers() == [server]
    assert is_open(prefect.port)
    finish(third)
    assert prefect.servers() == []


def test_a_server_whose_command_was_killed_is_ended_by_the_next_one(prefect: Prefect):
    killed = prefect.command()
    wait_for_server(killed)
    (server,) = prefect.servers()
    killed.kill()
    killed.wait(_SECONDS)
    # It is taken over, and by a second one as well.
    after, beside = prefect.command(), prefect.command()
    for command in (after, beside):
        wait_for_server(command)
    assert prefect.servers() == [server]
    finish(after)
    stop = prefect.start("-m", "flows", "stop")  # leaves it to who uses it
    assert "Nothing to stop" in stop.communicate(timeout=_SECONDS)[0]
    assert is_open(prefect.port)
    beside.kill()
    beside.wait(_SECONDS)
    # Nobody is left to end it but who is asked to.
    stop = prefect.start("-m", "flows", "stop")
    assert "Stopped the server of a command that was killed." in stop.communicate()[0]
    assert prefect.servers() == []


def test_a_command_that_is_killed_while_its_server_comes_up_leaves_it_to_the_next(
    prefect: Prefect,
):
    killed = prefect.command()
    wait_until(prefect.servers, _SECONDS, "the server's process")
    killed.kill()
    (server,) = prefect.servers()
    after = prefect.command()
    wait_for_server(after)
    assert prefect.servers() == [server]
    finish(after)
    assert prefect.servers() == []


def test_a_server_that_no_command_started_is_left_alone(prefect: Prefect):
    prefect.start("-m", "prefect", "server", "start")
    wait_until(lambda: is_open(prefect.port), _SECONDS, "the server")
    (server,) = prefect.servers()
    command = prefect.command()
    wait_for_server(command)
    finish(command)
    assert prefect.servers() == [server]
    stop = prefect.start("-m", "flows", "stop")
    assert "Nothing to stop" in stop.communicate(timeout=_SECONDS)[0]
    assert prefect.servers() == [server]


def test_without_an_address_a_command_says_at_once_how_to_get_one(tmp_path: Path):
    own = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT")}
    begin = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "flows", "verify"],
        cwd=tmp_path,
        env=own | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    assert ran.returncode == 1
    assert "in the folder of the project" in ran.stderr
    assert "PREFECT_API_URL" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert time.monotonic() - begin < 100  # a server is waited for twice as long
    assert not list(tmp_path.rglob("*.log"))


def test_ctrl_c_ends_the_server_of_make_ui_without_a_traceback(prefect: Prefect):
    ui = prefect.start("-m", "flows", "ui")
    wait_until(lambda: is_open(prefect.port), _SECONDS, "the server")
    os.killpg(ui.pid, signal.SIGINT)
    said, _ = ui.communicate(timeout=_SECONDS)
    assert "Server stopped!" in said
    assert "Traceback" not in said
    assert prefect.servers() == []
