"""One process or several, on CPU or GPUs, in the precision asked for."""

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.multiprocessing
from accelerate import Accelerator
from accelerate.state import AcceleratorState


def make_accelerator(
    device: str,
    mixed_precision: Literal["no", "fp16", "bf16"],
    *,
    trackers: tuple[str, ...] = (),
    log_dir: Path | None = None,
) -> Accelerator:
    """An accelerator of its own for a training: accelerate shares one state in a process.

    Args:
        device: `cpu` or `cuda`.
        mixed_precision: Of the forward pass; weights, losses and normalisers stay in float32.
        trackers: Names of accelerate's trackers.
        log_dir: Where they write.

    Raises:
        ValueError: If half precision is asked for on a CPU.
    """
    if mixed_precision == "fp16" and device == "cpu":
        raise ValueError("finetune.mixed_precision: fp16 needs a GPU; take bf16 or no")
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(
        cpu=device == "cpu",
        mixed_precision=mixed_precision,
        log_with=list(trackers) or None,
        project_dir=log_dir,
    )


def run_processes(
    work: Callable[..., None],
    arguments: Sequence[Any],
    num_processes: int,
    on_message: Callable[[Any], None],
) -> None:
    """Run a function in several processes of this machine, each with a GPU of its own if any.

    Args:
        work: Called in each process with the arguments and a function that sends a message.
        arguments: Can be pickled.
        num_processes: How many.
        on_message: Told in this process what the others send. What it raises ends them.

    Raises:
        torch.multiprocessing.ProcessRaisedException: What the first failed process raised; the
            others are ended.
    """
    queue = torch.multiprocessing.get_context("spawn").SimpleQueue()
    # Before the processes start: they inherit it.
    shared = (num_processes, _free_port(), work, tuple(arguments), queue)
    running = torch.multiprocessing.start_processes(
        _work_as_one_of, args=shared, nprocs=num_processes, join=False, start_method="spawn"
    )
    try:
        ended = False
        while not ended:
            ended = running.join(timeout=0.2)
            while not queue.empty():
                on_message(queue.get())
    finally:
        for process in running.processes:
            process.kill()
            process.join()


def _work_as_one_of(
    rank: int, num_processes: int, port: int, work: Callable[..., None], arguments: tuple, queue
) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(max(1, torch.get_num_threads() // num_processes))
    work(*arguments, queue.put)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
