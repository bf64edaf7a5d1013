"""What a store has been given, as far as its manifests say."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from data_schemas.manifest import Manifest
from tokencompose_core.store.content_store import MANIFEST_NAME, Store
from tokencompose_core.store.keys import canonical_json
from tokencompose_core.store.store_error import explain_failures


class History:
    """The manifests of a store, of whole and of damaged outputs, read when first asked for.

    Args:
        store: The store; files beside the manifests are read for `rows` only.
        wanted: Of which keys, if not of all.
    """

    def __init__(self, store: Store, wanted: Callable[[str], bool] = lambda key: True) -> None:
        self.store = store
        self._wanted = wanted
        self._holders: dict[str, dict[str, list[str]]] = {}

    @cached_property
    def manifests(self) -> dict[str, Manifest]:
        """Every manifest by its key, the newest last; a damaged one is passed over.

        Raises:
            StoreError: If the store cannot be read.
        """
        filesystem = self.store.filesystem

        def read(folder: str) -> Manifest | None:
            try:
                content = filesystem.cat_file(f"{folder}/{MANIFEST_NAME}")
                manifest = Manifest.model_validate_json(content)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValidationError):
                return None
            return manifest if folder.rstrip("/").endswith(f"/{manifest.key}") else None

        with explain_failures(self.store.url, "read"):
            try:
                names = filesystem.ls(self.store.root, detail=False)
            except FileNotFoundError:
                return {}
            folders = [name for name in names if self._wanted(name.rstrip("/").rpartition("/")[2])]
            with ThreadPoolExecutor() as executor:
                read_ones = list(executor.map(read, folders))
        found = [manifest for manifest in read_ones if manifest is not None]
        found.sort(key=lambda manifest: (manifest.provenance.get("created", ""), manifest.key))
        return {manifest.key: manifest for manifest in found}

    def of_stage(self, stage: str) -> list[Manifest]:
        """The manifests of a stage, the newest last."""
        return self._by_stage.get(stage, [])

    @cached_property
    def _by_stage(self) -> dict[str, list[Manifest]]:
        stages: dict[str, list[Manifest]] = {}
        for manifest in self.manifests.values():
            stages.setdefault(manifest.stage, []).append(manifest)
        return stages

    @cached_property
    def digests_read(self) -> Mapping[str, str]:
        """What outputs were made from: keys and the digests that they had, the newest counts.

        So an output that is gone is remembered by those that were made from it.
        """
        return {
            key: digest
            for manifest in self.manifests.values()
            for key, digest in manifest.inputs.items()
        }

    def rows(self, key: str, digest: str) -> dict[str, str]:
        """The rows of a table of samples, as JSON by sample key.

        Args:
            key: The output that holds the table.
            digest: SHA-256 of the table's Parquet file.

        Returns:
            Nothing if the table is gone, cannot be read, or holds no samples.
        """
        return {row["key"]: canonical_json(row) for row in self._read(key, digest) if "key" in row}

    def count_shared(self, stage: str, samples: Iterable[str]) -> Counter[str]:
        """How many of the samples each output of a stage was made from, by the output's key."""
        if stage not in self._holders:
            holders: dict[str, list[str]] = {}
            for manifest in self.of_stage(stage):
                rows = chain.from_iterable(
                    self._read(key, digest, ["key"]) for key, digest in manifest.inputs.items()
                )
                for sample in {row["key"] for row in rows if "key" in row}:
                    holders.setdefault(sample, []).append(manifest.key)
            self._holders[stage] = holders
        found = self._holders[stage]
        return Counter(key for sample in samples for key in found.get(sample, ()))

    def _read(
        self, key: str, digest: str, columns: list[str] | None = None
    ) -> list[dict[str, Any]]:
        manifest = self.manifests.get(key)
        names = [file.name for file in manifest.files if file.sha256 == digest] if manifest else []
        if manifest is None or not names or not names[0].endswith(".parquet"):
            return []
        try:
            return pq.read_table(self.store.path(manifest, names[0]), columns=columns).to_pylist()
        except (OSError, pa.ArrowException):
            return []
