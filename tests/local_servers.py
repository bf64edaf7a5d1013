"""Servers on this machine: a port for one, the wait until it is up, and small ones in a thread."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def own_prefect(folder: Path) -> dict[str, str]:
    """An environment whose Prefect has a port of its own, and its files in a folder."""
    port = free_port()
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("PREFECT")},
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_PORT": str(port),
        "TOKENCOMPOSE_STORE": str(folder / "store"),
    }


def is_open(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def wait_until(is_so: Callable[[], Any], seconds: float, what: str) -> None:
    """Wait for something to become true.

    Raises:
        TimeoutError: If it does not.
    """
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.1)


class QuietAnswers:
    """What a `BaseHTTPRequestHandler` of a test answers with; it prints nothing of who asks."""

    def answer(self, code: int, content: bytes, reason: str | None = None, **headers: str) -> None:
        """Send a status, the content, and its length unless `headers` lie about it."""
        self.send_response(code, reason)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


class _PatientServer(ThreadingHTTPServer):
    """Has all who connect at once wait, and lets none try again a second later."""

    request_queue_size = 128


@contextmanager
def http_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Run a server in a thread.

    Yields:
        Its port.
    """
    running = _PatientServer(("127.0.0.1", 0), handler)
    running.handle_error = lambda *_: None  # clients that leave early are what is tested
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running.server_port
    running.shutdown()
    running.server_close()
