"""Kill what can be killed, at random moments of all stages, and see what becomes of the outputs.

    python benchmarks/crash_matrix.py [--moments 30] [--seed 3] [--port 4341] [--keep FOLDER]
                                      [--stages STAGE,STAGE] [--kinds KIND,KIND]

The flow `reproduce` runs on a small pocket world as a deployment: a server, a process worker, and
the process that the worker starts for the flow. It runs once without disturbance. Then a store is
filled again, and at random moments of random outputs something happens; what was killed is started
again, and so is the flow, until all outputs are there. A store has one moment in each stage at
most; then the next store begins.

flow        kill -9 of the flow's process
worker      kill -9 of the worker
both        kill -9 of worker and flow
server      kill -9 of the server, which comes back after some seconds
power       kill -9 of server, worker and flow
term flow   SIGTERM to the flow's process
term worker SIGTERM to the worker, which lets its flow end, but for one that has lost its server
            before: that one ends its flow with it
disk full   nothing more can be written to the store, a small file system of its own
truncated   kill -9 of the flow, and a random file of a random output is cut short
deleted     the same, and it is removed
database    kill -9 of server, worker and flow, and the server's database is deleted, once the
            states of all earlier runs are final

A line is a moment: the stage, and how far its output was; what happened; the state that the server
shows of the flow run in the end, and after how many seconds it had it; how many task runs and
called flows were inside, and after how many seconds the last of them had a final state; how many
outputs were whole then, and how many of these were computed again; and whether all outputs that
were there at the next moment equal those of the undisturbed run, in every byte.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from crash_pass import HEADER, Moment, Pass
from crash_runs import lift_limit, start_run
from crash_store import Span, read_entries, read_spans
from own_prefect import OwnPrefect

# Not the automation that runs a flow once more: here that is done when the next moment is due.
REGISTER = """
from prefect.client.orchestration import get_client
from flows.automations import settle_silent_runs

with get_client(sync_client=True) as client:
    for automation in settle_silent_runs():
        client.create_automation(automation)
"""
KINDS = (
    "flow",
    "worker",
    "both",
    "server",
    "term flow",
    "term worker",
    "disk full",
    "truncated",
    "deleted",
    "power",
    "database",
)
DEPLOYMENT = "reproduce/pocket"
CONFIG = {
    "profile": "pocket",
    "curate": {
        "source": {"kind": "pocket", "seed": 8, "num_images": 24, "num_damaged": 2},
        "select": {"partition_size": 8},
    },
    "finetune": {
        "num_steps": 12,
        "batch_size": 4,
        "checkpoint_every_steps": 3,
        "validation_every_steps": 100,
        "validation_prompts": [{"prompt": "a photo of a cat.", "nouns": ["cat"]}],
        "device": "cpu",
    },
    "evaluate": {
        "multigen": {"pocket": {"num_images_per_prompt": 1, "prompts": {"num_prompts": 6}}},
        "partition_size": 3,
        "sampler": {"num_inference_steps": 4},
    },
    "denoising_baseline": False,
}
SETTINGS = {
    # A thread each, so that other work on the machine has no say in the time that this takes.
    "OMP_NUM_THREADS": "1",
    "PREFECT_WORKER_QUERY_SECONDS": "2",
}
_RUN_SECONDS = 900


def main() -> int:
    """Read the command line, run everything, print the table; fails if a line of it is bad."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=30)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--port", type=int, default=4341)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--stages", help="only moments of these, with commas")
    parser.add_argument("--keep", type=Path, help="a folder for stores and logs, to look at")
    parser.add_argument("--calm", type=Path, help="the store of an undisturbed run, made before")
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    with tempfile.TemporaryDirectory() as name:
        folder = (options.keep or Path(name)).absolute()
        with OwnPrefect(folder, options.port, SETTINGS) as own:
            prepare(own)
            begin = time.monotonic()
            calm_store = (options.calm or folder / "calm/store").absolute()
            if options.calm is None:
                run_calmly(own, calm_store)
            calm, spans = read_entries(calm_store), read_spans(calm_store)
            print(
                f"undisturbed: {len(spans)} outputs of {len({s.stage for s in spans})} stages in"
                f" {time.monotonic() - begin:.0f} s"
            )
            print(HEADER, flush=True)
            rows = []
            stages = list(dict.fromkeys(span.stage for span in spans))
            if options.stages is not None:
                stages = choose_stages(stages, options.stages.split(","))
            rng = random.Random(options.seed)
            passes = draw_moments(spans, stages, kinds, options.moments, rng)
            for number, moments in enumerate(passes):
                begun = Pass(
                    own=own,
                    folder=folder / f"store-{number}",
                    spans=spans,
                    calm=calm,
                    start=lambda store: start_run(own, DEPLOYMENT, CONFIG, store),
                    prepare=lambda: prepare(own),
                    rng=random.Random(options.seed + number),
                )
                rows += begun.run(moments)
                print(begun.summary(), flush=True)
            bad = [row for row in rows if not row.is_good()]
            num_stages = len({row.stage for row in rows})
            print(f"\n{len(rows)} moments in {num_stages} stages, {len(bad)} of them bad")
            return 1 if bad else 0


def prepare(own: OwnPrefect) -> None:
    """Pool, deployment, automations, worker, and what settles runs: as `make serve` has them."""
    prefect = ("-m", "prefect")
    own.run(*prefect, "work-pool", "create", "--type", "process", "--overwrite", "cpu")
    own.run(*prefect, "--no-prompt", "deploy", "-n", DEPLOYMENT)
    # Or the next run would wait until the server knows that the killed one is dead.
    lift_limit(own, DEPLOYMENT)
    own.run("-c", REGISTER)
    own.start_worker("cpu")
    own.start("settle", "-m", "tasks.settle_runs")


def run_calmly(own: OwnPrefect, store: Path) -> None:
    """Fill a store without disturbance."""
    run = start_run(own, DEPLOYMENT, CONFIG, store)
    state = run.wait_for_end(_RUN_SECONDS)
    if state != "Completed":
        raise RuntimeError(f"the undisturbed run ended as {run.state()}")


def choose_stages(stages: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Those of the stages of a run that are wanted, in their order.

    Raises:
        SystemExit: If the run has no such stage.
    """
    unknown = sorted(set(wanted) - set(stages))
    if unknown:
        raise SystemExit(
            f"--stages: the run has no {', '.join(unknown)}; it has {', '.join(stages)}"
        )
    return [stage for stage in stages if stage in wanted]


def draw_moments(
    spans: Sequence[Span],
    stages: Sequence[str],
    kinds: Sequence[str],
    count: int,
    rng: random.Random,
) -> list[list[Moment]]:
    """Moments for one store after the other: of each stage a random output, in their order."""
    dealt: list[str] = []
    passes: list[list[Moment]] = []
    while count > 0:
        chosen = stages if count >= len(stages) else rng.sample(stages, count)
        count -= len(chosen)
        moments = []
        for stage in chosen:
            dealt = dealt or rng.sample(kinds, len(kinds))
            number = rng.choice([n for n, span in enumerate(spans) if span.stage == stage])
            moments.append(Moment(number, rng.uniform(0, 1), dealt.pop()))
        passes.append(sorted(moments, key=lambda moment: moment.number))
    return passes


if __name__ == "__main__":
    sys.exit(main())
