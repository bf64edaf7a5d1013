"""Look at every entry of a store: is it whole, how large is it, what was it made from?"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pydantic import ValidationError

from data_schemas.manifest import Manifest
from tokencompose_core.store.content_store import MANIFEST_NAME, Check, Store
from tokencompose_core.store.keys import files_digest, is_key, split_key
from tokencompose_core.store.map_in_threads import map_in_threads
from tokencompose_core.store.object_stores import list_files
from tokencompose_core.store.store_error import explain_failures

LONGEST_UPLOAD = timedelta(days=1)
"""An object store shows the files of an output while they are uploaded, the manifest last."""

_THREADS = 16


class Condition(StrEnum):
    """What an entry is like.

    Attributes:
        WHOLE: Its files are as its manifest says.
        DAMAGED: A file is missing or differs from what the manifest says.
        INCOMPLETE: It has no manifest: it was never published, or removed in part.
        UNREADABLE: Its manifest is none, or that of another entry.
    """

    WHOLE = "whole"
    DAMAGED = "damaged"
    INCOMPLETE = "incomplete"
    UNREADABLE = "unreadable manifest"


@dataclass(frozen=True)
class Entry:
    """What is to be known of an entry without its files.

    Attributes:
        key: Its key.
        condition: What it is like.
        problem: What is wrong with it, in words; empty if it is whole.
        made: When it was made; if it does not say, when its newest file changed; None if nobody
            knows.
        num_files: How many files it has.
        num_bytes: How large they are.
        inputs: Digests of what it was made from, by key.
        digests: Digests that an output may give for this one: of all of it, of its files, and of
            its folders.
    """

    key: str
    condition: Condition
    problem: str = ""
    made: datetime | None = None
    num_files: int = 0
    num_bytes: int = 0
    inputs: Mapping[str, str] = field(default_factory=dict)
    digests: frozenset[str] = frozenset()

    @property
    def stage(self) -> str:
        """The stage that made it."""
        return split_key(self.key)[0]


def list_keys(store: Store) -> list[str]:
    """Names of everything in a store that looks like an entry, sorted.

    Raises:
        StoreError: If the store cannot be listed.
    """
    store.filesystem.invalidate_cache()  # of listings, which some file systems keep
    try:
        with explain_failures(store.url, "read"):
            paths = store.filesystem.ls(store.root, detail=False)
    except FileNotFoundError:
        return []
    names = (path.rstrip("/").rpartition("/")[2] for path in paths)
    return sorted(name for name in names if is_key(name))


def survey(
    store: Store, check: Check = "size", on_entry: Callable[[int], None] = lambda count: None
) -> Iterator[Entry]:
    """Look at every entry, in the order of their keys.

    Args:
        store: The store.
        check: Whether sizes of files are compared with the manifest, or their digests too.
        on_entry: Told of every entry.

    Raises:
        StoreError: If it cannot be known what an entry is like.
    """
    for entry in map_in_threads(
        lambda key: look_at(store, key, check), list_keys(store), num_threads=_THREADS
    ):
        on_entry(1)
        if entry is not None:
            yield entry


def look_at(store: Store, key: str, check: Check = "size") -> Entry | None:
    """Look at one entry; None if there is nothing under its key.

    What cannot be read or listed this time may be whole, so it is nothing to call broken.

    Raises:
        StoreError: If the store does not answer, or not for this entry.
    """
    with explain_failures(f"{store.url}/{key}", "read"):
        return _look_at(store, key, check)


def _look_at(store: Store, key: str, check: Check) -> Entry | None:
    folder = f"{store.root}/{key}"
    found = list_files(store.filesystem, folder)
    if not found and not store.filesystem.exists(folder):
        return None
    sizes = {name.partition(f"/{key}/")[2]: info["size"] for name, info in found.items()}
    size = sum(sizes.values())

    def broken(condition: Condition, problem: str) -> Entry:
        changed = _changed(store, list(found) or [folder])
        return Entry(key, condition, problem, changed, num_files=len(sizes), num_bytes=size)

    try:
        content = store.filesystem.cat_file(f"{folder}/{MANIFEST_NAME}")
        manifest = Manifest.model_validate_json(content)
    except FileNotFoundError:
        return broken(Condition.INCOMPLETE, f"it has no {MANIFEST_NAME}")
    except (IsADirectoryError, NotADirectoryError, ValidationError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        return broken(Condition.UNREADABLE, f"{MANIFEST_NAME}: {why}")
    if manifest.key != key:
        return broken(Condition.UNREADABLE, f"{MANIFEST_NAME} is that of {manifest.key}")
    problem = _find_damage(store, manifest, sizes, check)
    return Entry(
        key=key,
        condition=Condition.DAMAGED if problem else Condition.WHOLE,
        problem=problem,
        made=_made(manifest) or _changed(store, [f"{folder}/{MANIFEST_NAME}"]),
        num_files=len(sizes),
        num_bytes=size,
        inputs=manifest.inputs,
        digests=_digests(manifest),
    )


def _find_damage(store: Store, manifest: Manifest, sizes: Mapping[str, int], check: Check) -> str:
    """What is wrong with the files of an entry; of several problems the first."""
    for file in manifest.files:
        if file.name not in sizes:
            return f"{file.name} is missing"
        if sizes[file.name] != file.num_bytes:
            return f"{file.name} has {sizes[file.name]} bytes, not {file.num_bytes}"
        if check == "digest":
            try:
                with store.filesystem.open(f"{store.root}/{manifest.key}/{file.name}") as stream:
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError as error:
                return f"{file.name} cannot be read: {error}"
            if digest != file.sha256:
                return f"{file.name} has another content than when it was written"
    return ""


def _digests(manifest: Manifest) -> frozenset[str]:
    folders = {file.name.partition("/")[0] for file in manifest.files if "/" in file.name}
    return frozenset(
        {
            manifest.digest,
            *(file.sha256 for file in manifest.files),
            *(
                files_digest(tuple(f for f in manifest.files if f.name.startswith(f"{folder}/")))
                for folder in folders
            ),
        }
    )


def _made(manifest: Manifest) -> datetime | None:
    try:
        made = datetime.fromisoformat(manifest.provenance["created"])
    except (KeyError, ValueError):
        return None
    return made if made.tzinfo else made.replace(tzinfo=UTC)


def _changed(store: Store, paths: list[str]) -> datetime | None:
    """When the newest of some files changed, where the file system knows."""
    newest = None
    for path in paths:
        try:
            changed = store.filesystem.modified(path)
        except (FileNotFoundError, IsADirectoryError, NotImplementedError):
            continue
        changed = changed if changed.tzinfo else changed.replace(tzinfo=UTC)
        newest = max(newest or changed, changed)
    return newest
