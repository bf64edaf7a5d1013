"""One process or several, on CPU or GPUs, in the precision asked for."""

import os
import pickle
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
import torch.multiprocessing
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from torch.multiprocessing import ProcessRaisedException

# The main process may validate for long, while the others wait for its next gradients.
_LONGEST_WAIT = timedelta(days=1)


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
    check_precision(device, mixed_precision)
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(
        cpu=device == "cpu",
        mixed_precision=mixed_precision,
        log_with=list(trackers) or None,
        project_dir=log_dir,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_LONGEST_WAIT)],
    )


def check_precision(device: str, mixed_precision: str) -> None:
    """Refuse a precision that a device cannot train in.

    Raises:
        ValueError: If half precision is asked for on a CPU.
    """
    if mixed_precision == "fp16" and device == "cpu":
        raise ValueError("finetune.mixed_precision: fp16 needs a GPU; take bf16 or no")


def run_processes(
    work: Callable[..., None],
    arguments: Sequence[Any],
    num_processes: int,
    on_message: Callable[[Any], None],
    *,
    on_wait: Callable[[], None] = lambda: None,
    timeout_seconds: float | None = None,
) -> None:
    """Run a function in several processes of this machine, each with a GPU of its own if any.

    Args:
        work: Called in each process with the arguments and a function that sends a message.
        arguments: Can be pickled.
        num_processes: How many.
        on_message: Told in this process what the others send. What it raises ends them.
        on_wait: Called again and again while there is no message. What it raises ends them too.
        timeout_seconds: How long they may send nothing.

    Raises:
        Exception: What a process raised; the others are ended.
        TimeoutError: If they sent nothing for too long; they are ended, with all they started.
        torch.multiprocessing.ProcessExitedException: If a process was killed or interrupted.
    """
    queue = torch.multiprocessing.get_context("spawn").SimpleQueue()
    # Before the processes start: they inherit it.
    shared = (num_processes, _free_port(), work, tuple(arguments), queue)
    running = torch.multiprocessing.start_processes(
        _work_as_one_of, args=shared, nprocs=num_processes, join=False, start_method="spawn"
    )
    failures: list[Exception] = []
    heard = time.monotonic()

    def receive() -> None:
        nonlocal heard
        while not queue.empty():
            message = queue.get()
            heard = time.monotonic()
            if isinstance(message, _Failure):
                failures.append(message.error)
            else:
                on_message(message)

    try:
        while not running.join(timeout=0.2):
            receive()
            on_wait()
            if timeout_seconds and time.monotonic() - heard > timeout_seconds:
                raise TimeoutError(f"nothing was heard for {timeout_seconds:.0f} seconds")
        receive()
    except ProcessRaisedException as trace:
        receive()
        raise (failures or [trace])[0] from trace
    finally:
        for process in running.processes:
            if process.is_alive():
                # A process may hang where it hears no signal but this one.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.kill()
            process.join()


@dataclass(frozen=True)
class _Failure:
    """What a process raised."""

    error: Exception


def _work_as_one_of(
    rank: int, num_processes: int, port: int, work: Callable[..., None], arguments: tuple, queue
) -> None:
    # torch has it interrupted when its parent dies, which a parent that ignores interruptions, as a
    # job in the background does, would have it ignore too.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.setpgid(0, 0)  # a group with whatever it starts, to be ended with it
    if num_processes > 1:  # one alone computes what it would without a group
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(num_processes),
            "LOCAL_WORLD_SIZE": str(num_processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    torch.set_num_threads(max(1, torch.get_num_threads() // num_processes))
    try:
        work(*arguments, queue.put)
    except KeyboardInterrupt:
        # torch would let it pass for success.
        sys.exit(1)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            raise error from None
        queue.put(_Failure(error))
        raise
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
