"""Entries of a store that somebody else wrote, and keys that a user types."""

import json

import fsspec
import pytest

from data_schemas.manifest import StoredFile
from tasks.model_under_test import ModelUnderTest
from tasks.stage import Input
from tokencompose_core.checkpoints.locate import locate
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.keys import text_digest
from tokencompose_core.store.survey import Condition, look_at

CONTENT = b"somebody else's"
NAMES = [
    "../../evil",
    "../other-entry/manifest.json",
    "a/../../../evil",
    "/TMP/evil",
    "//TMP/evil",
    "a//b",
    "./a",
    "a/",
    "..",
    ".",
    "",
    "a\\..\\..\\evil",
    "a\0b",
    "a\nb",
]
KEYS = ["../../etc", "..", ".", "/etc", "a/b", "a/../b", "../unfinished", "a\\b", "a\0b"]


def write_entry(root, key, name, **changes):
    """An entry of the memory's file system with a file of this name."""
    memory = fsspec.filesystem("memory")
    file = {"name": name, "num_bytes": len(CONTENT), "sha256": text_digest(CONTENT.decode())}
    manifest = {"stage": "rank", "key": key, "digest": "0" * 64, "files": [file], **changes}
    memory.pipe_file(f"/{root}/{key}/manifest.json", json.dumps(manifest).encode())
    memory.pipe_file(f"/{root}/{key}/plain", CONTENT)


@pytest.mark.parametrize("name", NAMES)
def test_manifest_that_names_files_elsewhere_is_not_believed(tmp_path, name, caplog):
    name = name.replace("TMP", str(tmp_path).lstrip("/"))
    write_entry(tmp_path.name, "rank-v1-00", name)
    store = Store(f"memory://{tmp_path.name}", cache_dir=tmp_path / "cache")
    assert store.find("rank-v1-00") is None
    assert "rank-v1-00 in the store is not believed" in caplog.text
    assert "no plain name" in caplog.text
    with pytest.raises(ValueError, match="no plain name"):
        store.file("rank-v1-00", name, text_digest(CONTENT.decode()))
    assert not list(tmp_path.rglob("*"))


def test_the_same_entry_with_a_plain_name_is_believed(tmp_path):
    write_entry("plain", "rank-v1-00", "plain")
    store = Store("memory://plain", check="digest", cache_dir=tmp_path / "cache")
    manifest = store.find("rank-v1-00")
    assert manifest is not None
    assert (store.path(manifest, "plain")).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "digest",
    ["../../evil", "/tmp", "a/b", "", "unfinished", "logs", "0" * 63, "0" * 64 + "\n", "A" * 64],
)
def test_digest_that_is_none_is_not_believed(tmp_path, digest):
    write_entry("digests", "rank-v1-00", "plain", digest=digest)
    store = Store("memory://digests", cache_dir=tmp_path / "cache")
    assert store.find("rank-v1-00") is None
    assert look_at(store, "rank-v1-00").condition is Condition.UNREADABLE


@pytest.mark.parametrize("key", KEYS)
def test_key_that_leaves_the_store_is_refused(tmp_path, key):
    store = Store(str(tmp_path / "deep/store"))
    target = tmp_path / "deep/store" / key.replace("\0", "").lstrip("/")
    target.mkdir(parents=True, exist_ok=True)
    (target / "manifest.json").write_text(
        json.dumps({"stage": "rank", "key": key, "digest": "", "files": []})
    )
    with pytest.raises(ValueError, match="name of"):
        store.find(key)
    with pytest.raises(ValueError, match="name of"):
        store.file(key, "manifest.json", "")


@pytest.mark.parametrize("key", KEYS)
def test_stored_model_of_a_config_cannot_be_elsewhere(store_dir, key):
    with pytest.raises(ValueError, match="name of"):
        ModelUnderTest(label="a", stored=key)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("", "a/")])
def test_input_cannot_be_elsewhere(store_dir, name):
    given = Input(key="rank-v1-00", digest="d", name=name)
    with pytest.raises(ValueError, match="no plain name"):
        given.path(Store(str(store_dir)))


@pytest.mark.parametrize(
    "name",
    ["pocket:../../../setup.cfg", "pocket:/etc/passwd", "pocket:a/../..", "groundingdino:../x.py"],
)
def test_model_of_the_project_is_inside_it(name):
    with pytest.raises(ValueError, match="give a model by its path"):
        locate(name)


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:SECRET@bucket/store",
        "memory://key:SEC/RET@bucket/store",
        "https://h/store?token=SECRET",
        "gs://SECRET@b",
    ],
)
def test_store_whose_url_holds_a_password_is_refused_without_it(url):
    with pytest.raises(ValueError, match="environment variables") as caught:
        Store(url)
    assert "SECRET" not in str(caught.value)


def test_plain_names_are_taken():
    for name in ("a", "unet/config.json", "..a", "a..b/c", "über 7.png"):
        assert StoredFile(name=name, num_bytes=0, sha256="").name == name
