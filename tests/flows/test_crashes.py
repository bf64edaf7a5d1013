"""Two moments of `make bench-crashes`; the whole table is in docs/crashes.md."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.local_servers import free_port

_LINE = re.compile(r"^ +(\w+) +\d+% +(\w+(?: \w+)?)  +(\w+) +\d+ s .*  (yes|NO)$", re.MULTILINE)

STATES = {
    "flow": "Crashed",
    "deleted": "Crashed",
}


@pytest.mark.timeout(1800)  # minutes, on two cores without other work
def test_what_was_killed_goes_on_to_the_same_outputs(tmp_path: Path):
    command = [sys.executable, "benchmarks/crash_matrix.py", "--port", str(free_port())]
    kinds = "flow,deleted"
    command += ["--moments", "2", "--kinds", kinds, "--keep", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    seen = _LINE.findall(ran.stdout)
    assert len(seen) == 2, ran.stdout
    for _, what, state, same in seen:
        assert (state, same) == (STATES[what], "yes"), ran.stdout
    # One that is meant for a stage of a moment may fall on the next one.
    assert re.search(r"2 moments in \d stages, 0 of them bad", ran.stdout)
