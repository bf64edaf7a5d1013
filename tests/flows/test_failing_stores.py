"""A store that fails: a clear error, a state that is true, and a re-run that goes on."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from tests.local_servers import wait_until
from tests.s3_server import BUCKET, s3_server
from tests.stored_numbers import BEFORE, run_numbers, states_of_tasks
from tokencompose_core.store.store_error import StoreError, StoreRefusedError

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(autouse=True)
def _nothing_before() -> Iterator[None]:
    yield
    BEFORE.clear()


def test_store_that_cannot_be_written_is_named_at_once(monkeypatch: pytest.MonkeyPatch):
    # Nobody may make a folder there, root neither.
    monkeypatch.setenv("TOKENCOMPOSE_STORE", "/sys/tokencompose")
    state = run_numbers()
    assert state.is_failed()
    with pytest.raises(StoreRefusedError, match=r"/sys/tokencompose cannot be written .*the right"):
        state.result()


def test_store_that_is_a_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TOKENCOMPOSE_STORE", str(tmp_path / "file"))
    state = run_numbers()
    assert state.is_failed()
    with pytest.raises(StoreRefusedError, match=r"the store \S+/file cannot be read"):
        state.result()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for two numbers."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no full disk to test with: this user may not mount one")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_stops_the_stage_and_what_was_stored_stays(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TOKENCOMPOSE_STORE", str(small_disk / "store"))
    state = run_numbers()
    assert state.is_failed()
    with pytest.raises(StoreError, match=r"no space is left for .*/disk/store.*Make room"):
        state.result()
    stored = [path.parent.stat().st_ino for path in small_disk.glob("store/*/manifest.json")]
    assert len(stored) == 2
    # The server writes records a little later, in any order.
    wanted = ["Completed", "Completed", "Failed"]
    wait_until(lambda: states_of_tasks(state) == wanted, 180, "records")
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert run_numbers().result() == ["Cached", "Cached", "Completed"]
    again = [path.parent.stat().st_ino for path in small_disk.glob("store/*/manifest.json")]
    assert set(stored) < set(again)


def test_lost_connection_to_an_object_store_fails_the_flow_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with s3_server(tmp_path) as s3:
        for name, value in s3.settings.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("TOKENCOMPOSE_STORE", f"s3://{BUCKET}/store")
        monkeypatch.setenv("TOKENCOMPOSE_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")  # or it takes a while until one is given up
        BEFORE.append(lambda number: s3.gate.shut() if number == 1 else None)
        state = run_numbers(5)
        assert state.is_failed()
        with pytest.raises(StoreError, match=r"s3://captions/store cannot be (read|written) \("):
            state.result()
        # The third one may have begun before the second one's end was seen; no other has.
        few, more = ["Completed", "Failed"], ["Completed", "Failed", "Failed"]
        wait_until(lambda: states_of_tasks(state) in (few, more), 180, "records")
        BEFORE.clear()
        s3.gate.open()
        assert run_numbers(5).result() == ["Cached", *["Completed"] * 4]
    fsspec.get_filesystem_class("s3").clear_instance_cache()
