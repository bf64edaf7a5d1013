"""The same `curate` gives the same bytes wherever it runs."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from data_schemas.configs.curate_config import CurateConfig
from tests.curated_elsewhere import (
    end,
    free_port,
    is_open,
    service,
    shards_of,
    start_curate,
    wait_until,
)
from tests.flows.conftest import NUM_ROWS, DrawnSet
from tokencompose_core.pocket.floors.held_out import draw_held_out
from tokencompose_core.store.content_store import Store

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> CurateConfig:
    drawn = DrawnSet(tmp_path_factory.mktemp("elsewhere") / "set")
    drawn.folder.mkdir()
    for number, item in enumerate(draw_held_out(NUM_ROWS, seed=41)):
        drawn.add(number, item)
    return drawn.config()


@pytest.fixture(scope="module")
def expected(
    config: CurateConfig, prefect_server: None, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[str, str]]:
    """Shards that the thread runner makes, in a store on the disk."""
    store = tmp_path_factory.mktemp("threads") / "store"
    ended = end(start_curate(config, {"TOKENCOMPOSE_STORE": str(store)}))
    assert ended.code == 0, ended.errors[-3000:]
    shards = shards_of(Store(str(store)))
    assert len(shards) > 3
    return shards


@contextmanager
def dask_cluster(folder: Path, num_workers: int, num_threads: int = 1) -> Iterator[tuple]:
    """A scheduler and workers as a user starts them, with a working directory of their own."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "dask"]
    with ExitStack() as stack:
        scheduler = ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
        # What a worker's environment says of the store does not count.
        settings = {"TOKENCOMPOSE_STORE": str(folder / "not-here")}
        stack.enter_context(service([*dask, *scheduler], settings, folder / "scheduler.log"))
        wait_until(lambda: is_open(port), 60, "Dask's scheduler")
        worker = ["worker", address, "--no-nanny", "--no-dashboard", "--nthreads", str(num_threads)]
        command = [*dask, *worker, "--local-directory", str(folder)]
        workers = [
            stack.enter_context(service(command, settings, folder / f"worker-{number}.log"))
            for number in range(num_workers)
        ]
        yield address, workers


def test_dask_cluster_of_which_a_worker_is_killed_half_way_makes_the_same_shards(
    tmp_path: Path, config: CurateConfig, expected: dict[str, tuple[str, str]]
) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    store = tmp_path / "store"
    with dask_cluster(tmp_path, 2) as (address, workers):
        settings = {
            "TOKENCOMPOSE_STORE": str(store),
            "TOKENCOMPOSE_TASK_RUNNER": "dask",
            "TOKENCOMPOSE_TASK_RUNNER_ADDRESS": address,
        }
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
            pids = client.run(os.getpid)
            process = start_curate(config, settings)
            try:
                wait_until(
                    lambda: (
                        process.poll() is not None
                        or (
                            [*store.glob("mask-*/manifest.json")]
                            and all(client.processing().values())
                        )
                    ),
                    120,
                    "both workers mask",
                )
                assert process.poll() is None, end(process).errors[-3000:]
                assert set(pids.values()) == {worker.pid for worker in workers}
                workers[0].send_signal(signal.SIGKILL)
            finally:
                ended = end(process)
            assert len(client.scheduler_info()["workers"]) == 1
    assert ended.code == 0, ended.errors[-3000:]
    assert shards_of(Store(str(store))) == expected
    assert not (tmp_path / "not-here").exists()
