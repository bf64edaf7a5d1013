"""Notes of uses are whole, and a store that cannot tell them is not taken for one without."""

import errno
import resource
from datetime import date
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from tests.tokencompose_core.store.hand_made_store import key_of
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.keys import canonical_json, text_digest
from tokencompose_core.store.store_error import StoreError
from tokencompose_core.store.uses import first_recorded, last_uses, record_use

DAY = date(2026, 6, 1)
EARLIER = date(2026, 5, 20)


def note_path(store: Store, keys: list[str], day: date = DAY) -> str:
    digest = text_digest(canonical_json(keys))[:32]
    return f"{store.root}/used/{day.isoformat()}/{digest}.json"


@pytest.mark.parametrize("left", [b"", b'["mask', b"{}", b"\xff"])
def test_what_a_full_disk_left_of_a_note_is_written_again(store: Store, left: bytes):
    keys = [key_of("a")]
    record_use(store, keys, DAY)
    store.filesystem.pipe_file(note_path(store, keys), left)
    assert last_uses(store, DAY) == {}
    record_use(store, keys, DAY)
    assert last_uses(store, DAY).keys() == {*keys}


@pytest.mark.parametrize("left", [b"", b"2026-0", b"\xff", None])
def test_lost_first_day_is_told_by_the_notes_and_written_again(store: Store, left: bytes | None):
    record_use(store, ["x"], EARLIER)
    since = f"{store.root}/used/since.txt"
    if left is None:
        store.filesystem.rm_file(since)
    else:
        store.filesystem.pipe_file(since, left)
    assert first_recorded(store) == EARLIER
    record_use(store, ["y"], DAY)
    assert store.filesystem.cat_file(since).decode() == EARLIER.isoformat()


def test_first_day_without_any_note_is_the_next_day_with_one(store: Store):
    record_use(store, ["x"], EARLIER)
    store.filesystem.rm(f"{store.root}/used/{EARLIER.isoformat()}", recursive=True)
    store.filesystem.pipe_file(f"{store.root}/used/since.txt", b"")
    assert first_recorded(store) is None
    record_use(store, ["x"], DAY)
    assert first_recorded(store) == DAY


def test_disk_that_takes_no_byte_leaves_no_note(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    store = Store(str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        record_use(store, ["x"], DAY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "uses are not noted" in caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    record_use(store, ["x"], DAY)
    assert last_uses(store, DAY).keys() == {"x"}


class FailingDisk(LocalFileSystem):
    """A disk none of whose notes can be read now."""

    def cat_file(self, path, *args, **options):
        raise OSError(errno.EIO, "Input/output error", path)


def test_notes_that_cannot_be_read_are_not_taken_for_none(tmp_path: Path):
    store = Store(str(tmp_path))
    record_use(store, ["x"], DAY)
    store.filesystem = FailingDisk(skip_instance_cache=True)
    with pytest.raises(StoreError, match="cannot be read"):
        last_uses(store, DAY)
    with pytest.raises(StoreError, match="cannot be read"):
        first_recorded(store)


def test_notes_that_were_read_are_not_read_again_and_new_ones_are(tmp_path: Path):
    store, known = Store(str(tmp_path)), {}
    record_use(store, ["x"], DAY)
    assert last_uses(store, DAY, known).keys() == {"x"}
    Path(note_path(store, ["x"])).write_text("[]")
    record_use(store, ["y"], DAY)
    assert last_uses(store, DAY, known).keys() == {"x", "y"}
