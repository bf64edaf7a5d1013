import os
import signal
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from prefect import flow, task

from tasks.progress import STOP, Progress
from tasks.stage import STAGE_OPTIONS, reuse_or_publish, run_stage
from tasks.task_runner import ONE_AT_A_TIME
from tests.stored_numbers import NumberSpec


class EndlessSpec(NumberSpec):
    stage: ClassVar[str] = "endless"


@pytest.mark.usefixtures("prefect_server")
def test_interrupted_flow_stops_its_tasks_and_starts_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKENCOMPOSE_STORE", str(tmp_path))
    started = []

    @task(name="endless", **STAGE_OPTIONS)
    def endless(spec: EndlessSpec):
        def write(folder: Path, store) -> dict[str, Any]:
            started.append(spec.number)
            with Progress("endless", 1, "steps") as progress:
                for step in range(10_000):
                    if step == 3:
                        os.kill(os.getpid(), signal.SIGINT)  # what Ctrl-C does
                    time.sleep(0.05)
                    progress.advance(0)
            return {}

        return reuse_or_publish(spec, write)

    @flow(task_runner=ONE_AT_A_TIME)
    def interrupted():
        run_stage(endless, [EndlessSpec(number=n) for n in range(3)])

    # Processes that a shell starts in the background ignore this signal unless they ask for it.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    begin = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    finally:
        signal.signal(signal.SIGINT, previous)
        STOP.clear()
    assert time.monotonic() - begin < 300
    assert started == [0]
    assert not list(tmp_path.glob("endless-*"))
