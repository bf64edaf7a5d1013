import errno
import multiprocessing
import random
import resource
import signal
import time
import zipfile
from dataclasses import replace

import pytest
import torch

from tests.tokencompose_core.training.small_run import SETTINGS, make_unet, train
from tokencompose_core.training.checkpoint import (
    load_checkpoint,
    newest_step,
    remove_checkpoints_after,
    save_checkpoint,
    set_damaged_aside,
)
from tokencompose_core.training.encode_shard import read_encoded, write_encoded


def test_run_that_was_killed_and_resumed_ends_with_the_same_weights(tmp_path, encoded):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, history = train(encoded, tmp_path / "a")

    def die_at_five(step, num_steps, losses):
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(encoded, tmp_path / "b", on_step=die_at_five)
    seen = []
    resumed, again = train(encoded, tmp_path / "b", on_step=lambda step, *_: seen.append(step))
    assert seen == [5, 6]
    assert again == history
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_network_with_dropout_drops_the_same_when_it_is_resumed(tmp_path, encoded):
    def die_at_three(step, num_steps, losses):
        if step == 3:
            raise KeyboardInterrupt

    settings = replace(SETTINGS, num_steps=4)
    plain, _ = train(encoded, tmp_path / "plain", settings)
    whole, history = train(encoded, tmp_path / "a", settings, make_unet(dropout=0.2))
    with pytest.raises(KeyboardInterrupt):
        train(encoded, tmp_path / "b", settings, make_unet(dropout=0.2), on_step=die_at_three)
    unet = make_unet(dropout=0.2)
    torch.manual_seed(7)  # another process begins with another seed
    resumed, again = train(encoded, tmp_path / "b", settings, unet)
    assert again == history
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert not torch.equal(plain.conv_in.weight, whole.conv_in.weight)


def train_from_disk(encoded_folder, folder, settings):
    train(read_encoded([encoded_folder]), folder, settings)


def kept_steps(folder):
    return sorted(int(path.stem.split("-")[1]) for path in folder.glob("checkpoint-*.pt"))


def kill_twenty_times(encoded_folder, folder, settings):
    """Start the run in forked processes and kill each some steps later, at a random moment."""
    torch.set_num_threads(1)
    rng = random.Random(0)
    context = multiprocessing.get_context("fork")
    for _ in range(20):
        target = max(kept_steps(folder / "run"), default=0) + rng.randint(1, 4)
        process = context.Process(target=train_from_disk, args=(encoded_folder, folder, settings))
        process.start()
        while max(kept_steps(folder / "run"), default=0) < target:
            assert process.is_alive()
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.05))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL


@pytest.fixture
def one_thread():
    """Sums are bit-identical only with as many threads as in the killed processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_run_killed_twenty_times_ends_with_the_same_weights(tmp_path, encoded):
    settings = replace(
        SETTINGS,
        num_steps=120,
        gradient_accumulation_steps=1,
        batch_size=2,
        checkpoint_every_steps=1,
    )
    for name in ("encoded", "killed"):
        (tmp_path / name).mkdir()
    write_encoded(tmp_path / "encoded", encoded)
    # The killer is a fresh process: one that has computed with several threads cannot be forked.
    killer = multiprocessing.get_context("spawn").Process(
        target=kill_twenty_times, args=(tmp_path / "encoded", tmp_path / "killed", settings)
    )
    killer.start()
    killer.join()
    assert killer.exitcode == 0
    assert 20 < newest_step(tmp_path / "killed/run") < settings.num_steps
    resumed, again = train(encoded, tmp_path / "killed", settings)
    whole, history = train(encoded, tmp_path / "whole", settings)
    assert again == history
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path, encoded, caplog):
    def die_at_five(step, num_steps, losses):
        if step == 5:
            raise KeyboardInterrupt

    whole, _ = train(encoded, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        train(
            encoded,
            tmp_path / "b",
            replace(SETTINGS, checkpoint_every_steps=1),
            on_step=die_at_five,
        )
    newest = tmp_path / "b/run/checkpoint-00000004.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    seen = []
    resumed, _ = train(encoded, tmp_path / "b", on_step=lambda step, *_: seen.append(step))
    assert seen == [4, 5, 6]
    assert "checkpoint-00000004.pt is damaged" in caplog.text
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("every", [1, 3, 10, 25])
def test_few_checkpoints_are_kept_one_of_them_old_enough(tmp_path, every):
    after, written = 20, []
    for step in range(every, 200, every):
        save_checkpoint(tmp_path, step, {}, noticed_after=after)
        written.append(step)
        kept = kept_steps(tmp_path)
        assert kept[-2:] == written[-2:]
        assert len(kept) <= 4
        if step >= 2 * after:
            assert step - 2 * after - every < kept[0] <= step - after
    remove_checkpoints_after(tmp_path, step - after)
    assert newest_step(tmp_path) == kept[0]


@pytest.mark.parametrize("part", ["data.pkl", "data/0", "data/1"])
def test_changed_byte_anywhere_in_a_checkpoint_is_noticed(tmp_path, caplog, part):
    weights = {name: torch.arange(400.0) for name in "ab"}
    for step in (1, 2):
        path = save_checkpoint(tmp_path, step, {"step": step, **weights})
    with zipfile.ZipFile(path) as parts:
        (info,) = (one for one in parts.infolist() if one.filename.endswith(part))
        content = parts.read(info)
    whole = path.read_bytes()
    start = whole.index(content, info.header_offset)
    for offset in range(start, start + len(content), len(content) // 40):
        damaged = bytearray(whole)
        damaged[offset] ^= 0x10
        path.write_bytes(damaged)
        caplog.clear()
        assert set_damaged_aside(tmp_path) == 1, offset
        assert "checkpoint-00000002.pt is damaged" in caplog.text


def test_every_byte_of_a_checkpoints_directory_is_content(tmp_path):
    """Damage that Python's reader does not notice, and torch does, is damage too."""
    save_checkpoint(tmp_path, 1, {"step": 1})
    path = save_checkpoint(tmp_path, 2, {"step": 2})
    whole = path.read_bytes()
    for offset in range(whole.index(b"PK\x01\x02"), len(whole)):
        damaged = bytearray(whole)
        damaged[offset] ^= 0x10
        path.write_bytes(damaged)
        step = set_damaged_aside(tmp_path)
        assert load_checkpoint(tmp_path, step)["step"] == step, offset


@pytest.mark.parametrize("field", [25, 38], ids=["size", "attributes"])
def test_part_that_torch_would_read_from_stray_memory_is_damage(tmp_path, field):
    """Two bits of the directory that zipfile overlooks; what torch then does is chance."""
    save_checkpoint(tmp_path, 1, {"step": 1})
    path = save_checkpoint(tmp_path, 2, {"step": 2})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + field] ^= 0x10
    path.write_bytes(content)
    with zipfile.ZipFile(path) as parts:
        assert parts.testzip() is None
    assert newest_step(tmp_path) == 1


def test_machine_that_cannot_read_a_checkpoint_is_no_damage(tmp_path):
    save_checkpoint(tmp_path, 1, {"step": 1})
    (tmp_path / "checkpoint-00000002.pt").mkdir()  # read as a disk that fails is
    with pytest.raises(IsADirectoryError):
        set_damaged_aside(tmp_path)


def test_run_whose_checkpoints_are_all_damaged_does_not_begin_anew(tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path, step, {"step": step}).write_bytes(b"nothing")
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"every checkpoint in {tmp_path} is damaged; remove"):
            set_damaged_aside(tmp_path)


def test_damaged_checkpoint_takes_no_place_of_a_good_one(tmp_path):
    for step in range(10, 101, 10):
        save_checkpoint(tmp_path, step, {"step": step}, noticed_after=40)
    assert kept_steps(tmp_path)[-2:] == [90, 100]
    for step in (90, 100):
        path = tmp_path / f"checkpoint-{step:08d}.pt"
        path.write_bytes(path.read_bytes()[:-100])
    start = set_damaged_aside(tmp_path)
    assert 0 < start < 90
    assert newest_step(tmp_path) == start
    for step in (start + 10, start + 20):
        assert save_checkpoint(tmp_path, step, {"step": step}, noticed_after=40).is_file()
        assert newest_step(tmp_path) == set_damaged_aside(tmp_path) == step
    assert kept_steps(tmp_path)[-2:] == [start + 10, start + 20]
    remove_checkpoints_after(tmp_path, 0)
    assert not list(tmp_path.iterdir())


def test_steps_that_are_left_after_damage_are_those_that_can_be_read(tmp_path):
    for step in (1, 2):
        path = save_checkpoint(tmp_path, step, {"step": step})
    path.write_bytes(path.read_bytes()[:-100])
    assert newest_step(tmp_path) == 1


@pytest.fixture
def small_files():
    """No file may become larger than a few pages, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_checkpoint_that_does_not_fit_says_why_and_leaves_nothing(tmp_path):
    save_checkpoint(tmp_path, 1, {"step": 1})
    with pytest.raises(OSError, match="File too large") as failure:
        save_checkpoint(tmp_path, 2, {"step": 2, "weights": torch.zeros(1 << 16)})
    assert failure.value.errno == errno.EFBIG
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000001.pt"]


def test_checkpoint_of_other_settings_is_refused(tmp_path, encoded):
    train(encoded, tmp_path)
    with pytest.raises(ValueError, match=r"another token_weight, seed; remove them"):
        train(encoded, tmp_path, replace(SETTINGS, weights={"token": 0.1, "pixel": 0.01}, seed=4))


def test_lora_is_resumed(tmp_path, encoded):
    settings = replace(SETTINGS, trainable="lora", learning_rate=1e-2)

    def die_at_five(step, num_steps, losses):
        if step == 5:
            raise KeyboardInterrupt

    whole, history = train(encoded, tmp_path / "a", settings)
    with pytest.raises(KeyboardInterrupt):
        train(encoded, tmp_path / "b", settings, on_step=die_at_five)
    resumed, again = train(encoded, tmp_path / "b", settings)
    assert again == history
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
