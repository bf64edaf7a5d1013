"""`curate` in a process of its own, configured by its environment as a deployment configures it."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prefect.settings import get_current_settings

from data_schemas.configs.curate_config import CurateConfig
from tests.conftest import ROOT
from tokencompose_core.store.content_store import Store

_CODE = """
import sys
from data_schemas.configs.curate_config import CurateConfig
from flows.curate import curate

for _ in range(int(sys.argv[2])):
    print("dataset:", curate(CurateConfig.model_validate_json(sys.argv[1])).dataset, flush=True)
"""


def start_curate(
    config: CurateConfig, settings: dict[str, str], times: int = 1
) -> subprocess.Popen:
    """Start `curate`.

    Args:
        config: Of the flow.
        settings: Environment beside that of the tests.
        times: How often, one after another.
    """
    return subprocess.Popen(
        [sys.executable, "-c", _CODE, config.model_dump_json(), str(times)],
        env=environment(settings),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def environment(settings: dict[str, str]) -> dict[str, str]:
    """What a process of a deployment finds in its environment.

    All compute with one thread, since sums depend on how many there are, by rounding.
    """
    return os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "PREFECT_API_URL": str(get_current_settings().api.url),
        **settings,
    }


@dataclass(frozen=True)
class Ended:
    """What a process said, and how it ended."""

    code: int
    output: str
    errors: str

    @property
    def states(self) -> list[set[str]]:
        """Of each time, in which states outputs came about, as the flow printed it."""
        times = self.output.split("dataset: ")[:-1]
        return [set(re.findall(r"\b(Completed|Cached|Reused)\b", text)) for text in times]


def end(process: subprocess.Popen, seconds: float = 500) -> Ended:
    """Wait for a process."""
    try:
        output, errors = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return Ended(process.returncode, output, errors)


def shards_of(store: Store) -> dict[str, tuple[str, str]]:
    """Of every shard the digest in its manifest, and that of its tar's bytes."""
    found = {}
    for path in store.filesystem.glob(f"{store.root}/shard-*/manifest.json"):
        manifest = store.find(path.split("/")[-2], "digest")
        assert manifest is not None, path
        tar = store.path(manifest, "shard.tar").read_bytes()
        found[manifest.key] = (manifest.digest, hashlib.sha256(tar).hexdigest())
    return found


@contextmanager
def service(command: list[str], settings: dict[str, str], log: Path) -> Iterator[subprocess.Popen]:
    """A process that runs while the context lasts."""
    with log.open("w") as file:
        process = subprocess.Popen(
            command, env=environment(settings), cwd=ROOT, stdout=file, stderr=file
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
