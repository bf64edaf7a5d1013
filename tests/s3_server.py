"""A real S3 server on this machine, and a connection to it that can be lost."""

import select
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.curated_elsewhere import service
from tests.local_servers import free_port, is_open, wait_until

BUCKET = "captions"


class Gate:
    """Passes connections on to a port of this machine, until it is shut.

    Args:
        target: The port.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self._sockets: set[socket.socket] = set()
        self.open()

    def open(self) -> None:
        """Take connections."""
        gate = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", gate.target)) as other:
                    pair = {self.request: other, other: self.request}
                    gate._sockets |= set(pair)
                    with suppress(OSError, ValueError):
                        _pass_on(pair)
                    gate._sockets -= set(pair)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def shut(self) -> None:
        """Take no more connections, and cut those there are."""
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._sockets):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _pass_on(pair: dict[socket.socket, socket.socket]) -> None:
    while True:
        for sender in select.select(list(pair), [], [])[0]:
            content = sender.recv(1 << 16)
            if not content:
                return
            pair[sender].sendall(content)


@dataclass(frozen=True)
class S3:
    """A server with one empty bucket.

    Attributes:
        settings: What a process needs in its environment to reach it, through the gate.
        gate: Between it and its clients.
        client: Of boto3, which goes past the gate, and past whatever fsspec remembers.
    """

    settings: dict[str, str]
    gate: Gate
    client: Any


@contextmanager
def s3_server(folder: Path) -> Iterator[S3]:
    """Run moto's server; the test is skipped where it is not installed.

    Args:
        folder: For its log.
    """
    for name in ("s3fs", "flask", "moto"):
        pytest.importorskip(name, reason=f"no S3 server to test with: {name} is not installed")
    import boto3

    port = free_port()
    account = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with service(command, {}, folder / "s3.log"):
        wait_until(lambda: is_open(port), 60, "moto's server")
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name=account["AWS_DEFAULT_REGION"],
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        client.create_bucket(Bucket=BUCKET)
        gate = Gate(port)
        try:
            yield S3(account | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{gate.port}"}, gate, client)
        finally:
            gate.shut()
