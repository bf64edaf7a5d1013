"""The same `curate` gives the same bytes wherever it runs."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncpg
import fsspec
import pytest
from prefect.filesystems import RemoteFileSystem

from data_schemas.configs.curate_config import CurateConfig
from tests.curated_elsewhere import end, service, shards_of, start_curate
from tests.flows.conftest import NUM_ROWS, DrawnSet
from tests.local_servers import free_port, is_open, wait_until
from tests.postgres_server import postgres_server
from tests.s3_server import BUCKET, s3_server
from tokencompose_core.pocket.floors.held_out import draw_held_out
from tokencompose_core.store.content_store import Store

# Each takes less than a minute on a machine that has nothing else to do.
pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(1500)]


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
                    400,
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


def test_store_and_results_on_s3_have_the_same_shards(
    tmp_path: Path,
    config: CurateConfig,
    expected: dict[str, tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with s3_server(tmp_path) as s3:
        for name, value in s3.settings.items():
            monkeypatch.setenv(name, value)
        RemoteFileSystem(basepath=f"s3://{BUCKET}/results").save("results-on-s3", overwrite=True)
        settings = {
            "TOKENCOMPOSE_STORE": f"s3://{BUCKET}/store",
            "TOKENCOMPOSE_CACHE": str(tmp_path / "cache"),
            "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": "remote-file-system/results-on-s3",
            "PREFECT_HOME": str(tmp_path / "prefect"),
            "PREFECT_LOCAL_STORAGE_PATH": str(tmp_path / "prefect/storage"),
        }
        ended = end(start_curate(config, settings, times=2))
        assert ended.code == 0, ended.errors[-3000:]
        # What Prefect calls cached it has read from there, too: on the disk there is no result.
        assert ended.states == [{"Completed"}, {"Cached"}]
        listed = s3.client.list_objects_v2(Bucket=BUCKET, Prefix="results/")["Contents"]
        assert any("/shard-v" in entry["Key"] for entry in listed), listed
        assert not list(tmp_path.glob("prefect/storage/*"))
        store = Store(f"s3://{BUCKET}/store", cache_dir=tmp_path / "read")
        assert shards_of(store) == expected
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_prefect_server_on_postgres_has_the_same_shards(
    tmp_path: Path, config: CurateConfig, expected: dict[str, tuple[str, str]]
) -> None:
    with postgres_server() as database:
        port = free_port()
        settings = {
            "PREFECT_API_DATABASE_CONNECTION_URL": database,
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_HOME": str(tmp_path / "prefect"),
            "PREFECT_LOCAL_STORAGE_PATH": str(tmp_path / "prefect/storage"),
            "TOKENCOMPOSE_STORE": str(tmp_path / "store"),
        }
        command = [sys.executable, "-m", "prefect", "server", "start"]
        log = tmp_path / "server.log"
        with service(command, settings, log):
            wait_until(lambda: is_open(port), 120, str(log))
            ended = end(start_curate(config, settings))
            assert ended.code == 0, ended.errors[-3000:]
            made = len([*tmp_path.glob("store/*-v*/manifest.json")])
            wait_until(lambda: recorded(database, "COMPLETED") == made, 60, "records")
        assert recorded(database, "COMPLETED") == made
    assert shards_of(Store(str(tmp_path / "store"))) == expected


def recorded(database: str, state: str) -> int:
    """How many task runs a database has in a state."""

    async def count() -> int:
        connection = await asyncpg.connect(database.replace("+asyncpg", ""))
        try:
            query = "SELECT count(*) FROM task_run WHERE state_type = $1"
            return await connection.fetchval(query, state)
        finally:
            await connection.close()

    return asyncio.run(count())
