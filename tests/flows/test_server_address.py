"""Where a server that starts from the project's folder listens."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

CODE = (
    "from prefect.settings import get_current_settings;"
    "print(get_current_settings().server.api.host)"
)


@pytest.mark.parametrize(
    ("told", "host"), [({}, "127.0.0.1"), ({"PREFECT_SERVER_API_HOST": "0.0.0.0"}, "0.0.0.0")]
)
def test_server_listens_on_this_machine_unless_told_otherwise(told, host):
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    ran = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=ROOT,
        env=own | told,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == host
