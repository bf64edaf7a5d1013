"""A moment of `make bench-crashes`; the whole table is in docs/crashes.md."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.local_servers import free_port

_LINE = re.compile(r"^ +\w+ +\d+% +deleted +Crashed +\d+ s .*  yes$", re.MULTILINE)


@pytest.mark.timeout(1800)  # minutes, on two cores without other work
def test_what_was_killed_and_damaged_goes_on_to_the_same_outputs(tmp_path: Path):
    command = [sys.executable, "benchmarks/crash_matrix.py", "--port", str(free_port())]
    command += ["--moments", "1", "--kinds", "deleted", "--keep", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert len(_LINE.findall(ran.stdout)) == 1, ran.stdout
    assert "1 moments in 1 stages, 0 of them bad" in ran.stdout
