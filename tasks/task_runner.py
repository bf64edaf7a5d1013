"""Where tasks run: in the flow's process one after another, or on a cluster, by configuration."""

import os
import sys
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

# Stages use all cores, or the one GPU, by themselves, and the models they keep loaded serve one
# partition at a time. So a process has one slot, and more slots are more processes.
ONE_AT_A_TIME: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=1)


def choose_task_runner(setting: str, address: str) -> TaskRunner[Any]:
    """The task runner that the environment asks for.

    Args:
        setting: `threads`, `dask`, `dask:<n>` for n processes on this machine, or `ray`.
        address: Of a scheduler that runs already; empty for a cluster that lives as long as the
            flow run does.

    Raises:
        ValueError: If there is no such runner, its package is missing, or it takes no address.
    """
    name, _, count = setting.partition(":")
    if name not in ("threads", "dask", "ray") or (count and (name != "dask" or address)):
        raise ValueError(
            f"TOKENCOMPOSE_TASK_RUNNER is {setting!r}, but it takes threads, dask, ray, or dask:2"
            " for two processes on this machine, which needs no address"
        )
    if name == "threads":
        if address:
            raise ValueError(
                f"TOKENCOMPOSE_TASK_RUNNER_ADDRESS is {address!r}, but TOKENCOMPOSE_TASK_RUNNER is"
                " threads, which needs none; set it to dask or ray"
            )
        return ONE_AT_A_TIME
    if name == "ray":
        try:
            from prefect_ray import RayTaskRunner
        except ImportError as error:
            raise ValueError(_missing("ray", "prefect-ray")) from error
        return RayTaskRunner(address=address or None)
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError as error:
        raise ValueError(_missing("dask", "prefect-dask")) from error
    if address:
        return DaskTaskRunner(address=address)
    if count and not (count.isdecimal() and int(count) > 0):
        raise ValueError(
            f"TOKENCOMPOSE_TASK_RUNNER is {setting!r}: {count!r} is no number of slots"
        )
    # By default Dask would start several threads in a process, and kill one whose models are large.
    return DaskTaskRunner(
        cluster_kwargs={
            "n_workers": int(count or 1),
            "threads_per_worker": 1,
            "memory_limit": None,
            "dashboard_address": None,
        }
    )


def _missing(name: str, package: str) -> str:
    return (
        f"TOKENCOMPOSE_TASK_RUNNER is {name}, which needs the package {package}, and it is not"
        " installed where the flow runs"
    )


TASK_RUNNER: TaskRunner[Any] = choose_task_runner(
    os.environ.get("TOKENCOMPOSE_TASK_RUNNER") or "threads",
    os.environ.get("TOKENCOMPOSE_TASK_RUNNER_ADDRESS", ""),
)
"""The runner of every flow."""


def runs_elsewhere() -> bool:
    """Whether the tasks of this flow run in other processes, perhaps on other machines."""
    flow = FlowRunContext.get()
    return flow is not None and not isinstance(flow.task_runner, ThreadPoolTaskRunner)


def check_slot() -> None:
    """Refuse a Dask worker that would run two stages in one process at once.

    Raises:
        ValueError: If this is a worker with several threads, saying how to start it.
    """
    worker = _dask_worker()
    if worker is not None and worker.state.nthreads > 1:
        raise ValueError(
            f"the Dask worker {worker.address} has {worker.state.nthreads} threads, but stages keep"
            " models that serve one at a time; start it with `dask worker --nthreads 1`, and with"
            " --nworkers for more than one slot"
        )


def require_images(images_dir: str) -> None:
    """Refuse to look for images on a machine that lacks their folder, where each would be missing.

    Raises:
        FileNotFoundError: If it is not there, though the flow's machine has it.
    """
    worker = _dask_worker()
    if worker is not None and not Path(images_dir).is_dir():
        raise FileNotFoundError(
            f"the Dask worker {worker.address} does not see the folder of images {images_dir}; it"
            " has to be there on every machine under the same path, which is absolute"
        )


def _dask_worker() -> Any | None:
    """The Dask worker that runs this task, if one does."""
    module = sys.modules.get("distributed.worker")
    if module is None:
        return None
    try:
        return module.get_worker()
    except ValueError:
        return None
