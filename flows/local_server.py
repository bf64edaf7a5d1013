"""A Prefect server on this machine, for runs from the command line, which share it."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import httpx
import psutil
from prefect.logging.handlers import APILogHandler
from prefect.settings import get_current_settings

_START_SECONDS = 120
_STOP_SECONDS = 30
# In the environment of a server that a command has started: the file with its number. After a
# restart of the machine another process may have that number, but not this.
_MARK = "TOKENCOMPOSE_SERVER_NOTE"


def ui_url() -> str:
    """Where the UI is, if a server runs.

    Raises:
        ValueError: If nothing says where the server is.
    """
    return _api_url().removesuffix("/api")


def is_running() -> bool:
    """Whether a server answers at the API's address.

    Raises:
        ValueError: If nothing says where that is.
    """
    try:
        return httpx.get(f"{_api_url()}/health", timeout=15).is_success
    except httpx.HTTPError:
        return False


def is_lasting() -> bool:
    """Whether a server answers that does not end with the commands that use it."""
    return is_running() and _noted_server() is None


@contextmanager
def local_server() -> Iterator[None]:
    """Have a Prefect server while the context lasts.

    One that runs already is used. Commands that need one at once share it, and the last of them
    ends it, whichever started it; a server that no command started is left as it is.

    Raises:
        ValueError: If nothing says where the server is.
        RuntimeError: If a server does not come up, with the end of its log.
    """
    _api_url()  # if there is none, no server will ever answer
    with _open("lock") as users, _open("start.lock") as starters:
        try:
            # Who waits here is no user yet: a server that did not come up is ended before.
            fcntl.flock(starters, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_SH)
            if not is_running():
                _start()
            fcntl.flock(starters, fcntl.LOCK_UN)
            yield
        finally:
            # What is still on its way to the server would be sent in vain, and waited for.
            if _noted_server() is not None and is_running():
                APILogHandler().flush()
            _end_unless_used(users)


def end_unused_server() -> bool:
    """End the server that killed commands have left, and say whether there was one."""
    with _open("lock") as users:
        return _end_unless_used(users)


def _api_url() -> str:
    url = get_current_settings().api.url
    if url is None:
        raise ValueError(
            "nothing says where the Prefect server is: run this in the folder of the project, whose"
            " pyproject.toml does, or set PREFECT_API_URL"
        )
    return str(url)


def _path(ending: str) -> Path:
    """A file about the server that commands start: one for each port, as for each server."""
    settings = get_current_settings()
    home = Path(settings.home).resolve()
    home.mkdir(parents=True, exist_ok=True)
    # Not `server.pid`, which is Prefect's own.
    return home / f"command-server-{settings.server.api.port}.{ending}"


def _open(ending: str) -> IO[str]:
    return _path(ending).open("a+")


def _start() -> None:
    """Start a server, or wait for one whose starter was killed meanwhile."""
    log_path = _path("pid").with_name("server.log")
    if _noted_server() is None:
        with log_path.open("w") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "prefect", "server", "start"],
                stdout=log,
                stderr=log,
                env=os.environ | {_MARK: str(_path("pid"))},
                # Ctrl-C in this command's terminal would end it under the others.
                start_new_session=True,
            )
        _path("pid").write_text(str(server.pid))
    deadline = time.monotonic() + _START_SECONDS
    while not is_running():
        if _noted_server() is None or time.monotonic() > deadline:
            raise RuntimeError(
                f"the Prefect server did not come up; {log_path} ends:\n"
                + log_path.read_text()[-2000:]
            )
        time.sleep(0.3)


def _noted_server() -> psutil.Process | None:
    """The server that a command has started, if it lives."""
    path = _path("pid")
    try:
        server = psutil.Process(int(path.read_text()))
        return server if server.environ().get(_MARK) == str(path) else None
    except (OSError, ValueError, psutil.Error):
        return None


def _end_unless_used(users: IO[str]) -> bool:
    """Give up a place among the users; who was the last ends the server."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        server = _noted_server()
        if server is not None:
            with suppress(psutil.NoSuchProcess):
                server.terminate()
                try:
                    server.wait(_STOP_SECONDS)
                except psutil.TimeoutExpired:
                    server.kill()
                    server.wait(_STOP_SECONDS)
        _path("pid").unlink(missing_ok=True)
        return server is not None
    finally:
        # A forked process may still have the file open, and the lock with it.
        fcntl.flock(users, fcntl.LOCK_UN)
