import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.scratch import scratch_dir

HOLD = """
import sys, time
from pathlib import Path
from tokencompose_core.store.scratch import scratch_dir
with scratch_dir(Path(sys.argv[1]), sys.argv[2]) as folder:
    (folder / "deep").mkdir()
    (folder / "deep/file").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


def start(parent: Path, prefix: str = "") -> tuple[subprocess.Popen, Path]:
    """Another process with a folder of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(parent), prefix],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.communicate()


def test_folder_is_there_while_the_context_lasts(tmp_path):
    with scratch_dir(tmp_path) as one, scratch_dir(tmp_path) as other:
        (one / "a").write_text("a")
        assert sorted(tmp_path.iterdir()) == sorted([one, other])
    assert not list(tmp_path.iterdir())
    with pytest.raises(ZeroDivisionError), scratch_dir(tmp_path):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_goes_and_what_a_living_one_has_stays(tmp_path):
    (tmp_path / "kept.sqlite").write_text("not a folder of this kind")
    living, used = start(tmp_path)
    try:
        killed, left = start(tmp_path)
        end(killed)
        assert (left / "deep/file").is_file()
        with scratch_dir(tmp_path, "other-"):
            assert left.is_dir()
        with scratch_dir(tmp_path):
            assert not left.exists()
            assert (used / "deep/file").is_file()
    finally:
        end(living)
    with scratch_dir(tmp_path) as own:
        assert {path.name for path in tmp_path.iterdir()} == {"kept.sqlite", own.name}


def test_half_written_output_of_a_killed_process_goes_with_the_next_output(tmp_path):
    killed, left = start(tmp_path, ".writing-")
    end(killed)
    assert left.is_dir()
    store = Store(str(tmp_path))
    store.publish("a-v1-0", "a", lambda folder: {"num_in": (folder / "f").write_text("f")})
    assert [path.name for path in tmp_path.iterdir()] == ["a-v1-0"]
