"""The same rules on a store behind S3, whose listings fsspec remembers."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from tests.tokencompose_core.store.hand_made_store import (
    NOW,
    entries_of,
    publish_chain,
    start_notes,
)
from tests.tokencompose_core.store.test_unreferenced import chosen
from tokencompose_core.store.content_store import MANIFEST_NAME, Store
from tokencompose_core.store.removal import remove_entries
from tokencompose_core.store.survey import Condition, list_keys
from tokencompose_core.store.uses import last_uses, record_use


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    # fsspec would hand out a file system of another test, which knows another server.
    s3fs.S3FileSystem.clear_instance_cache()
    fsspec.filesystem("s3").mkdir("bucket")
    yield Store("s3://bucket/store", check="digest", cache_dir=tmp_path)
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_what_is_asked_for_meanwhile_is_put_back_and_the_rest_goes(store: Store):
    start_notes(store)
    first, second, third = publish_chain(store, "a", "b", "c")
    record_use(store, [first.key], NOW.date())
    assert chosen(store).to_remove == [third.key, second.key]

    def in_use() -> set[str]:
        record_use(store, [second.key], NOW.date())
        return set(last_uses(store, NOW.date()))

    assert remove_entries(store, [third.key, second.key], in_use) == [third.key]
    assert list_keys(store) == sorted([first.key, second.key])
    assert store.find(second.key) == second
    store.filesystem.rm_file(f"{store.root}/{second.key}/{MANIFEST_NAME}")
    conditions = {key: entry.condition for key, entry in entries_of(store).items()}
    assert conditions == {first.key: Condition.WHOLE, second.key: Condition.INCOMPLETE}
