import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import fsspec
import pytest

from tests.s3_server import BUCKET, S3, s3_server
from tokencompose_core.store.content_store import MANIFEST_NAME, Store
from tokencompose_core.store.store_error import StoreError, StoreRefusedError
from tokencompose_core.store.uses import last_uses, record_use


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.settings.items():
            patch.setenv(name, value)
        yield server
    # The next server in this process has another port.
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture
def store(s3: S3, request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    url = f"s3://{BUCKET}/{request.node.name}"
    return Store(url, check="digest", cache_dir=tmp_path / "cache")


def write_two_files(folder: Path) -> dict:
    (folder / "a.txt").write_text("alpha")
    (folder / "sub").mkdir()
    (folder / "sub/b.txt").write_text("beta")
    return {"num_in": 2, "num_out": 2}


def test_published_output_is_found_and_read(store: Store):
    assert store.find("key") is None
    manifest = store.publish("key", "stage", write_two_files)
    assert store.find("key") == manifest
    assert (store.path(manifest) / "sub/b.txt").read_text() == "beta"
    file = store.file("key", "a.txt", manifest.file("a.txt").sha256)
    assert file is not None
    assert file.read_text() == "alpha"
    assert store.file("key", "z.txt", "0") is None


def test_what_others_write_and_remove_is_seen_although_folders_were_listed(store: Store, s3: S3):
    manifest = store.publish("key", "stage", write_two_files)
    prefix = store.root.removeprefix(f"{BUCKET}/")
    assert len(store.filesystem.find(store.root)) == 3
    s3.client.delete_object(Bucket=BUCKET, Key=f"{prefix}/key/sub/b.txt")
    assert store.find("key", "size") is None
    s3.client.put_object(Bucket=BUCKET, Key=f"{prefix}/key/sub/b.txt", Body=b"beta")
    assert store.find("key") == manifest
    assert len(store.filesystem.find(store.root)) == 3


def test_entry_without_its_manifest_does_not_exist_and_is_written_again(store: Store):
    manifest = store.publish("key", "stage", write_two_files)
    store.filesystem.rm_file(f"{store.root}/key/{MANIFEST_NAME}")
    assert store.find("key") is None
    assert store.publish("key", "stage", write_two_files) == manifest


def test_copy_that_is_not_what_the_manifest_says_is_not_given_out(store: Store, s3: S3):
    manifest = store.publish("key", "stage", write_two_files)
    prefix = store.root.removeprefix(f"{BUCKET}/")
    s3.client.put_object(Bucket=BUCKET, Key=f"{prefix}/key/a.txt", Body=b"alphb")
    with pytest.raises(FileNotFoundError, match=r"key/a\.txt in the store s3://.* is damaged"):
        store.path(manifest, "a.txt")
    assert store.file("key", "a.txt", manifest.file("a.txt").sha256) is None
    assert not [path for path in store.cache_dir.rglob("*") if path.is_file()]


def test_misspelt_bucket_is_refused_and_not_made(s3: S3, tmp_path: Path):
    store = Store("s3://capitons/store", cache_dir=tmp_path)
    assert store.find("key") is None
    with pytest.raises(StoreRefusedError, match=r"s3://capitons/store cannot be written.*bucket"):
        store.publish("key", "stage", write_two_files)
    assert [bucket["Name"] for bucket in s3.client.list_buckets()["Buckets"]] == [BUCKET]


def test_use_of_a_misspelt_bucket_does_not_make_it(
    s3: S3, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    record_use(Store("s3://capitons/store", cache_dir=tmp_path), ["mask-v1-0"])
    assert [bucket["Name"] for bucket in s3.client.list_buckets()["Buckets"]] == [BUCKET]
    assert "uses are not noted: the store s3://capitons/store cannot be written" in caplog.text


def test_use_that_cannot_be_noted_as_the_connection_is_lost_is_logged(
    store: Store, s3: S3, caplog: pytest.LogCaptureFixture
):
    s3.gate.shut()
    try:
        record_use(store, ["mask-v1-0"])
        with pytest.raises(StoreError, match="cannot be read"):
            last_uses(store, date(2026, 1, 1))
    finally:
        s3.gate.open()
    assert "uses are not noted: the store s3://" in caplog.text
    record_use(store, ["mask-v1-0"])
    assert last_uses(store, date(2026, 1, 1)).keys() == {"mask-v1-0"}


def test_lost_connection_is_not_taken_for_an_output_that_is_not_there(store: Store, s3: S3):
    manifest = store.publish("key", "stage", write_two_files)
    s3.gate.shut()
    begin = time.monotonic()
    try:
        said = r"the store s3://captions/\S+ cannot be read .*The same run then goes on"
        with pytest.raises(StoreError, match=said):
            store.find("key")
        with pytest.raises(StoreError, match=said):
            store.path(manifest, "a.txt")
        with pytest.raises(StoreError, match=said):
            store.file("key", "a.txt", manifest.file("a.txt").sha256)
    finally:
        s3.gate.open()
    assert time.monotonic() - begin < 60
    assert store.find("key") == manifest


def test_connection_lost_while_an_output_is_written_leaves_none(store: Store, s3: S3):
    def write(folder: Path) -> dict:
        s3.gate.shut()
        return write_two_files(folder)

    try:
        with pytest.raises(StoreError, match="the store s3://"):
            store.publish("key", "stage", write)
    finally:
        s3.gate.open()
    assert store.find("key") is None
    assert store.publish("key", "stage", write_two_files).num_out == 2


def test_of_two_writers_the_first_one_wins(store: Store, monkeypatch: pytest.MonkeyPatch):
    put_file, others = store.filesystem.put_file, []

    def put_after_another(*args: str) -> None:
        monkeypatch.undo()
        others.append(store.publish("key", "stage", write_two_files))
        put_file(*args)

    monkeypatch.setattr(store.filesystem, "put_file", put_after_another)
    ours = store.publish("key", "stage", lambda folder: write_two_files(folder) | {"num_in": 3})
    assert [ours] == others
    assert store.find("key") == ours
