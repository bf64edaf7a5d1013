"""A Prefect server on this machine, for runs from the command line."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from prefect.logging.handlers import APILogHandler
from prefect.settings import get_current_settings

_START_SECONDS = 120


def ui_url() -> str:
    """Where the UI is, if a server runs."""
    return str(get_current_settings().api.url).removesuffix("/api")


def is_running() -> bool:
    """Whether a server answers at the API's address."""
    try:
        return httpx.get(f"{get_current_settings().api.url}/health", timeout=15).is_success
    except httpx.HTTPError:
        return False


@contextmanager
def local_server() -> Iterator[None]:
    """Have a Prefect server while the context lasts; one that runs already is left as it is.

    Raises:
        RuntimeError: If a server does not come up, with the end of its log.
    """
    if is_running():
        yield
        return
    home = Path(get_current_settings().home)
    home.mkdir(parents=True, exist_ok=True)
    log_path = home / "server.log"
    with log_path.open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start"], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not is_running():
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"the Prefect server did not come up; {log_path} ends:\n"
                    + log_path.read_text()[-2000:]
                )
            time.sleep(0.3)
        yield
    finally:
        # What is still on its way to the server would be sent in vain, and waited for.
        if is_running():
            APILogHandler().flush()
        server.terminate()
        server.wait(timeout=30)
