import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from tokencompose_core.store.content_store import MANIFEST_NAME, Store
from tokencompose_core.store.keys import make_key
from tokencompose_core.store.lineage import trace
from tokencompose_core.store.rejections import TooManyRejectedError, check_rejected_fraction


def write_two_files(folder: Path) -> dict:
    (folder / "a.txt").write_text("alpha")
    (folder / "sub").mkdir()
    (folder / "sub/b.txt").write_text("beta")
    return {"num_in": 3, "num_out": 2, "rejected": {"no-noun": 1}, "facts": {"words": 2}}


def test_published_output_is_found_and_read(store):
    assert store.find("key") is None
    manifest = store.publish("key", "stage", write_two_files, inputs={"other": "0"})
    assert store.find("key") == manifest
    assert manifest.names() == ["a.txt", "sub/b.txt"]
    assert (manifest.num_in, manifest.num_out, manifest.rejected) == (3, 2, {"no-noun": 1})
    assert store.path(manifest, "sub/b.txt").read_text() == "beta"
    assert (store.path(manifest) / "a.txt").read_text() == "alpha"
    assert (store.path(manifest, "sub/") / "b.txt").read_text() == "beta"


def test_equal_outputs_under_different_keys_have_equal_digests(store):
    first = store.publish("one", "stage", write_two_files)
    second = store.publish("two", "stage", write_two_files)
    assert first.digest == second.digest


def test_second_writer_gets_what_the_first_published(store):
    first = store.publish("key", "stage", write_two_files)

    def other(folder: Path) -> dict:
        (folder / "z.txt").write_text("zeta")
        return {}

    assert store.publish("key", "stage", other) == first


@pytest.mark.parametrize("damage", ["delete", "truncate", "flip", "manifest"])
def test_damaged_output_does_not_exist_and_can_be_replaced(store, damage):
    manifest = store.publish("key", "stage", write_two_files)
    path = f"{store.root}/key/a.txt"
    match damage:
        case "delete":
            store.filesystem.rm_file(path)
        case "truncate":
            store.filesystem.pipe_file(path, b"alp")
        case "flip":
            store.filesystem.pipe_file(path, b"alphb")
        case "manifest":
            store.filesystem.pipe_file(f"{store.root}/key/{MANIFEST_NAME}", b'{"stage": "x"')
    assert store.find("key") is None
    again = store.publish("key", "stage", write_two_files)
    assert again == manifest
    assert store.find("key") == manifest


def test_sizes_alone_do_not_see_a_flipped_byte(tmp_path):
    store = Store(str(tmp_path), check="size")
    store.publish("key", "stage", write_two_files)
    (tmp_path / "key/a.txt").write_text("alphb")
    assert store.find("key") is not None
    assert Store(str(tmp_path), check="digest").find("key") is None


def test_failing_writer_leaves_nothing_behind(store):
    def fail(folder: Path) -> dict:
        (folder / "a.txt").write_text("half")
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        store.publish("key", "stage", fail)
    assert store.find("key") is None
    if store.is_local:
        assert list(Path(store.root).iterdir()) == []


def test_entry_of_another_key_is_not_believed(tmp_path):
    store = Store(str(tmp_path))
    store.publish("one", "stage", write_two_files)
    (tmp_path / "one").rename(tmp_path / "two")
    assert store.find("two") is None


def test_many_writers_at_once_leave_one_valid_entry(tmp_path):
    store = Store(str(tmp_path), check="digest")
    barrier = threading.Barrier(6)
    results = []

    def work() -> None:
        def write(folder: Path) -> dict:
            described = write_two_files(folder)
            barrier.wait()
            return described

        results.append(store.publish("key", "stage", write))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert all(manifest == results[0] for manifest in results)
    assert store.find("key") == results[0]


def test_killed_writer_leaves_no_entry(tmp_path):
    code = (
        "import sys, time, pathlib\n"
        "from tokencompose_core.store.content_store import Store\n"
        "def write(folder):\n"
        "    (folder / 'a.txt').write_text('x' * 1000)\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
        "Store(sys.argv[1]).publish('key', 'stage', write)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    store = Store(str(tmp_path))
    assert store.find("key") is None
    assert store.publish("key", "stage", write_two_files) == store.find("key")


def test_one_file_is_found_by_its_digest_whatever_the_others_are(store):
    manifest = store.publish("key", "stage", write_two_files)
    digest = manifest.file("sub/b.txt").sha256
    store.filesystem.rm_file(f"{store.root}/key/a.txt")
    for _ in range(2):
        assert store.file("key", "sub/b.txt", digest).read_text() == "beta"
    assert store.file("key", "sub/b.txt", manifest.file("a.txt").sha256) is None
    assert store.file("key", "a.txt", manifest.file("a.txt").sha256) is None
    assert store.file("other", "a.txt", digest) is None


def test_copy_of_a_remote_file_that_is_damaged_is_made_again(tmp_path):
    store = Store(f"memory://{uuid.uuid4().hex}", cache_dir=tmp_path)
    manifest = store.publish("key", "stage", write_two_files)
    digest = manifest.file("a.txt").sha256
    store.file("key", "a.txt", digest).write_text("alphb")
    assert store.file("key", "a.txt", digest).read_text() == "alpha"


def test_remote_files_are_copied_once(tmp_path):
    store = Store(f"memory://{uuid.uuid4().hex}", cache_dir=tmp_path)
    manifest = store.publish("key", "stage", write_two_files)
    path = store.path(manifest, "a.txt")
    written = path.stat().st_mtime_ns
    time.sleep(0.01)
    assert store.path(manifest, "a.txt").stat().st_mtime_ns == written
    path.write_text("spoilt")
    assert store.path(manifest, "a.txt").read_text() == "alpha"


def test_lineage_follows_inputs_to_their_source(tmp_path):
    store = Store(str(tmp_path))
    one, two, three, gone = (make_key(name, 1, {}) for name in ("one", "two", "three", "gone"))
    first = store.publish(one, "one", write_two_files)
    second = store.publish(two, "two", write_two_files, inputs={one: first.digest})
    # A model of the hub is no entry of the store, and a name of folders.
    named = {two: second.digest, gone: "0", "CompVis/stable-diffusion-v1-4": "1"}
    third = store.publish(three, "three", write_two_files, inputs=named)
    assert [manifest.key for manifest in trace(store, three)] == [three, two, one]
    assert trace(store, three)[0] == third
    with pytest.raises(FileNotFoundError, match="gone"):
        trace(store, gone)


def test_lost_phrases_do_not_count_as_lost_samples():
    check_rejected_fraction("mask", 10, {"phrase-without-box": 30, "no-box": 1}, 0.1)
    with pytest.raises(TooManyRejectedError, match=r"mask: 2 of 10"):
        check_rejected_fraction("mask", 10, {"no-box": 2}, 0.1)
