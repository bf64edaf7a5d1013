import fcntl
import logging
import os
import shutil
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.scratch import alone_at_once, alone_in, is_abandoned, scratch_dir

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


HOLD_ONE = """
import sys, time
from pathlib import Path
from tokencompose_core.store.scratch import alone_in
with alone_in(Path(sys.argv[1]), print):
    (Path(sys.argv[1]) / "checkpoint").write_text("x")
    print("held", flush=True)
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


def lock_as_nfs_does(monkeypatch) -> None:
    """NFS asks its server about files, open for writing, and locks folders for this machine only.

    By Linux' nfs_dir_operations, which have no flock, and nfs(5).
    """
    flock = fcntl.flock

    def over_nfs(descriptor: int, operation: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            return
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(9, "Bad file descriptor")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", over_nfs)


def test_folders_of_living_processes_on_other_machines_stay_on_nfs(tmp_path, monkeypatch):
    living, used = start(tmp_path)
    lock_as_nfs_does(monkeypatch)
    try:
        with scratch_dir(tmp_path):
            assert (used / "deep/file").is_file()
        with alone_at_once(used) as alone:
            assert not alone
        assert not is_abandoned(used)
    finally:
        end(living)
    with scratch_dir(tmp_path):
        assert not used.exists()


def test_half_written_output_of_a_killed_process_goes_with_the_next_output(tmp_path):
    killed, left = start(tmp_path, ".writing-")
    end(killed)
    assert left.is_dir()
    store = Store(str(tmp_path))
    store.publish("a-v1-0", "a", lambda folder: {"num_in": (folder / "f").write_text("f")})
    assert [path.name for path in tmp_path.iterdir()] == ["a-v1-0"]


def test_folder_of_a_killed_process_is_had_by_the_next_with_what_is_in_it(tmp_path, caplog):
    folder = tmp_path / "deep/work"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_ONE, str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    waited = []

    def kill_after_two() -> None:
        waited.append((folder / "checkpoint").is_file())
        if len(waited) == 2:
            end(process)

    try:
        with caplog.at_level(logging.INFO), alone_in(folder, kill_after_two):
            assert waited == [True, True]
            assert (folder / "checkpoint").is_file()
    finally:
        process.kill()
    assert caplog.text.count("another run works in") == 1


def test_folder_that_was_removed_when_its_work_was_done_is_made_anew(tmp_path):
    folder = tmp_path / "work"

    @contextmanager
    def held_and_removed():
        with alone_in(folder, never):
            yield
            shutil.rmtree(folder)

    def never() -> None:
        raise AssertionError

    first = held_and_removed()
    first.__enter__()

    def finish() -> None:
        first.__exit__(None, None, None)
        assert not folder.exists()

    with alone_in(folder, finish):
        assert folder.is_dir()
        with pytest.raises(AssertionError), alone_in(folder, never):
            pass


def test_what_is_raised_while_waiting_ends_the_wait(tmp_path):
    def give_up() -> None:
        raise KeyboardInterrupt

    with alone_in(tmp_path, give_up), pytest.raises(KeyboardInterrupt), alone_in(tmp_path, give_up):
        pass
    with alone_in(tmp_path, give_up):
        pass
