"""A real PostgreSQL on this machine, in a folder of its own."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.local_servers import free_port, is_open, wait_until

# Where Debian puts what is not in the path.
_FOLDERS = ":".join(str(folder) for folder in Path("/usr/lib/postgresql").glob("*/bin"))


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run a server with an empty database; the test is skipped where there is no program for it.

    Yields:
        The database's URL, for asyncpg.
    """
    initdb = shutil.which("initdb", path=f"{os.environ['PATH']}:{_FOLDERS}")
    if initdb is None:
        pytest.skip("no PostgreSQL to test with: initdb is not installed")
    as_user: list[str] = []
    if os.geteuid() == 0:  # as whom it refuses to run
        as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        if shutil.which(as_user[0]) is None:
            pytest.skip("no PostgreSQL to test with: it refuses root, and setpriv is not installed")
    # Below pytest's folder no other user may go.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    if as_user:
        shutil.chown(folder, "nobody", "nogroup")
    port = free_port()
    data, programs = folder / "data", Path(initdb).parent
    options = ["-D", str(data), "-U", "prefect", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run([*as_user, initdb, *options], cwd=folder, check=True, capture_output=True)
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [
                *[*as_user, str(programs / "postgres"), "-D", str(data), "-p", str(port)],
                *["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"],
                *["-c", "fsync=off", "-c", "max_connections=60"],
            ],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: is_open(port), 30, "PostgreSQL")
        yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(timeout=30)
        shutil.rmtree(folder)
