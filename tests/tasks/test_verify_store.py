"""What `verify` calls broken, and what it does not."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from data_schemas.configs.operate_config import VerifyConfig
from tasks.opened_store import open_store, store_url
from tasks.verify_store import health_lines, verify_store

KEY = "finetune-v3-" + "a" * 32


def test_output_that_is_being_uploaded_is_not_broken(monkeypatch):
    monkeypatch.setenv("TOKENCOMPOSE_STORE", "memory://verify/uploaded")
    store = open_store()
    store.publish("a-v1-0", "a", lambda folder: {"num_in": (folder / "f").write_text("f")})
    store.filesystem.pipe_file(f"{store.root}/{KEY}/unet.safetensors", b"half")
    found = verify_store(VerifyConfig())
    assert found.broken == {}
    assert found.uploaded == {KEY: "incomplete: it has no manifest.json"}
    assert any(line.startswith(KEY) for line in health_lines(found))

    long_ago = datetime.now(UTC) - timedelta(days=2)
    store.filesystem.store[f"{store.root}/{KEY}/unet.safetensors"].created = long_ago
    store.filesystem.store[f"{store.root}/{KEY}/unet.safetensors"].modified = long_ago
    assert verify_store(VerifyConfig()).broken == {KEY: "incomplete: it has no manifest.json"}


def test_store_that_is_not_there_is_not_a_whole_one(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKENCOMPOSE_STORE", str(tmp_path / "not mounted/store"))
    with pytest.raises(FileNotFoundError, match=r"no store at .*not mounted"):
        verify_store(VerifyConfig())


def test_store_and_cache_may_lie_in_the_home_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TOKENCOMPOSE_STORE", "~/store")
    monkeypatch.setenv("TOKENCOMPOSE_CACHE", "~/cache")
    assert Path(store_url()) == tmp_path / "store"
    monkeypatch.setenv("TOKENCOMPOSE_STORE", "memory://verify/home")
    assert open_store().local_dir.is_relative_to(tmp_path / "cache")
