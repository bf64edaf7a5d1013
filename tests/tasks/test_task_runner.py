"""Where tasks run, and what a worker of a cluster refuses."""

import subprocess
import sys
import uuid

import pytest

from tasks.task_runner import ONE_AT_A_TIME, choose_task_runner, require_images
from tests.stored_numbers import run_numbers

distributed = pytest.importorskip("distributed", reason="Dask is not installed")


def local_cluster(threads: int, *, processes: bool):
    return distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=threads,
        processes=processes,
        dashboard_address=None,
        memory_limit=None,
    )


def test_runner_is_what_the_setting_says():
    assert choose_task_runner("threads", "") is ONE_AT_A_TIME
    assert choose_task_runner("dask", "tcp://scheduler:8786").address == "tcp://scheduler:8786"
    two = choose_task_runner("dask:2", "").cluster_kwargs
    assert (two["n_workers"], two["threads_per_worker"]) == (2, 1)
    assert choose_task_runner("dask", "").cluster_kwargs["n_workers"] == 1


@pytest.mark.parametrize(
    ("setting", "address", "said"),
    [
        ("process", "", "takes threads, dask, ray"),
        ("threads:4", "", "takes threads, dask, ray"),
        ("dask:2", "tcp://scheduler:8786", "needs no address"),
        ("dask:two", "", "'two' is no number"),
        ("dask:0", "", "'0' is no number"),
        ("threads", "tcp://scheduler:8786", "set it to dask or ray"),
    ],
)
def test_setting_that_makes_no_sense_is_refused(setting: str, address: str, said: str):
    with pytest.raises(ValueError, match=said):
        choose_task_runner(setting, address)


def test_runner_whose_package_is_missing_is_named_by_the_command_line():
    if subprocess.run([sys.executable, "-c", "import prefect_ray"], capture_output=True).returncode:
        with pytest.raises(ValueError, match="is ray, which needs the package prefect-ray"):
            choose_task_runner("ray", "")
    else:
        assert choose_task_runner("ray", "ray://head:10001").address == "ray://head:10001"


@pytest.mark.usefixtures("prefect_server", "store_dir")
def test_dask_worker_with_several_threads_is_refused_and_one_with_one_works():
    with local_cluster(2, processes=False) as cluster:
        state = run_numbers(1, choose_task_runner("dask", cluster.scheduler_address))
        with pytest.raises(ValueError, match=r"has 2 threads.*--nthreads 1"):
            state.result()
    with local_cluster(1, processes=False) as cluster:
        runner = choose_task_runner("dask", cluster.scheduler_address)
        assert run_numbers(2, runner).result() == ["Completed", "Completed"]
        assert run_numbers(3, runner).result() == ["Cached", "Cached", "Completed"]


@pytest.mark.usefixtures("prefect_server")
def test_store_that_flow_and_worker_do_not_share_is_noticed(monkeypatch: pytest.MonkeyPatch):
    # Every process has a memory of its own, as every machine has a disk.
    monkeypatch.setenv("TOKENCOMPOSE_STORE", f"memory://{uuid.uuid4().hex}")
    with local_cluster(1, processes=True) as cluster:
        state = run_numbers(1, choose_task_runner("dask", cluster.scheduler_address))
    assert state.is_failed()
    with pytest.raises(FileNotFoundError, match="a store that all of them share"):
        state.result()


def test_dask_worker_without_the_folder_of_images_says_so():
    require_images("nowhere")  # in the flow's process every image is missing, and rejected
    with (
        local_cluster(1, processes=False) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        pytest.raises(FileNotFoundError, match="does not see the folder of images nowhere"),
    ):
        client.submit(require_images, "nowhere").result()
