"""What a task is given, and the stored outputs that it reads."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from data_schemas.manifest import Manifest, check_file_name
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.earlier_rows import RowTable
from tokencompose_core.store.keys import files_digest, make_key


class Spec(BaseModel, ABC):
    """What a task is given: all that decides its output, and where to find it.

    Attributes:
        stage: Name of the stage.
        version: Bumped by hand when the stage's code writes something else for equal input.
        decides_partitions: Whether what later stages are given follows from its output. A plan
            really runs such a stage, so its task may load no model.
        keeps_checkpoints: Whether a killed run leaves checkpoints in the store's work folder of the
            key. Two runs at once would spoil them for each other, so the second one waits.
        part_fields: Names of the config fields behind a part, in a plan's words: one, or one for
            each element of a list. A part that is not listed is named as its field.
        row_table: The table whose rows may be taken over from earlier outputs; of a stage with one
            input alone, a table.
        flow_store: URL of the store of the flow, which the task works on wherever it runs; no part
            of the key. Empty until `run_stage` sends it along.
        earlier: Keys of outputs that hold rows of this one, see `tasks/earlier_rows.py`; no part of
            the key either. A hint: the task looks at them itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: ClassVar[str]
    version: ClassVar[int]
    decides_partitions: ClassVar[bool] = False
    keeps_checkpoints: ClassVar[bool] = False
    part_fields: ClassVar[dict[str, tuple[str, ...]]] = {}
    row_table: ClassVar[RowTable | None] = None

    flow_store: str = ""
    earlier: tuple[str, ...] = ()

    @abstractmethod
    def parts(self) -> dict[str, Any]:
        """What decides the output: digests, settings and model identities; no path, no device."""

    @property
    def title(self) -> str:
        """What the run is called in the UI."""
        return self.stage

    @property
    def key(self) -> str:
        """Where the output lies in the store."""
        return make_key(self.stage, self.version, self.parts())

    @property
    def stored_inputs(self) -> list["Input"]:
        """The stored outputs that it reads."""
        values = [getattr(self, name) for name in type(self).model_fields]
        flat = [one for value in values for one in (value if isinstance(value, list) else [value])]
        return [one for one in flat if isinstance(one, Input)]


class Input(BaseModel):
    """A stored output that a spec reads, and the digest that stands for it in keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    digest: str
    name: str = ""

    @classmethod
    def of(cls, manifest: Manifest, name: str = "") -> "Input":
        """A whole entry, a file of it, or a folder of it, whose name ends in "/"."""
        if not name:
            digest = manifest.digest
        elif name.endswith("/"):
            digest = files_digest(tuple(f for f in manifest.files if f.name.startswith(name)))
        else:
            digest = manifest.file(name).sha256
        return cls(key=manifest.key, digest=digest, name=name)

    def path(self, store: Store) -> Path:
        """Where it can be read on this machine.

        Raises:
            FileNotFoundError: If it is no longer in the store, or damaged.
            ValueError: If its key or name leave the store.
        """
        if self.name:
            check_file_name(self.name.removesuffix("/"))
        if self.name and not self.name.endswith("/"):
            file = store.file(self.key, self.name, self.digest)
            if file is not None:
                return file
        elif (manifest := store.find(self.key)) is not None:
            return store.path(manifest, self.name)
        raise FileNotFoundError(
            f"{self.key} is missing from the store {store.url} or damaged; run the flow again,"
            " it will be made anew"
        )
