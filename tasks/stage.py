"""Run a stage: skip what the store has, report what was done."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from prefect import Task, get_run_logger
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, PrefectWrappedFuture
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.tasks import exponential_backoff
from tqdm import tqdm

from data_schemas.manifest import Manifest
from tasks.earlier_rows import point_to_earlier
from tasks.opened_store import note_use, open_store, store_of_flow, store_url
from tasks.progress import STOP, Progress, stop_if_asked
from tasks.quiet import hush_libraries
from tasks.spec import Input, Spec
from tasks.task_runner import check_slot, runs_elsewhere
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.scratch import alone_in
from tokencompose_core.store.store_error import StoreError, StoreRefusedError

__all__ = [
    "PLANNER",
    "STAGE_OPTIONS",
    "Input",
    "Outcome",
    "Spec",
    "note_use",
    "open_store",
    "reuse_or_publish",
    "run_stage",
]

PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "peft",
    "open_clip_torch",
    "flair",
    "groundingdino-py",
    "segment-anything-hq",
    "torch-fidelity",
)


@dataclass(frozen=True)
class Outcome:
    """One output of a stage and how it came about.

    It is `Completed`, `Cached` or `Reused`; in a plan `Stored` or `Planned`.
    """

    manifest: Manifest
    state: str


PLANNER: ContextVar[Callable[[Sequence[Spec]], list[Outcome]] | None] = ContextVar(
    "planner", default=None
)
"""Stands in for the tasks while a plan is made, see `tasks/planning.py`."""


def reuse_or_publish(
    spec: Spec, write: Callable[[Path, Store], dict[str, Any]], inputs: dict[str, str] | None = None
) -> Manifest | State:
    """Return what the store has under the spec's key, or write it.

    Args:
        spec: What the task was given.
        write: Writes the output's files into a folder and returns fields of the manifest.
        inputs: Digests of what the output is made from, for its lineage.

    Returns:
        The manifest, in a state named `Reused` if the output was there already.
    """
    stop_if_asked()
    check_slot()
    with store_of_flow(spec.flow_store):
        store = open_store()
        found = store.find(spec.key)
        if found is None and spec.keeps_checkpoints:
            with alone_in(store.work_dir(spec.key), on_wait=stop_if_asked):
                # Another run may have made it while this one waited.
                found = store.find(spec.key)
                manifest = found or _publish(spec, write, store, inputs)
                store.clear_work_dir(spec.key)
        else:
            manifest = found or _publish(spec, write, store, inputs)
    return Completed(name="Reused", message=spec.key, data=manifest) if found else manifest


def _publish(
    spec: Spec,
    write: Callable[[Path, Store], dict[str, Any]],
    store: Store,
    inputs: dict[str, str] | None,
) -> Manifest:
    hush_libraries()
    return store.publish(
        spec.key,
        spec.stage,
        lambda folder: write(folder, store),
        inputs=inputs,
        parts=spec.parts(),
        provenance={
            "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **({"flow_run": flow_run.id} if flow_run.id else {}),
            **{name: package_version(name) for name in PACKAGES},
        },
    )


def is_machine_error(task: Task, run: Any, state: State) -> bool:
    """Whether a retry may mend what went wrong: memory, disk or network, never a bad value.

    A plain `OSError` without a number is what libraries say of a file that holds something else, or
    of a model's folder that lacks one; of the network only if something of the network caused it.
    """
    try:
        state.result()
    except (FileNotFoundError, StoreRefusedError):
        return False
    except (OSError, TimeoutError) as error:
        return any(map(_is_of_the_system, _with_causes(error)))
    except Exception as error:
        return "out of memory" in str(error)
    return False


def _is_of_the_system(error: BaseException) -> bool:
    if isinstance(error, FileNotFoundError):
        return False
    return isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None)


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


# The options of every stage's task. Prefect's own cache policies are not used: they hash arguments
# by their text, so that a changed file behind an equal path would be a hit.
STAGE_OPTIONS: dict[str, Any] = {
    "cache_key_fn": lambda context, parameters: parameters["spec"].key,
    "persist_result": True,
    "result_serializer": "json",
    "retries": 2,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_machine_error,
    "task_run_name": "{spec.title}",
}


def run_stage(work: Task, specs: Sequence[Spec]) -> list[Outcome]:
    """Run a task for every spec, unless Prefect or the store has its output already.

    Prefect's word that an output is cached is believed only if the store has it undamaged, and
    what the store has is what is returned.

    Args:
        work: A task with `STAGE_OPTIONS` that takes `spec`.
        specs: One for every output, at least one.

    Returns:
        Outcomes in the order of the specs.

    Raises:
        Exception: What the first failed run raised, once all runs have ended. If that was the
            store's failure, runs that had not begun never do: what they compute would be lost.
    """
    planner = PLANNER.get()
    if planner is not None and not specs[0].decides_partitions:
        return planner(specs)
    note_use([spec.key for spec in specs])
    store = open_store()
    STOP.clear()
    outcomes = []
    failure: Exception | None = None
    try:
        stored = [store.find(spec.key) for spec in specs]
        futures = []
        for spec, found in zip(point_to_earlier(store, specs, stored), stored, strict=True):
            task = work.with_options(refresh_cache=found is None)
            futures.append(task.submit(spec.model_copy(update={"flow_store": store_url()})))
        with Progress(specs[0].stage, len(specs), "partitions") as progress:
            for future, found in zip(futures, stored, strict=True):
                if _was_called_off(future):
                    continue
                future.wait()
                progress.advance(1)
                try:
                    result = future.result()
                    # Prefect may remember the output of another store: the same key, but scores
                    # that differ in a last digit. Later stages read what lies in this one.
                    manifest = found or Manifest.model_validate(result)
                    if runs_elsewhere() and store.find(manifest.key, "size") is None:
                        raise FileNotFoundError(_not_shared(manifest.key, store))
                except Exception as error:
                    failure = failure or error
                    if isinstance(error, StoreError):
                        _call_off(futures)
                else:
                    outcomes.append(Outcome(manifest, str(future.state.name)))
    except BaseException:  # Ctrl-C, or the worker's signal to end
        STOP.set()
        raise
    if failure is not None:
        raise failure
    line = _summary(outcomes)
    get_run_logger().info(line)
    tqdm.write(line)
    return outcomes


def _call_off(futures: Sequence[PrefectFuture]) -> None:
    """Have tasks that have not begun never begin; no server has heard of them yet."""
    for future in futures:
        if isinstance(future, PrefectWrappedFuture) and not future.wrapped_future.done():
            future.wrapped_future.cancel()


def _was_called_off(future: PrefectFuture) -> bool:
    return isinstance(future, PrefectWrappedFuture) and future.wrapped_future.cancelled()


def _not_shared(key: str, store: Store) -> str:
    return (
        f"a worker says that {key} is in the store {store.url}, but this machine does not find it"
        " there; TOKENCOMPOSE_STORE has to name a store that all of them share"
    )


def _summary(outcomes: Sequence[Outcome]) -> str:
    """A stage in one line: how its outputs came about, and what became of the samples."""
    states = Counter(outcome.state for outcome in outcomes)
    made = ", ".join(f"{count} {name}" for name, count in sorted(states.items()))
    num_in = sum(outcome.manifest.num_in for outcome in outcomes)
    num_out = sum(outcome.manifest.num_out for outcome in outcomes)
    rejected: Counter[str] = Counter()
    for outcome in outcomes:
        rejected.update(outcome.manifest.rejected)
    lost = ", ".join(f"{count} {reason}" for reason, count in sorted(rejected.items()))
    taken = sum(
        outcome.manifest.facts.get("rows_taken_over", 0)
        for outcome in outcomes
        if outcome.state == "Completed"
    )
    line = f"{outcomes[0].manifest.stage:9} {made:16} {num_in:5} in {num_out:5} out"
    if taken:
        line += f"  known already: {taken}"
    return f"{line}  left out: {lost}" if lost else line
