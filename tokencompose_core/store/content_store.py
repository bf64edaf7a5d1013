"""The store: outputs under their keys, published whole or not at all."""

import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any, Literal

import fsspec
from fsspec.implementations.local import LocalFileSystem
from pydantic import ValidationError

from data_schemas.manifest import Manifest, StoredFile, check_entry_name, check_file_name
from data_schemas.redact_urls import redact_urls
from tokencompose_core.store.keys import (
    canonical_json,
    describe_files,
    file_digest,
    files_digest,
)
from tokencompose_core.store.object_stores import has_folders
from tokencompose_core.store.scratch import scratch_dir, sync
from tokencompose_core.store.store_error import explain_failures, write_into

_LOGGER = logging.getLogger(__name__)
MANIFEST_NAME = "manifest.json"
UNFINISHED = "unfinished"
LOGS = "logs"
WRITING = ".writing-"
Check = Literal["size", "digest"]


class Store:
    """Outputs of stages, each a folder `<root>/<key>` with a manifest that was written last.

    On a local disk an entry is written beside its place and renamed into it, so that it is there
    whole or not at all. On an object store, which cannot rename, the manifest is the last object to
    be written, and an entry without it does not exist. Two writers of one key do the same work
    twice, and the first one wins; whoever finds its output beside their own takes it as theirs. If
    on an object store both write within the same moments, and not the same bytes, files of both may
    be left there: such an entry is damaged, and made anew when it is next asked for.

    What goes wrong with the store itself is a `StoreError`, which names it: a lost connection is
    never taken for an output that is not there.

    Args:
        url: Root of the store, a path or any URL that fsspec knows.
        check: How an entry is looked at before it is believed: sizes of its files, or digests.
        cache_dir: Where files of a remote store are kept for reading; a local store needs none.

    Raises:
        ValueError: If the URL holds a password, which would show in logs.
    """

    def __init__(self, url: str, *, check: Check = "size", cache_dir: Path | None = None) -> None:
        if "://" in url and redact_urls(url) != url:
            raise ValueError(
                f"the store's URL {redact_urls(url)} holds a password or a query, which logs would"
                " show; give both to the file system by its environment variables"
            )
        try:
            # Others write too: what was listed a while ago says nothing about what is there.
            self.filesystem, self.root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            raise ValueError(f"the store {url} needs a package: {error}") from error
        self.check = check
        self.is_local = isinstance(self.filesystem, LocalFileSystem)
        self.url = self.root if self.is_local else self.filesystem.unstrip_protocol(self.root)
        self.cache_dir = cache_dir or Path.home() / ".cache" / "tokencompose"

    def find(self, key: str, check: Check | None = None) -> Manifest | None:
        """The manifest of a key, if its output is there and undamaged.

        Args:
            key: The key.
            check: How closely to look, if not as the store does: whoever has just been given the
                output need not read all of it again.

        Returns:
            None if there is no such entry, or a file of it is missing or differs from what the
            manifest says, by size or, if the store checks digests, by content; also if the manifest
            is none, or names files outside its entry.

        Raises:
            ValueError: If the key is none, but leaves the store.
            StoreError: If the store cannot be asked.
        """
        check_entry_name(key)
        with explain_failures(self.url, "read"):
            try:
                text = self.filesystem.cat_file(f"{self.root}/{key}/{MANIFEST_NAME}")
                manifest = Manifest.model_validate_json(text)
            except FileNotFoundError:
                return None
            except ValidationError as error:
                reason = error.errors()[0].get("msg")
                _LOGGER.warning("%s in the store is not believed: %s", key, reason)
                return None
            check = check or self.check
            if manifest.key != key or any(
                self._is_damaged(key, file, check) for file in manifest.files
            ):
                return None
        return manifest

    def publish(
        self,
        key: str,
        stage: str,
        write: Callable[[Path], dict[str, Any]],
        *,
        inputs: dict[str, str] | None = None,
        parts: Mapping[str, Any] | None = None,
        provenance: dict[str, str] | None = None,
    ) -> Manifest:
        """Write an output and make it visible at once.

        Args:
            key: Where it will lie.
            stage: Name of the stage.
            write: Writes files into the folder it is given and returns the manifest's fields
                `num_in`, `num_out`, `rejected` and `facts`, as far as it has them.
            inputs: Digests of what the output is made from.
            parts: What decided the key, so that a later key can be compared with it.
            provenance: Versions and settings outside the key.

        Returns:
            The manifest of what now lies under `key`: this output, or an equally valid one that
            another writer published meanwhile.

        Raises:
            StoreError: If the store cannot be written, or its disk is full.
        """
        with ExitStack() as stack:
            with explain_failures(str(self.local_dir), "written"):
                folder = stack.enter_context(self._workspace()) / "entry"
                folder.mkdir()
            described = write_into(folder, write)
            with explain_failures(self.url, "written"):
                files = describe_files(folder)
                manifest = Manifest(
                    stage=stage,
                    key=key,
                    digest=files_digest(files),
                    files=files,
                    inputs=inputs or {},
                    parts=json.loads(canonical_json(parts or {})),
                    provenance=provenance or {},
                    **described,
                )
                (folder / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=1), "utf-8")
                if self.is_local:
                    return self._rename_into_place(folder, manifest)
                return self._upload(folder, manifest)

    def path(self, manifest: Manifest, name: str = "") -> Path:
        """A local path of a file of an entry, of a folder of it ("model/"), or of all of it.

        Files of a remote store are copied to `cache_dir` first; what is there already and whole is
        not copied again.

        Raises:
            FileNotFoundError: If a file of a remote store is not there any more, or not whole.
            StoreError: If it cannot be read.
        """
        if self.is_local:
            return Path(self.root) / manifest.key / name
        folder = self.cache_dir / manifest.digest
        for file in manifest.files if not name else manifest.below(name):
            target = folder / file.name
            if not target.is_file() or file_digest(target) != file.sha256:
                self._copy(f"{manifest.key}/{file.name}", target, file.sha256)
        return folder / name

    def file(self, key: str, name: str, sha256: str) -> Path | None:
        """A local path of one file of an entry whose digest is known.

        Nothing but this file is looked at: an entry may have thousands, for as many tasks.

        Returns:
            None if there is no such file, or one with another content.

        Raises:
            ValueError: If key or name leave the store.
            StoreError: If the store cannot be read.
        """
        check_entry_name(key)
        check_file_name(name)
        target = (Path(self.root) if self.is_local else self.cache_dir) / key / name
        if target.is_file() and file_digest(target) == sha256:
            return target
        if not self.is_local:
            with suppress(FileNotFoundError):
                self._copy(f"{key}/{name}", target, sha256)
                return target
        return None

    @property
    def digests_path(self) -> Path:
        """Where digests of files outside the store are remembered, on this machine."""
        return self.local_dir / "digests.sqlite"

    @property
    def local_dir(self) -> Path:
        """Where this machine keeps what is no output: checkpoints, logs, copies for reading."""
        return Path(self.root) if self.is_local else self.cache_dir

    def work_dir(self, key: str) -> Path:
        """A local folder for checkpoints of unfinished work under this key; kept between tries."""
        folder = self.local_dir / UNFINISHED / key
        with explain_failures(str(self.local_dir), "written"):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def log_dir(self, key: str) -> Path:
        """A local folder for what trackers write while the output under this key is made."""
        return self.local_dir / LOGS / key

    def clear_work_dir(self, key: str) -> None:
        """Remove the checkpoints of finished work."""
        shutil.rmtree(self.work_dir(key), ignore_errors=True)

    def _copy(self, name: str, target: Path, sha256: str) -> None:
        partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
        try:
            with explain_failures(str(self.cache_dir), "written"):
                target.parent.mkdir(parents=True, exist_ok=True)
                partial.touch()
            with explain_failures(self.url, "read"):
                self.filesystem.get_file(f"{self.root}/{name}", str(partial))
            if file_digest(partial) != sha256:
                raise FileNotFoundError(f"{name} in the store {self.url} is damaged")
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def _workspace(self) -> AbstractContextManager[Path]:
        self.local_dir.mkdir(parents=True, exist_ok=True)
        # In a local store it has to be the file system of the entry's place, or the rename would
        # be a copy; anywhere it is where the next writer, and gc, clear up after a killed one.
        return scratch_dir(self.local_dir, WRITING)

    def _rename_into_place(self, folder: Path, manifest: Manifest) -> Manifest:
        target = Path(self.root) / manifest.key
        for path in [*folder.rglob("*"), folder]:
            sync(path)
        if target.exists():
            existing = self.find(manifest.key)
            if existing is not None:
                return existing
            with suppress(FileNotFoundError):  # somebody has just removed it
                os.rename(target, folder.parent / "damaged")
        try:
            os.rename(folder, target)
        except OSError:
            existing = self.find(manifest.key)
            if existing is None:
                raise
            return existing
        sync(Path(self.root))
        return manifest

    def _upload(self, folder: Path, manifest: Manifest) -> Manifest:
        existing = self.find(manifest.key)
        if existing is not None:
            return existing
        target = f"{self.root}/{manifest.key}"
        with suppress(FileNotFoundError):
            self.filesystem.rm_file(f"{target}/{MANIFEST_NAME}")
        for file in manifest.files:
            if has_folders(self.filesystem):
                parent = f"{target}/{file.name}".rpartition("/")[0]
                self.filesystem.makedirs(parent, exist_ok=True)
            self.filesystem.put_file(str(folder / file.name), f"{target}/{file.name}")
        existing = self.find(manifest.key)  # another writer was faster
        if existing is not None:
            return existing
        self.filesystem.put_file(str(folder / MANIFEST_NAME), f"{target}/{MANIFEST_NAME}")
        return manifest

    def _is_damaged(self, key: str, file: StoredFile, check: Check) -> bool:
        path = f"{self.root}/{key}/{file.name}"
        try:
            if self.filesystem.size(path) != file.num_bytes:
                return True
            if check == "size":
                return False
            with self.filesystem.open(path, "rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest() != file.sha256
        except FileNotFoundError:
            return True
