"""Seconds and memory of what looks after a store, on a caption set of a hundred thousand rows.

    python -m benchmarks.operate_scale [--rows 100000] [--partition-size 64] [--folder DIR]

The set is registered and selected by the flow's own tasks. Then the entries of the stages behind
are published without the models that would make them (`benchmarks/filled_store.py`).

Each line is a process of its own, in a flow on one temporary Prefect server. `base` is the memory
of the process before, with all imports; `above` is what its peak adds to it.
"""

import argparse
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.filled_store import config_of, publish_stages, write_set
from benchmarks.scale import peak_mib, run_child

NEW_THRESHOLD = 0.35
COMMANDS = ("plan", "plan_changed", "gc", "verify", "verify_deep", "lineage", "gc_delete")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--partition-size", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="keep everything there, and go on from it")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        settings = json.load(sys.stdin)
        print(json.dumps(globals()[f"child_{arguments.child}"](**settings)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name)
        folder.mkdir(exist_ok=True)
        with own_server(folder):
            measure(folder, arguments.rows, arguments.partition_size)


def measure(folder: Path, num_rows: int, partition_size: int) -> None:
    """Print a line for every command."""
    settings = {"folder": str(folder), "partition_size": partition_size}
    this, store = ("-m", "benchmarks.operate_scale"), folder / "store"
    known = folder / f"filled-{num_rows}-{partition_size}.json"
    if not (folder / "captions.jsonl").exists():
        begin = time.perf_counter()
        write_set(folder, num_rows)
        print(f"{num_rows} rows drawn in {time.perf_counter() - begin:.0f} s", flush=True)
    if not known.exists():
        known.write_text(json.dumps(run_child("fill", store, script=this, **settings)))
    filled = json.loads(known.read_text())
    print("{entries} entries, {files} files in {fill:.0f} s".format(**filled), flush=True)
    print(f"\n{'':16}{'seconds':>8}{'processor':>11}{'base MiB':>10}{'above':>7}")
    for part in ("read", "select", "register"):
        print(f"{part:16}{filled[part]:8.1f}{'':11}{filled['base']:10.0f}{filled['above']:7.0f}")
    for command in COMMANDS:
        ran = run_child(command, store, script=this, **settings)
        print(
            f"{command:16}{ran['seconds']:8.1f}{ran['processor']:11.1f}{ran['base']:10.0f}"
            f"{ran['above']:7.0f}"
            f"  {ran['found']}",
            flush=True,
        )


@contextmanager
def own_server(folder: Path) -> Iterator[None]:
    """A Prefect server of the benchmark's own, for all its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    os.environ |= {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_PORT": port,
    }
    from flows.local_server import local_server

    with local_server():
        yield


def child_fill(folder: str, partition_size: int) -> dict[str, Any]:
    """Register and select with the project's own tasks, then publish what models would make."""
    from prefect import flow

    from tasks.prepare_source import prepare_source
    from tasks.register_captions import register_captions
    from tasks.select_images import select_partitions
    from tasks.stage import open_store
    from tokencompose_core.store.uses import record_use

    record_use(open_store(), [], date(2020, 1, 1))
    config = config_of(folder, partition_size)
    found: dict[str, Any] = {}

    @flow
    def select() -> None:
        begin = time.perf_counter()
        source = prepare_source(config)
        middle = time.perf_counter()
        parts = select_partitions(source, config)
        selected = time.perf_counter()
        assert register_captions(parts, config).num_images
        found.update(
            read=middle - begin,
            select=selected - middle,
            register=time.perf_counter() - selected,
            source=source,
            parts=parts,
            above=peak_mib() - base,
        )

    base = peak_mib()
    select()
    begin = time.perf_counter()
    publish_stages(found.pop("source"), found.pop("parts"), config)
    entries = [path.parent for path in Path(open_store().root).glob("*/manifest.json")]
    files = sum(len(list(path.rglob("*"))) for path in entries)
    return found | {
        "base": base,
        "fill": time.perf_counter() - begin,
        "entries": len(entries),
        "files": files,
    }


@contextmanager
def measured(found: dict[str, Any]) -> Iterator[None]:
    """Note seconds, those of the processor, and how much memory the peak adds."""
    base, begin, processor = peak_mib(), time.perf_counter(), time.process_time()
    yield
    found.update(
        seconds=time.perf_counter() - begin,
        processor=time.process_time() - processor,
        base=base,
        above=peak_mib() - base,
    )


def child_plan(folder: str, partition_size: int, **mask: Any) -> dict[str, Any]:
    """Plan the set, of which everything is there."""
    from flows.plan import plan

    config, ran = config_of(folder, partition_size, **mask), {}
    with measured(ran):
        stages = plan(config)
    stored = sum(stage.stored for stage in stages)
    to_do = sum(reason.outputs for stage in stages for reason in stage.reasons)
    return ran | {"found": f"{stored} stored, {to_do} to compute"}


def child_plan_changed(folder: str, partition_size: int) -> dict[str, Any]:
    """Plan the set with a threshold that it was never masked with."""
    return child_plan(folder, partition_size, box_threshold=NEW_THRESHOLD)


def child_gc(folder: str, partition_size: int, **changes: Any) -> dict[str, Any]:
    """List what nothing refers to."""
    from data_schemas.configs.operate_config import GcConfig
    from flows.gc import gc

    ran: dict[str, Any] = {}
    with measured(ran):
        garbage = gc(GcConfig(**changes))
    return ran | {"found": f"{sum(row.unreferenced for row in garbage.stages)} unreferenced"}


def child_gc_delete(folder: str, partition_size: int) -> dict[str, Any]:
    """Remove it."""
    return child_gc(folder, partition_size, delete=True)


def child_verify(folder: str, partition_size: int, **changes: Any) -> dict[str, Any]:
    """Compare sizes."""
    from data_schemas.configs.operate_config import VerifyConfig
    from flows.verify import verify

    ran: dict[str, Any] = {}
    with measured(ran):
        health = verify(VerifyConfig(**changes))
    files = sum(row.files for row in health.stages)
    return ran | {"found": f"{files} files, {len(health.broken)} broken"}


def child_verify_deep(folder: str, partition_size: int) -> dict[str, Any]:
    """Compare digests."""
    return child_verify(folder, partition_size, deep=True)


def child_lineage(folder: str, partition_size: int) -> dict[str, Any]:
    """Follow the data set in both directions."""
    from data_schemas.configs.operate_config import LineageConfig
    from flows.lineage import lineage

    ran: dict[str, Any] = {}
    with measured(ran):
        found = lineage(LineageConfig(key="dataset"))
    return ran | {"found": f"{len(found.nodes)} nodes"}


if __name__ == "__main__":
    main()
