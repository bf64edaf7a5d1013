"""What lies in a store, what is being written to it, and ways to harm it."""

import errno
import os
import random
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from data_schemas.manifest import Manifest
from tokencompose_core.store.content_store import MANIFEST_NAME, Store

_TMPFS_SIZE = "2g"


@dataclass(frozen=True)
class Span:
    """An output of the undisturbed run, and how long it took to make.

    Attributes:
        key: Where it lies.
        stage: Its stage.
        seconds: From the beginning of its task's work until it was complete.
    """

    key: str
    stage: str
    seconds: float


def read_entries(folder: Path) -> dict[str, Manifest]:
    """All outputs of a store that are whole, by every byte."""
    store = Store(str(folder), check="digest")
    found = {path.name: store.find(path.name) for path in folder.glob("*-v*-*")}
    return {key: manifest for key, manifest in sorted(found.items()) if manifest is not None}


def read_spans(folder: Path) -> list[Span]:
    """The outputs of a store in the order in which they were made."""
    spans = []
    for key, manifest in read_entries(folder).items():
        begin = datetime.fromisoformat(manifest.provenance["created"]).timestamp()
        end = (folder / key / MANIFEST_NAME).stat().st_mtime
        spans.append((begin, Span(key, manifest.stage, max(0.0, end - begin))))
    return [span for _, span in sorted(spans, key=lambda pair: pair[0])]


def without_times(manifest: Manifest) -> Manifest:
    """What two equal computations agree in."""
    return manifest.model_copy(update={"provenance": {}})


def first_missing(folder: Path, spans: Sequence[Span], harmed: dict[str, int]) -> int:
    """Which output comes next; their number if all are there.

    Args:
        folder: The store.
        spans: The outputs in their order.
        harmed: Inodes of damaged outputs, which are as good as missing.
    """
    for number, span in enumerate(spans):
        path = folder / span.key
        if not (path / MANIFEST_NAME).exists() or inode(path) == harmed.get(span.key):
            return number
    return len(spans)


def inode(path: Path) -> int:
    """What tells a folder from one that has been put in its place; -1 if there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return -1


def open_workspaces(folder: Path) -> set[str]:
    """Identities of the folders in which outputs are under way, those of killed processes too."""
    # It is renamed once it is locked; only its last part stays.
    return {path.name.rpartition("-")[2] for path in folder.glob(".writing-*")}


def damage(folder: Path, kind: str, rng: random.Random) -> str:
    """Truncate or delete a random file of a random output; returns the output's key."""
    keys = sorted(read_entries(folder))
    key = rng.choice(keys)
    files = sorted(path for path in (folder / key).rglob("*") if path.is_file())
    path = rng.choice(files)
    if kind == "truncated":
        os.truncate(path, rng.randrange(max(1, path.stat().st_size)))
    else:
        path.unlink()
    return key


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system of its own for a folder, which can be filled; False if that is not allowed."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_TMPFS_SIZE}", "tmpfs", str(folder)]
    try:
        mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_disk(folder: Path) -> Path:
    """Take all the room that a file system has left, and return the file that takes it."""
    path = folder / "filler"
    block = bytes(1 << 20)
    with path.open("wb", buffering=0) as stream:
        try:
            while stream.write(block) == len(block):
                pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return path
