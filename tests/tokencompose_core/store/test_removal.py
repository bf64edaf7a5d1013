"""Removal is whole or not at all, and spares what a run has just asked for."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.conftest import ROOT
from tests.tokencompose_core.store.hand_made_store import entries_of, publish, publish_chain
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.leftovers import Leftover, find_leftovers, remove_leftover
from tokencompose_core.store.removal import remove_entries
from tokencompose_core.store.scratch import alone_in, scratch_dir
from tokencompose_core.store.store_error import StoreError
from tokencompose_core.store.survey import Condition
from tokencompose_core.store.uses import last_uses, record_use


def test_removed_entries_leave_nothing_and_can_be_made_again(store):
    first, second = publish_chain(store, "a", "b")
    assert remove_entries(store, [second.key, "mask-v1-gone"]) in (
        [second.key],
        [second.key, "mask-v1-gone"],
    )
    assert list(entries_of(store)) == [first.key]
    assert not store.filesystem.exists(f"{store.root}/{second.key}")
    publish(store, "b", inputs={first.key: first.digest})
    assert store.find(second.key) is not None


def test_what_is_asked_for_meanwhile_is_put_back_whole(store):
    first, second, third = publish_chain(store, "a", "b", "c")
    seen = []

    def in_use() -> set[str]:
        seen.extend(store.find(m.key) for m in (first, second, third))
        return {first.key, second.key}

    assert remove_entries(store, [third.key, second.key, first.key], in_use) == [third.key]
    assert seen == [None, None, None]
    assert store.find(first.key) == first
    assert store.find(second.key) == second
    assert store.find(third.key) is None


def test_entry_made_anew_while_it_was_hidden_stays(store):
    manifest = publish(store, "a")

    def in_use() -> set[str]:
        publish(store, "a")
        return {manifest.key}

    remove_entries(store, [manifest.key], in_use)
    assert store.find(manifest.key) is not None


@pytest.fixture
def remote(tmp_path: Path) -> Store:
    """A store in memory, where a run may work while entries are removed one by one."""
    url = f"memory://{uuid.uuid4().hex}"
    return Store(url, check="digest", cache_dir=tmp_path / "cache")


class RunMeanwhile(MemoryFileSystem):
    """A file system on which something happens once, after the first entry was removed."""

    cachable = False
    happens: Callable[[], None] | None = None

    def rm(self, path, *args, **options):
        super().rm(path, *args, **options)
        happens, self.happens = self.happens, None
        if happens is not None:
            happens()


def test_entry_published_anew_before_its_files_are_removed_stays(remote: Store):
    first, second = publish(remote, "a"), publish(remote, "b")
    remote.filesystem = RunMeanwhile()

    def run() -> None:
        record_use(remote, [second.key])
        assert remote.find(second.key) is None
        publish(remote, "b")

    remote.filesystem.happens = run
    assert remove_entries(remote, [first.key, second.key]) == [first.key]
    assert remote.find(second.key) == second


def test_use_noted_while_many_entries_are_removed_spares_those_that_are_left(remote: Store):
    made = publish_chain(remote, *map(str, range(20)))
    keys = [manifest.key for manifest in reversed(made)]
    remote.filesystem = RunMeanwhile()
    remote.filesystem.happens = lambda: record_use(remote, keys[-3:])
    asked = []

    def in_use() -> set[str]:
        asked.append(last_uses(remote, datetime.now(UTC).date()).keys())
        return set(asked[-1])

    assert remove_entries(remote, keys, in_use) == keys[:-3]
    assert set(entries_of(remote)) == set(keys[-3:])
    assert all(remote.find(key) for key in keys[-3:])
    assert not asked[0]


@pytest.mark.parametrize("answers", [0, 1])
def test_entries_come_back_if_it_cannot_be_asked_what_is_in_use(remote: Store, answers: int):
    keys = [publish(remote, str(number)).key for number in range(20)]
    left = iter([()] * answers)

    def in_use() -> tuple[()]:
        try:
            return next(left)
        except StopIteration:
            raise StoreError("no answer") from None

    with pytest.raises(StoreError):
        remove_entries(remote, keys, in_use)
    there = entries_of(remote)
    assert all(entry.condition is Condition.WHOLE for entry in there.values())
    assert len(there) == (20 if not answers else 12)


def test_older_manifest_is_not_put_over_that_of_an_entry_made_anew(remote: Store):
    old = publish(remote, "a", days=9)

    def in_use() -> set[str]:
        publish(remote, "a", days=1)
        return {old.key}

    assert remove_entries(remote, [old.key], in_use) == []
    assert remote.find(old.key).provenance != old.provenance


REMOVER = """
import sys, time
from tokencompose_core.store import removal
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.survey import list_keys

store = Store(sys.argv[1])
print("ready", flush=True)
for key in list_keys(store):
    removal.remove_entries(store, [key], lambda: time.sleep(0.02) or ())
"""


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05, 0.1])
def test_killed_removal_leaves_a_valid_store(tmp_path: Path, seconds: float):
    store = Store(str(tmp_path), check="digest")
    made = [publish(store, str(number)) for number in range(60)]
    child = subprocess.Popen(
        [sys.executable, "-c", REMOVER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stdout.readline() == "ready\n"
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    child.wait()
    left = entries_of(store)
    assert 0 < len(left) <= len(made)
    assert all(entry.condition is Condition.WHOLE for entry in left.values())
    later = datetime.now(UTC) + timedelta(seconds=1)
    for leftover in find_leftovers(store, left, now=later, older_than=timedelta(days=1)):
        remove_leftover(leftover)
    beside = {path for path in tmp_path.iterdir() if path.name not in left}
    # Killed before it could lock its folder, it leaves an empty one, which goes by age.
    assert all(path.name.startswith(".removing-new-") for path in beside)
    assert not any(list(path.iterdir()) for path in beside)
    for manifest in made:
        assert publish(store, manifest.parts["name"]) == manifest


REMOTE_WRITER = """
import sys, time
from pathlib import Path
from tokencompose_core.store.content_store import Store

def write(folder):
    (folder / "half").write_bytes(b"12345")
    print("ready", flush=True)
    time.sleep(60)

Store("memory://store", cache_dir=Path(sys.argv[1])).publish("mask-v1-0", "mask", write)
"""


def test_what_a_killed_writer_of_a_remote_store_left_goes(remote: Store):
    child = subprocess.Popen(
        [sys.executable, "-c", REMOTE_WRITER, str(remote.cache_dir)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stdout.readline() == "ready\n"
    now, age = datetime.now(UTC), timedelta(days=30)
    assert find_leftovers(remote, [], now=now, older_than=age) == []
    child.kill()
    child.wait()
    (found,) = find_leftovers(remote, [], now=now, older_than=age)
    assert (found.what, found.num_bytes) == ("a killed writer's", 5)
    publish(remote, "a")  # the next writer clears up too
    assert list(remote.cache_dir.iterdir()) == []


def test_leftovers_go_by_lock_or_age(tmp_path: Path):
    store = Store(str(tmp_path))
    stored = publish(store, "a")
    now = datetime.now(UTC)
    month = (now - timedelta(days=31)).timestamp()
    two_days = (now - timedelta(days=2)).timestamp()

    def lay(name: str, changed: float) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
        for one in (path, path.parent):
            os.utime(one, (changed, changed))
        return path

    killed = lay(".writing-locked-1/x", now.timestamp()).parent
    lay(".writing-new-1/x", two_days)
    unlocked = lay(".writing-new-2/x", month).parent
    finished = lay(f"unfinished/{stored.key}/step-1", two_days).parent
    given_up = lay("unfinished/finetune-v3-0/step-1", month).parent
    lay("unfinished/finetune-v3-1/step-1", two_days)
    waiting = lay("unfinished/rows/1.sqlite", two_days)
    lay("unfinished/rows/2.sqlite", now.timestamp())
    reader = lay("unfinished/rows/locked-1/rows.sqlite", now.timestamp()).parent
    logs = lay("logs/finetune-v3-2/events", month).parent
    lay(f"logs/{stored.key}/events", month)
    with scratch_dir(tmp_path, ".removing-") as working:
        (working / "x").write_bytes(b"1")
        found = find_leftovers(store, [stored.key], now=now, older_than=timedelta(days=30))
        expected = {killed, unlocked, finished, given_up, waiting, reader, logs}
        assert {leftover.path for leftover in found} == expected
        assert {leftover.num_bytes for leftover in found} == {5}
        for leftover in found:
            remove_leftover(leftover)
        assert (working / "x").is_file()
    assert not any(path.exists() for path in expected)
    again = find_leftovers(store, [stored.key], now=now, older_than=timedelta(days=30))
    assert again == []


def test_checkpoints_that_a_run_goes_on_from_are_left_to_it(tmp_path: Path):
    store = Store(str(tmp_path))
    work_dir = store.work_dir("finetune-v3-0")
    checkpoint = work_dir / "step-1"
    checkpoint.write_bytes(b"12345")
    month = (datetime.now(UTC) - timedelta(days=31)).timestamp()

    def find() -> list[Leftover]:
        for one in (*work_dir.iterdir(), work_dir):
            os.utime(one, (month, month))
        now, age = datetime.now(UTC), timedelta(days=30)
        return find_leftovers(store, ["finetune-v3-0"], now=now, older_than=age)

    with alone_in(work_dir, lambda: None):
        assert find() == []
    (found,) = find()
    with alone_in(work_dir, lambda: None):  # taken up since it was found
        remove_leftover(found)
    assert checkpoint.is_file()
    remove_leftover(found)
    assert not work_dir.exists()
    remove_leftover(found)
