"""Seconds and memory of caption sets of growing size: is the time linear, and the memory bounded?

    python benchmarks/scale.py [--rows 62500,250000,1000000]
    python benchmarks/scale.py --images [--scenes 200,800]

The first draws as many tiny PNG files as are needed, five rows to an image as in COCO, writes the
rows in random order as JSON lines, and runs, for each size in processes of their own:

prepare    `prepare_source`, in a flow on a temporary Prefect server: rows are read and joined,
           images digested
select     the task `select-images` behind it: headers, partitions, Parquet
again      both once more, which finds everything in the store
parse      what the stage `parse` does up to the tagger's network, without Prefect: every partition
           is read, and each of its captions, not one an image, becomes a sentence of flair's tokens

`base` is the memory of the process before, with all imports; `above` is what its peak adds to it.
Processor time is that of all threads of the process, so that it holds on a machine with other work.

`--images` runs the flow `curate`, with the pocket models, on two sizes and draws the straight line
through both to 100,000 images.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

CAPTIONS_AN_IMAGE = 5
FAR = 100_000
ADJECTIVES = ("small", "large", "red", "old", "wooden", "striped", "happy", "wet", "green")
NOUNS = ("cat", "dog", "boat", "bench", "kite", "lamp", "book", "cup", "chair", "horse", "clock")
RELATIONS = ("left of", "next to", "on top of", "in front of", "behind", "under")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="62500,250000,1000000")
    parser.add_argument("--images", action="store_true")
    parser.add_argument("--scenes", default="200,800")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        work = globals()[f"child_{arguments.child}"]
        print(json.dumps(work(**json.load(sys.stdin))))
        return
    with tempfile.TemporaryDirectory() as name:
        if arguments.images:
            measure_images(Path(name), [int(n) for n in arguments.scenes.split(",")])
        else:
            measure_rows(Path(name), [int(n) for n in arguments.rows.split(",")])


def measure_rows(folder: Path, sizes: Sequence[int]) -> None:
    """Print a line for every size."""
    draw_images(folder / "images", -(-max(sizes) // CAPTIONS_AN_IMAGE))
    print(f"{'':16} {'seconds':>35} {'processor us a row':>21} {'MiB: select':>15} {'parse':>15}")
    print(
        f"{'rows':>8} {'images':>7} {'prepare':>8} {'select':>8} {'again':>8} {'parse':>8}"
        f" {'select':>7} {'again':>6} {'parse':>6}" + 2 * f" {'base':>8} {'above':>6}"
    )
    for num_rows in sizes:
        write_rows(folder / "captions.jsonl", num_rows)
        store = folder / f"store-{num_rows}"
        chosen = run_child("select", store, folder=str(folder))
        parsed = run_child("parse", store, inputs=chosen.pop("inputs"))
        first, again, parse = (
            1e6 * seconds / num_rows
            for seconds in (chosen["processor"], chosen["processor_again"], parsed["processor"])
        )
        print(
            f"{num_rows:8} {chosen['images']:7} {chosen['prepare']:8.1f} {chosen['select']:8.1f}"
            f" {chosen['again']:8.1f} {parsed['parse']:8.1f} {first:7.0f} {again:6.0f}"
            f" {parse:6.0f} {chosen['base']:8.0f} {chosen['above']:6.0f}"
            f" {parsed['base']:8.0f} {parsed['above']:6.0f}",
            flush=True,
        )


def child_select(folder: str) -> dict[str, Any]:
    """Prepare a source and select from it, in a flow."""
    with prefect_server():
        from prefect import flow

        from data_schemas.configs.curate_config import CurateConfig
        from tasks.prepare_source import prepare_source
        from tasks.select_images import select_partitions

        seconds: dict[str, float] = {}

        @flow
        def select(config: CurateConfig) -> list[dict[str, str]]:
            begin, processor = time.perf_counter(), time.process_time()
            source = prepare_source(config)
            middle = time.perf_counter()
            parts = select_partitions(source, config)
            seconds.update(
                prepare=middle - begin,
                select=time.perf_counter() - middle,
                processor=time.process_time() - processor,
            )
            return [part.model_dump() for part in parts]

        config = CurateConfig.load(
            source={
                "kind": "json",
                "paths": [f"{folder}/captions.jsonl"],
                "images_dir": f"{folder}/images",
            },
            select={"partition_size": 128},
        )
        base = peak_mib()
        inputs = select(config)
        above = peak_mib() - base
        first = dict(seconds)
        assert select(config) == inputs
    with Path(folder, "captions.jsonl").open() as lines:
        images = len({json.loads(line)["img_path"] for line in lines})
    again = {
        "again": seconds["prepare"] + seconds["select"],
        "processor_again": seconds["processor"],
    }
    return {**first, **again, "inputs": inputs, "images": images, "base": base, "above": above}


def child_parse(inputs: list[dict[str, str]]) -> dict[str, Any]:
    """Read every partition and split its captions into tokens."""
    from data_schemas.records import SelectedImage
    from tasks.stage import Input, open_store
    from tokencompose_core.nouns.tagger import split_sentences
    from tokencompose_core.store.tables import read_table

    store = open_store()
    base, num_tokens = peak_mib(), 0
    begin, processor = time.perf_counter(), time.process_time()
    for part in inputs:
        rows = read_table(Input(**part).path(store), SelectedImage)
        sentences = split_sentences([caption for row in rows for caption in row.captions])
        num_tokens += sum(map(len, sentences))
    return {
        "parse": time.perf_counter() - begin,
        "processor": time.process_time() - processor,
        "tokens": num_tokens,
        "base": base,
        "above": peak_mib() - base,
    }


def measure_images(folder: Path, sizes: Sequence[int]) -> None:
    """Print a line for every size, and one for a size that was not run."""
    print(f"{'images':>7} {'samples':>8} {'seconds':>8} {'peak MiB':>9}")
    points = []
    for num_images in sizes:
        store = folder / f"store-{num_images}"
        run_child("draw", store, num_images=num_images)
        ran = run_child("curate", store, num_images=num_images)
        points.append((ran["images"], ran["seconds"]))
        print(
            f"{ran['images']:7} {ran['samples']:8} {ran['seconds']:8.1f} {ran['peak']:9.0f}",
            flush=True,
        )
    (few, first), (many, last) = points[0], points[-1]
    far = last + (last - first) / (many - few) * (FAR - many)
    # Peaks lie on no line: one partition at a time is in memory.
    print(f"{FAR:7} {'':8} {far:8.0f} {'':9}  on the line through both, not run")


def child_draw(num_images: int) -> dict[str, Any]:
    """Draw a pocket world into the store."""
    with prefect_server():
        from prefect import flow

        from tasks.prepare_source import prepare_source

        flow(prepare_source)(pocket_config(num_images))
    return {}


def child_curate(num_images: int) -> dict[str, Any]:
    """From a pocket world that is there to shards."""
    with prefect_server():
        from data_schemas.manifest import Manifest
        from flows.curate import curate

        begin = time.perf_counter()
        curate(pocket_config(num_images))
        seconds = time.perf_counter() - begin
    counts = {"select": 0, "shard": 0}
    for path in Path(os.environ["TOKENCOMPOSE_STORE"]).glob("*/manifest.json"):
        manifest = Manifest.model_validate_json(path.read_text())
        if manifest.stage in counts:
            counts[manifest.stage] += manifest.num_out
    return {
        "images": counts["select"],
        "samples": counts["shard"],
        "seconds": seconds,
        "peak": peak_mib(),
    }


def pocket_config(num_images: int) -> Any:
    """All images of a pocket world of about this many."""
    from data_schemas.configs.curate_config import CurateConfig

    return CurateConfig.load(
        "pocket",
        source={"kind": "pocket", "seed": 1, "num_images": num_images, "num_damaged": 0},
    )


def draw_images(folder: Path, count: int) -> None:
    """Write tiny PNG files, each with a content of its own."""
    folder.mkdir()
    Image.new("L", (32, 32), 200).save(folder / "one.png")
    content = (folder / "one.png").read_bytes()
    for number in range(count):
        if number % 1000 == 0:
            (folder / f"{number // 1000:04d}").mkdir()
        # Behind the last chunk, where no reader looks.
        (folder / image_name(number)).write_bytes(content + number.to_bytes(8, "big"))


def image_name(number: int) -> str:
    """Path of an image below the image root."""
    return f"{number // 1000:04d}/{number:08d}.png"


def write_rows(path: Path, num_rows: int) -> None:
    """Write captions of all images in random order, a row a caption."""
    rng = random.Random(num_rows)
    order = list(range(num_rows))
    rng.shuffle(order)
    with path.open("w") as stream:
        for number in order:
            caption = (
                f"A {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)} {rng.choice(RELATIONS)} the"
                f" {rng.choice(NOUNS)} and a {rng.choice(NOUNS)}, picture {number}."
            )
            row = {"img_path": image_name(number // CAPTIONS_AN_IMAGE), "caption": caption}
            stream.write(json.dumps(row) + "\n")


@contextmanager
def prefect_server() -> Iterator[None]:
    """A Prefect server in a process of its own."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


def run_child(
    work: str, store: Path, *, script: Sequence[str] = (__file__,), **settings: Any
) -> dict[str, Any]:
    """Run a function `child_...` in a new process, so that peaks of memory do not mix.

    Args:
        work: The function's name behind `child_`.
        store: The store of that process.
        script: What Python is to run: a benchmark that takes `--child`.
        settings: Arguments of the function.
    """
    ran = subprocess.run(
        [sys.executable, *script, "--child", work],
        input=json.dumps(settings),
        # A server that is told to end says as an error what it could not write any more.
        env={
            **os.environ,
            "TOKENCOMPOSE_STORE": str(store),
            "PREFECT_LOGGING_LEVEL": "CRITICAL",
            "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(ran.stdout.splitlines()[-1])


def peak_mib() -> float:
    """Most memory that this process has had.

    Not `ru_maxrss`, which begins with that of the process that started this one.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
