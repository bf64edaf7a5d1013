"""Seconds and memory of what looks after a store, on a caption set of a hundred thousand rows.

    python -m benchmarks.operate_scale [--rows 100000] [--partition-size 64] [--folder DIR]

Captions are of the pocket world's own sentence maker, one an image; images are tiny PNG files. The
set is registered and selected by the flow's own tasks. Then the entries of the stages behind, which
models would make, are published under the keys that their specs have, with tables of the real
shapes, so that `plan` finds them. Besides, masks and shards of another threshold are there that
were made two months ago, and that nothing refers to.

Each line is a process of its own, in a flow on one temporary Prefect server. `base` is the memory
of the process before, with all imports; `above` is what its peak adds to it.
"""

import argparse
import io
import json
import os
import random
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.scale import draw_images, image_name, peak_mib

OTHER_THRESHOLD = 0.4
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
    known = folder / f"filled-{num_rows}-{partition_size}.json"
    if not (folder / "captions.jsonl").exists():
        begin = time.perf_counter()
        write_set(folder, num_rows)
        print(f"{num_rows} rows drawn in {time.perf_counter() - begin:.0f} s", flush=True)
    if not known.exists():
        known.write_text(json.dumps(run_child("fill", folder, settings)))
    filled = json.loads(known.read_text())
    print("{entries} entries, {files} files in {fill:.0f} s".format(**filled), flush=True)
    print(f"\n{'':16}{'seconds':>8}{'processor':>11}{'base MiB':>10}{'above':>7}")
    for part in ("read", "select", "register"):
        print(f"{part:16}{filled[part]:8.1f}{'':11}{filled['base']:10.0f}{filled['above']:7.0f}")
    for command in COMMANDS:
        ran = run_child(command, folder, settings)
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


def write_set(folder: Path, num_rows: int) -> None:
    """Draw images, and write a caption for each in random order."""
    draw_images(folder / "images", num_rows)
    order = list(range(num_rows))
    random.Random(num_rows).shuffle(order)
    with (folder / "captions.jsonl").open("w") as stream:
        for number in order:
            row = {"img_path": image_name(number), "caption": sentence_of(number).text}
            stream.write(json.dumps(row) + "\n")


def sentence_of(number: int) -> Any:
    """The caption of an image, with its tags."""
    from tokencompose_core.pocket.scenes import sample_scene, sample_varied_names
    from tokencompose_core.pocket.sentences import write_sentence

    rng = random.Random(number)
    return write_sentence(rng, sample_scene(rng, sample_varied_names(rng), width=160, height=128))


def config_of(folder: str, partition_size: int, **mask: Any) -> Any:
    """What `curate` is given."""
    from data_schemas.configs.curate_config import CurateConfig

    return CurateConfig.load(
        caption_set="large",
        source={
            "kind": "json",
            "paths": [f"{folder}/captions.jsonl"],
            "images_dir": f"{folder}/images",
        },
        select={"partition_size": partition_size},
        mask=mask,
    )


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
    manifests = [path.parent for path in open_store_root().glob("*/manifest.json")]
    files = sum(len(list(path.rglob("*"))) for path in manifests)
    return found | {
        "base": base,
        "fill": time.perf_counter() - begin,
        "entries": len(manifests),
        "files": files,
    }


def open_store_root() -> Path:
    """Where the store lies."""
    return Path(os.environ["TOKENCOMPOSE_STORE"])


def publish_stages(source: Any, parts: Sequence[Any], config: Any) -> None:
    """Publish the entries of every partition and the data set, without a model."""
    from data_schemas.records import SelectedImage
    from tasks.describe_dataset import DatasetSpec
    from tasks.mask_nouns import GROUNDED_NAME, MaskSpec
    from tasks.parse_nouns import PARSED_NAME, ParseSpec
    from tasks.rank_captions import RANKED_NAME, RankSpec
    from tasks.stage import Input, open_store
    from tasks.write_shards import ShardSpec
    from tokencompose_core.store.tables import read_table

    store, now = open_store(), datetime.now(UTC)
    common = {"device": "cpu"}
    other = config.mask.model_copy(update={"box_threshold": OTHER_THRESHOLD})
    shards = []
    for number, selected in enumerate(parts):
        rows = read_table(selected.path(store), SelectedImage)
        part, images = f"part-{number:05d}", source.images_dir
        ranked = RankSpec(images_dir=images, selected=selected, settings=config.rank, **common)
        rank = publish(ranked, selected, now, rank_writer(rows))
        parsed = ParseSpec(
            ranked=Input.of(rank, RANKED_NAME), part=part, settings=config.parse, **common
        )
        parse = publish(parsed, parsed.ranked, now, parse_writer(rows))
        for settings, made in ((other, now - timedelta(days=60)), (config.mask, now)):
            masked = MaskSpec(
                images_dir=images,
                parsed=Input.of(parse, PARSED_NAME),
                part=part,
                settings=settings,
                **common,
            )
            mask = publish(masked, masked.parsed, made, mask_writer(rows, settings.box_threshold))
            packed = ShardSpec(images_dir=images, grounded=Input.of(mask, GROUNDED_NAME), part=part)
            shard = publish(packed, packed.grounded, made, shard_writer(rows, number, settings))
        shards.append(Input.of(shard))
    whole = DatasetSpec(shards=shards)

    def describe(target: Path) -> dict[str, Any]:
        (target / "dataset.json").write_text(json.dumps({"shards": [s.key for s in shards]}))
        return {"num_in": len(shards), "num_out": len(shards)}

    publish(whole, None, now, describe, {shard.key: shard.digest for shard in shards})


def publish(
    spec: Any,
    source: Any,
    made: datetime,
    write: Callable[[Path], dict[str, Any]],
    inputs: dict[str, str] | None = None,
) -> Any:
    """Publish under a spec's key, as its task would."""
    from tasks.stage import open_store

    store = open_store()
    found = store.find(spec.key, "size")  # of a filling that was interrupted
    return found or store.publish(
        spec.key,
        spec.stage,
        write,
        inputs=inputs or {source.key: source.digest},
        parts=spec.parts(),
        provenance={"created": made.isoformat(), **versions()},
    )


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of packages, as tasks record them."""
    from importlib.metadata import version

    from tasks.stage import PACKAGES

    return {name: version(name) for name in PACKAGES}


def rank_writer(rows: Sequence[Any]) -> Callable[[Path], dict[str, Any]]:
    """Writes a table of ranked images."""
    from data_schemas.records import RANKED_SCHEMA, RankedImage

    records = [
        RankedImage(**row.model_dump(), width=32, height=32, caption=row.captions[0], scores=[0.25])
        for row in rows
    ]
    return table_writer("ranked.parquet", records, RANKED_SCHEMA)


def parse_writer(rows: Sequence[Any]) -> Callable[[Path], dict[str, Any]]:
    """Writes a table of captions with the nouns that the sentence maker put there."""
    from data_schemas.records import PARSED_SCHEMA, ParsedCaption

    records = [ParsedCaption(**shared(row), phrases=phrases_of(row)) for row in rows]
    return table_writer("parsed.parquet", records, PARSED_SCHEMA)


def mask_writer(rows: Sequence[Any], score: float) -> Callable[[Path], dict[str, Any]]:
    """Writes a table of captions with a mask for each noun."""
    from data_schemas.records import GROUNDED_SCHEMA, GroundedCaption, GroundedPhrase

    found = {"boxes": [[1.0, 2.0, 30.0, 31.0]], "scores": [score], "mask_counts": "Pb03m0"}
    records = [
        GroundedCaption(
            **shared(row),
            phrases=[GroundedPhrase(**p.model_dump(), **found) for p in phrases_of(row)],
        )
        for row in rows
    ]
    return table_writer("grounded.parquet", records, GROUNDED_SCHEMA)


def shard_writer(
    rows: Sequence[Any], number: int, settings: Any
) -> Callable[[Path], dict[str, Any]]:
    """Writes a tar with a caption for each sample."""

    def write(folder: Path) -> dict[str, Any]:
        with tarfile.open(folder / "shard.tar", "w") as tar:
            for row in rows:
                content = f"{number} {settings.box_threshold} {row.captions[0]}".encode()
                member = tarfile.TarInfo(f"{row.key}.txt")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        return {"num_in": len(rows), "num_out": len(rows)}

    return write


def table_writer(
    name: str, records: Sequence[Any], schema: Any
) -> Callable[[Path], dict[str, Any]]:
    """Writes a table, and that nothing was left out."""
    from tokencompose_core.store.rejections import write_rejections
    from tokencompose_core.store.tables import write_table

    def write(folder: Path) -> dict[str, Any]:
        write_table(folder / name, records, schema)
        rejected = write_rejections(folder, [])
        return {"num_in": len(records), "num_out": len(records), "rejected": rejected}

    return write


def shared(row: Any) -> dict[str, Any]:
    """What rows behind the ranking have in common."""
    own = row.model_dump(exclude={"captions"})
    return {**own, "width": 32, "height": 32, "caption": row.captions[0]}


def phrases_of(row: Any) -> list[Any]:
    """The nouns of a row's caption."""
    return nouns_of(int(Path(row.image_path).stem))


@lru_cache(maxsize=4096)
def nouns_of(number: int) -> list[Any]:
    """The nouns of a caption by the tags of the sentence maker."""
    from data_schemas.records import NounPhrase

    sentence = sentence_of(number)
    caption, phrases, start = sentence.text, [], 0
    for word, tag in sentence.words:
        start = caption.index(word, start)
        if tag.startswith("NN"):
            phrases.append(NounPhrase(text=word, start=start, end=start + len(word)))
        start += len(word)
    return phrases


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


def run_child(work: str, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Run a function `child_...` in a new process, so that peaks of memory do not mix."""
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.operate_scale", "--child", work],
        input=json.dumps(settings),
        # A server that is told to end says as an error what it could not write any more.
        env={
            **os.environ,
            "TOKENCOMPOSE_STORE": str(folder / "store"),
            "PREFECT_LOGGING_LEVEL": "CRITICAL",
            "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(ran.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
