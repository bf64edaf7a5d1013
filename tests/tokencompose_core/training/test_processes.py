import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.multiprocessing import ProcessExitedException

from tests.conftest import ROOT
from tests.tokencompose_core.training.small_run import SETTINGS, make_unet, train
from tokencompose_core.training.checkpoint import newest_step
from tokencompose_core.training.encode_shard import read_encoded, write_encoded
from tokencompose_core.training.processes import make_accelerator, run_processes

# Noise levels, phrases and their number differ between the samples of a batch, and one sample has
# no phrase: so halves of a batch do not have equal losses.
SHARED = replace(SETTINGS, num_steps=4, batch_size=4)


def train_as_one_of(encoded_folder, folder, settings, send):
    train(
        read_encoded([encoded_folder]),
        folder,
        settings,
        on_step=lambda step, num_steps, losses: send((step, losses)),
    )


@pytest.fixture
def uneven(tmp_path, encoded):
    positions = [list(phrases) for phrases in encoded.positions]
    positions[1], positions[2] = [], positions[2][:1]
    kept = [row for row, n in enumerate([2, 2, 2, 2, 2]) for _ in range(n)]
    rows = [i for i, row in enumerate(kept) if row != 1 and not (row == 2 and i % 2)]
    samples = replace(
        encoded, positions=positions, grids={s: g[rows] for s, g in encoded.grids.items()}
    )
    folder = tmp_path / "encoded"
    folder.mkdir()
    write_encoded(folder, samples)
    return folder


def test_two_processes_with_half_the_batch_have_the_losses_of_one(tmp_path, uneven):
    messages = []
    run_processes(train_as_one_of, (uneven, tmp_path / "two", SHARED), 2, messages.append)
    alone, history = train(read_encoded([uneven]), tmp_path / "one", SHARED)
    assert [step for step, _ in messages] == [1, 2, 3, 4]
    for (_, losses), row in zip(messages, history, strict=True):
        for name, value in losses.items():
            assert value == pytest.approx(row[name], rel=1e-5), name
    # The checkpoint of the two is taken up by one, which finds nothing left to do.
    seen = []
    resumed, again = train(
        read_encoded([uneven]), tmp_path / "two", SHARED, on_step=lambda *_: seen.append(1)
    )
    assert (len(again), seen) == (4, [])
    for name, value in alone.state_dict().items():
        assert torch.allclose(value, resumed.state_dict()[name], atol=2e-5), name


@pytest.fixture
def damaged(tmp_path, uneven):
    """The folder of a run that was killed in step 3, and whose checkpoint of step 2 is damaged."""

    def die_at_three(step, num_steps, losses):
        if step == 3:
            raise KeyboardInterrupt

    every = replace(SHARED, checkpoint_every_steps=1)
    with pytest.raises(KeyboardInterrupt):
        train(read_encoded([uneven]), tmp_path / "two", every, on_step=die_at_three)
    newest = tmp_path / "two/run/checkpoint-00000002.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    return tmp_path / "two"


def test_processes_that_resume_end_with_the_weights_of_an_undisturbed_run(
    tmp_path, uneven, damaged
):
    messages = []
    run_processes(train_as_one_of, (uneven, damaged, SHARED), 2, messages.append)
    assert [step for step, _ in messages] == [2, 3, 4]
    alone, _ = train(read_encoded([uneven]), tmp_path / "one", SHARED)
    resumed, again = train(read_encoded([uneven]), damaged, SHARED)
    assert [row["step"] for row in again] == [1, 2, 3, 4]
    for name, value in alone.state_dict().items():
        assert torch.allclose(value, resumed.state_dict()[name], atol=2e-5), name


def fail_to_read_once_as_second(encoded_folder, folder, settings, send):
    load = torch.load

    def fail_once(*args, **options):
        torch.load = load
        raise OSError(errno.EIO, "Input/output error")

    if os.environ["RANK"] == "1":
        torch.load = fail_once
    train_as_one_of(encoded_folder, folder, settings, send)


def test_process_that_cannot_read_the_checkpoint_goes_on_from_no_other(uneven, damaged):
    messages = []
    with pytest.raises(OSError, match="Input/output error"):
        run_processes(fail_to_read_once_as_second, (uneven, damaged, SHARED), 2, messages.append)
    assert messages == []


def test_process_that_fails_ends_the_others(tmp_path, uneven):
    # Refused by the first call in each process.
    odd = replace(SHARED, batch_size=3)
    with pytest.raises(ValueError, match="batch_size 3 cannot be shared by 2"):
        run_processes(train_as_one_of, (uneven, tmp_path / "two", odd), 2, lambda message: None)


def be_interrupted(send):
    send("begun")
    raise KeyboardInterrupt


def test_process_that_was_interrupted_is_not_taken_for_done():
    messages = []
    with pytest.raises(ProcessExitedException):
        run_processes(be_interrupted, (), 1, messages.append)
    assert messages in ([], ["begun"])


def hang_with_a_child(send):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    send([os.getpid(), subprocess.Popen(["sleep", "600"]).pid])
    time.sleep(600)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_processes_that_hear_no_signal_end_with_what_they_started():
    pids: list[int] = []

    def give_up() -> None:
        if pids:
            assert all(map(is_running, pids))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_processes(hang_with_a_child, (), 1, pids.extend, on_wait=give_up)
    deadline = time.monotonic() + 10
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_running, pids))


def write_pid_and_hang(path, send):
    path.with_suffix(".partial").write_text(str(os.getpid()))
    path.with_suffix(".partial").rename(path)
    time.sleep(600)


RUN_ONE = """
import sys
from pathlib import Path
from tests.tokencompose_core.training.test_processes import write_pid_and_hang
from tokencompose_core.training.processes import run_processes
run_processes(write_pid_and_hang, (Path(sys.argv[1]),), 1, print)
"""


def test_process_ends_with_a_parent_that_is_killed_and_ignored_interruptions(tmp_path):
    ignoring = f"trap '' INT; exec {sys.executable} -c '{RUN_ONE}' {tmp_path / 'pid'}"
    parent = subprocess.Popen(["sh", "-c", ignoring], cwd=ROOT)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "pid").exists():
            assert parent.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        parent.kill()
        parent.wait()
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = is_running(child)
    if left:
        os.kill(child, signal.SIGKILL)
    assert not left


def train_and_hang_once(encoded_folder, folder, send):
    hung = folder.with_suffix(".hung")

    def on_step(step, num_steps, losses):
        send(step)
        if step == 3 and not hung.exists():
            hung.touch()
            time.sleep(600)

    train(read_encoded([encoded_folder]), folder, SHARED, on_step=on_step)


def test_training_that_hangs_is_timed_out_and_resumed_to_the_same_weights(tmp_path, uneven):
    arguments = (uneven, tmp_path / "child")
    steps: list[int] = []
    for seconds in (10, 30, 90, 270):
        if not (tmp_path / "child.hung").exists():  # a busy machine has not even begun
            with pytest.raises(TimeoutError, match=f"nothing was heard for {seconds} seconds"):
                run_processes(
                    train_and_hang_once, arguments, 1, steps.append, timeout_seconds=seconds
                )
    assert 3 in steps
    assert newest_step(tmp_path / "child/run") == 2
    steps.clear()
    run_processes(train_and_hang_once, arguments, 1, steps.append, timeout_seconds=300)
    assert steps == [3, 4]
    # A child has as many threads as this process, so even the last bits are equal.
    resumed, _ = train(read_encoded([uneven]), tmp_path / "child", SHARED)
    alone, _ = train(read_encoded([uneven]), tmp_path / "alone", SHARED)
    for name, value in alone.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(ValueError, match=r"mixed_precision: fp16 needs a GPU"):
        make_accelerator("cpu", "fp16")


def test_bf16_keeps_weights_and_losses_in_float32(tmp_path, encoded):
    _, exact = train(encoded, tmp_path / "a", replace(SETTINGS, num_steps=1))
    unet = make_unet()
    forward = unet.forward
    half, history = train(
        encoded, tmp_path / "b", replace(SETTINGS, num_steps=1, mixed_precision="bf16"), unet=unet
    )
    assert history[0]["token"] == pytest.approx(exact[0]["token"], rel=1e-2)
    assert history[0]["token"] != exact[0]["token"]
    assert {value.dtype for value in half.state_dict().values()} == {torch.float32}
    # The network is handed back without autocast, and a second training has it again.
    assert unet.forward == forward
    dtypes = []
    unet.conv_out.register_forward_hook(lambda module, given, output: dtypes.append(output.dtype))
    train(
        encoded, tmp_path / "e", replace(SETTINGS, num_steps=1, mixed_precision="bf16"), unet=unet
    )
    assert set(dtypes) == {torch.bfloat16}
    sample = (torch.zeros(1, 4, 8, 8), 1, torch.zeros(1, 16, 16))
    assert half(*sample).sample.dtype == torch.float32
