"""Digests and keys: names for outputs that depend on content alone."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_schemas.manifest import StoredFile

_BLOCK = 1 << 20
_KEY = re.compile(r"[a-z][a-z0-9_-]*-v\d+-[0-9a-f]{32}")


def canonical_json(value: Any) -> str:
    """JSON that is the same for equal values: sorted keys, no spaces, no NaN.

    Raises:
        TypeError: For what JSON does not hold, such as a `Path`, a set or a generator: none of
            them may decide a key.
        ValueError: For NaN and infinity.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def make_key(stage: str, version: int, parts: Mapping[str, Any]) -> str:
    """Key of a stage's output.

    Args:
        stage: Name of the stage.
        version: Version of the stage's code, bumped by hand when its output changes.
        parts: Everything that decides the output: digests of inputs, config, model revisions,
            seeds. Never paths, times, devices or numbers of workers.
    """
    return f"{stage}-v{version}-{text_digest(canonical_json(parts))[:32]}"


def split_key(key: str) -> tuple[str, int]:
    """Stage and version of a key that `make_key` made."""
    stage, version, _ = key.rsplit("-", 2)
    return stage, int(version.removeprefix("v"))


def is_key(name: str) -> bool:
    """Whether `make_key` could have made a name: what else lies in a store is no output."""
    return _KEY.fullmatch(name) is not None


def text_digest(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_digest(files: tuple[StoredFile, ...]) -> str:
    """Digest of files by name and content."""
    return text_digest(canonical_json([[f.name, f.num_bytes, f.sha256] for f in files]))


def describe_files(folder: Path) -> tuple[StoredFile, ...]:
    """Every file below a folder with its size and digest, sorted by name."""
    return _describe(folder, sorted(path for path in folder.rglob("*") if path.is_file()))


def folder_digest(folder: Path) -> str:
    """Digest of a folder by the names and contents of its files, but for hidden ones."""
    return files_digest(_describe(folder, visible_files(folder)))


def visible_files(folder: Path) -> list[Path]:
    """Files below a folder, sorted by name, but for hidden ones and those in hidden folders.

    What tools keep there changes by itself: `.git/index` with a look at it, and the times in
    `.cache/huggingface` with every download, even of what is there already.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _describe(folder: Path, files: Iterable[Path]) -> tuple[StoredFile, ...]:
    return tuple(
        StoredFile(
            name=path.relative_to(folder).as_posix(),
            num_bytes=path.stat().st_size,
            sha256=file_digest(path),
        )
        for path in files
    )
