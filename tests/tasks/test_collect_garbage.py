"""What gc does on a disk that fails for a while, and with settings that name nothing."""

import errno
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from data_schemas.configs.operate_config import GcConfig
from tasks.collect_garbage import collect_garbage
from tasks.stage import open_store
from tests.tokencompose_core.store.hand_made_store import NOW, publish, start_notes
from tokencompose_core.store.content_store import MANIFEST_NAME, Store
from tokencompose_core.store.store_error import StoreError
from tokencompose_core.store.survey import look_at

DELETE = GcConfig(delete=True)


class FailingDisk(LocalFileSystem):
    """A disk some of whose files and folders cannot be read now.

    Attributes:
        unreadable: Ends of the paths that cannot.
        empty_once: Ends of the paths of folders that look empty the first time.
    """

    protocol = "failing"
    unreadable: tuple[str, ...] = ()
    empty_once: tuple[str, ...] = ()

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("failing://"))

    def cat_file(self, path, *args, **options):
        self._fail(path)
        return super().cat_file(path, *args, **options)

    def ls(self, path, *args, **options):
        self._fail(path)
        if self.empty_once and path.endswith(self.empty_once):
            FailingDisk.empty_once = ()
            return []
        return super().ls(path, *args, **options)

    def _fail(self, path):
        if self.unreadable and path.endswith(self.unreadable):
            raise OSError(errno.EIO, "Input/output error", path)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store on such a disk, whose uses have been noted for long."""
    fsspec.register_implementation("failing", FailingDisk, clobber=True)
    monkeypatch.setenv("TOKENCOMPOSE_STORE", f"failing://{tmp_path}/store")
    opened = open_store()
    start_notes(opened)
    yield opened
    FailingDisk.unreadable = FailingDisk.empty_once = ()


@pytest.mark.parametrize("failing", [MANIFEST_NAME, "/model", "/store"])
def test_gc_stops_and_removes_nothing_if_an_entry_cannot_be_read(store: Store, failing: str):
    model = publish(store, "model", stage="finetune")
    old = publish(store, "old")
    FailingDisk.unreadable = (failing,)
    with pytest.raises(StoreError, match=r"/store\S* cannot be read .*Input/output error"):
        collect_garbage(DELETE, NOW)
    FailingDisk.unreadable = ()
    assert store.find(model.key) == model
    assert store.find(old.key) == old
    assert collect_garbage(DELETE, NOW).going == [old.key]
    assert store.find(model.key) == model


def test_gc_looks_once_more_at_what_seemed_broken(store: Store):
    young = publish(store, "young", days=3)
    FailingDisk.empty_once = (f"{young.key}/model",)
    found = collect_garbage(DELETE, NOW)
    assert (found.going, found.spared) == ([young.key], 1)
    assert store.find(young.key) == young
    store.filesystem.rm_file(f"{store.root}/{young.key}/model/b.bin")
    assert collect_garbage(DELETE, NOW).spared == 0
    assert look_at(store, young.key) is None


def test_gc_leaves_pinned_outputs_alone_though_they_are_broken(store: Store):
    model = publish(store, "model", stage="finetune")
    kept = publish(store, "kept")
    for manifest in (model, kept):
        store.filesystem.rm_file(f"{store.root}/{manifest.key}/a.txt")
    found = collect_garbage(DELETE.model_copy(update={"keep": (kept.key,)}), NOW)
    assert (found.going, found.kept_because) == ([], {"pinned": 2})
    assert look_at(store, model.key) is not None
    collect_garbage(DELETE, NOW + timedelta(days=1))
    assert look_at(store, kept.key) is None


@pytest.mark.parametrize("stages", [("fine-tune",), ("finetune", "Train")])
def test_gc_refuses_a_misspelt_stage_and_removes_nothing(store: Store, stages: tuple[str, ...]):
    model = publish(store, "model", stage="finetune")
    config = DELETE.model_copy(update={"keep_stages": stages})
    with pytest.raises(ValueError, match=rf"no stage {stages[-1]}, but .*finetune, .*register"):
        collect_garbage(config, NOW)
    assert store.find(model.key) == model


def test_gc_keeps_stages_of_the_project_and_those_of_other_releases(store: Store):
    stages = ("train", "former")  # nothing in the store is of the first
    kept, old = publish(store, "kept", stage="former"), publish(store, "old", stage="finetune")
    found = collect_garbage(DELETE.model_copy(update={"keep_stages": stages}), NOW)
    assert (found.going, found.kept_because) == ([old.key], {"pinned": 1})
    assert store.find(kept.key) == kept
