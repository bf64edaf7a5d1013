"""Does the Prefect server keep every record of four busy flows, and what does one partition cost?

    python benchmarks/task_records.py [--runs 1000] [--flows 4] [--port 4341]

Four processes with a flow each publish a tiny output in each of 1,000 task runs, through the same
`run_stage` as every stage, against a server with the settings of `pyproject.toml`. Every tenth
output lies in the store before, so that its run has to end as `Reused`. Then all flows run again,
and all has to be `Cached`. The records are what the server itself says once they change no more.

Then one process alone, so that nothing waits for another's processor:

loop       the function that writes the output, in a plain loop
store      the same into the store: digests, manifest, rename, flushed to the disk
stage      the same through `run_stage`: what a stage of a flow does
again      `run_stage` when all is there

Each by the clock, and in processor time of the process and the server together, which holds on a
machine with other work.

Last, what a caption of the pocket world takes through the models, as the slope between two sizes of
`curate`, each in one partition, and with it the share of the overhead in the time of the work, by
the clock and by the processor. The real models are slower, so that their shares are smaller.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import psutil
from own_prefect import ROOT, OwnPrefect
from prefect import flow, task
from prefect.client.schemas.objects import State

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.manifest import Manifest
from tasks.stage import STAGE_OPTIONS, Spec, open_store, reuse_or_publish, run_stage
from tasks.task_runner import ONE_AT_A_TIME
from tokencompose_core.store.content_store import Store

CAPTIONS = 4526  # of the released set
# Stages of `curate` and `finetune` that have an output for every partition.
STAGES = ("rank", "parse", "mask", "shard", "encode")
SIZES = (96, 768)
MOST_SHARE = 0.03
TIMES = ("clock", "processor")
_QUIET_SECONDS = 5


class TinySpec(Spec):
    """A number to write down."""

    stage: ClassVar[str] = "tiny"
    version: ClassVar[int] = 1

    flow: str
    number: int

    def parts(self) -> dict[str, Any]:
        """Which flow, and which number."""
        return {"flow": self.flow, "number": self.number}


def write_number(spec: TinySpec, folder: Path) -> dict[str, Any]:
    """The work of the stage."""
    (folder / "number.json").write_text(json.dumps(spec.parts()))
    return {"num_in": 1, "num_out": 1}


@task(name="write-number", **STAGE_OPTIONS)
def write_tiny(spec: TinySpec) -> Manifest | State:
    """Writes: `number.json`."""
    return reuse_or_publish(spec, lambda folder, store: write_number(spec, folder))


@flow(name="tiny", task_runner=ONE_AT_A_TIME)
def tiny(name: str, runs: int) -> float:
    """One stage; returns its seconds."""
    specs = [TinySpec(flow=name, number=number) for number in range(runs)]
    begin = time.perf_counter()
    run_stage(write_tiny, specs)
    return time.perf_counter() - begin


def main() -> int:
    """Read the command line and measure; fails if a record is lost or the share is too large."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flows", type=int, default=4)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--port", type=int, default=4341)
    parser.add_argument("--keep", type=Path, help="a folder for store, database and logs")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        work, *arguments = options.child
        print(json.dumps(globals()[f"child_{work}"](*arguments)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = (options.keep or Path(name)).absolute()
        environment = {"TOKENCOMPOSE_STORE": str(folder / "store")}
        with OwnPrefect(folder, options.port, environment) as own:
            complete = count_records(own, options.flows, options.runs)
            costs = measure_costs(own, options.runs)
            small = measure_share(own, costs)
    return 0 if complete and small else 1


def count_records(own: OwnPrefect, num_flows: int, num_runs: int) -> bool:
    """Run the flows at once, twice, and compare what the server has with what was done."""
    expected: Counter[str] = Counter()
    complete = True
    print(f"{num_flows} flows at once, {num_runs} task runs each\n")
    print(f"{'':8}{'task runs':>10}{'recorded':>10}{'seconds':>9}{'settled':>9}  final states")
    reused = len(range(0, num_runs, 10))
    for title, states in (
        ("first", {"Completed": num_runs - reused, "Reused": reused}),
        ("again", {"Cached": num_runs}),
    ):
        begin = time.perf_counter()
        children = [start_child(own, "flow", str(n), str(num_runs)) for n in range(num_flows)]
        for child in children:
            read_child(child)
        seconds = time.perf_counter() - begin
        expected.update({name: num_flows * count for name, count in states.items()})
        found, settled = wait_for_records(own)
        complete = complete and found == expected
        print(
            f"{title:8}{sum(expected.values()):>10}{sum(found.values()):>10}{seconds:>9.1f}"
            f"{settled:>8.1f}s  {', '.join(f'{n} {s}' for s, n in sorted(found.items()))}"
        )
    log = (own.folder / "server.log").read_text()
    print(f"{log.count('queue is full'):8} lines of the server's log say that a queue is full")
    return complete


def wait_for_records(own: OwnPrefect) -> tuple[Counter[str], float]:
    """Final states, once nothing has changed for a while; and after how many seconds."""
    begin = changed = time.monotonic()
    last: Counter[str] = Counter()
    settled = 0.0
    while time.monotonic() - changed < _QUIET_SECONDS:
        found = Counter(run["state_name"] for run in own.read_all("task_runs", sort="ID_DESC"))
        if found != last:
            last, changed = found, time.monotonic()
            settled = changed - begin
        time.sleep(0.5)
    return last, settled


def measure_costs(own: OwnPrefect, num_runs: int) -> dict[str, dict[str, float]]:
    """Seconds an output, by what is around the work."""
    server = str(own.processes["server"].pid)
    costs = read_child(start_child(own, "costs", str(num_runs), server))
    print(f"\none flow alone: ms an output, {num_runs} outputs\n")
    print(f"{'':8}{'clock':>8}{'processor':>11}")
    for name, seconds in costs.items():
        print(f"{name:8}{1e3 * seconds['clock']:>8.2f}{1e3 * seconds['processor']:>11.2f}")
    return costs


def measure_share(own: OwnPrefect, costs: dict[str, dict[str, float]]) -> bool:
    """What part of the pocket pipeline's time on the published number of captions is not work.

    Returns:
        Whether it is small with the partitions of the profile `paper`.
    """
    few, many = (read_child(start_child(own, "curate", str(size))) for size in SIZES)
    work = {
        name: CAPTIONS * (many[name] - few[name]) / (many["captions"] - few["captions"])
        for name in TIMES
    }
    print(
        f"\n`curate` of {CAPTIONS} captions, from {few['captions']} and {many['captions']}:"
        f" {work['clock']:.0f} s by the clock, {work['processor']:.0f} s of processor time\n"
    )
    print(f"{'rows':>5}{'task runs':>11}{'overhead':>10}{'share':>8}{'processor':>11}{'share':>8}")
    published = CurateConfig.load("paper").select.partition_size
    is_small = True
    for size in (64, published):
        runs = -(-CAPTIONS // size) * len(STAGES)
        line = f"{size:>5}{runs:>11}"
        for name, width in zip(TIMES, (9, 10), strict=True):
            overhead = runs * (costs["stage"][name] - costs["loop"][name])
            share = overhead / (overhead + work[name])
            is_small = is_small and (share < MOST_SHARE or size != published)
            line += f"{overhead:>{width}.1f}s{share:>8.2%}"
        print(line)
    return is_small


def child_flow(name: str, runs: str) -> float:
    """One of the busy flows; part of its outputs are there before."""
    store = open_store()
    for number in range(0, int(runs), 10):
        spec = TinySpec(flow=name, number=number)
        _publish(store, spec)
    return tiny(name, int(runs))


def child_costs(runs: str, server: str) -> dict[str, dict[str, float]]:
    """Seconds an output in a loop, into the store, through `run_stage`, and again."""
    count = int(runs)
    store = open_store()
    tiny("warm", 20)
    with tempfile.TemporaryDirectory() as name:

        def write_file(number: int) -> None:
            folder = Path(name) / str(number)
            folder.mkdir()
            write_number(TinySpec(flow="loop", number=number), folder)

        return {
            "loop": timed(server, count, lambda: [write_file(n) for n in range(count)]),
            "store": timed(
                server,
                count,
                lambda: [_publish(store, TinySpec(flow="store", number=n)) for n in range(count)],
            ),
            "stage": timed(server, count, lambda: tiny("stage", count)),
            "again": timed(server, count, lambda: tiny("stage", count)),
        }


def timed(server: str, count: int, work: Callable[[], object]) -> dict[str, float]:
    """Seconds a piece of work takes, by the clock and of this process's and the server's processor.

    The server has some seconds to write what has reached it.
    """
    process = psutil.Process(int(server))
    processor = time.process_time() + _processor_of(process)
    begin = time.perf_counter()
    work()
    clock = time.perf_counter() - begin
    time.sleep(_QUIET_SECONDS)
    processor = time.process_time() + _processor_of(process) - processor
    return {"clock": clock / count, "processor": processor / count}


def _processor_of(process: psutil.Process) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in [process, *process.children(recursive=True)])


def _publish(store: Store, spec: TinySpec) -> None:
    if store.find(spec.key) is None:
        store.publish(
            spec.key, spec.stage, lambda folder: write_number(spec, folder), parts=spec.parts()
        )


def child_curate(size: str) -> dict[str, float]:
    """Seconds of `curate` on a pocket world, all of it in one partition."""
    from flows.curate import curate

    config = CurateConfig.load(
        caption_set=f"of-{size}",
        source={"kind": "pocket", "seed": int(size), "num_images": int(size), "num_damaged": 0},
        select={"partition_size": 100_000},
        max_rejected_fraction=0.5,
    )
    begin, processor = time.perf_counter(), time.process_time()
    made = curate(config)
    clock, processor = time.perf_counter() - begin, time.process_time() - processor
    manifest = open_store().find(made.dataset)
    assert manifest is not None
    return {"captions": manifest.num_out, "clock": clock, "processor": processor}


def start_child(own: OwnPrefect, *work: str) -> subprocess.Popen[str]:
    """Start a function `child_...` in a new process."""
    return subprocess.Popen(
        [sys.executable, __file__, "--child", *work],
        cwd=ROOT,
        env=own.environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def read_child(child: subprocess.Popen[str]) -> Any:
    """What such a process found.

    Raises:
        RuntimeError: If it failed.
    """
    printed, _ = child.communicate()
    if child.returncode:
        raise RuntimeError(f"a process ended with {child.returncode}")
    return json.loads(printed.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
