"""What a stage says of the output that it stored."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def check_file_name(name: str) -> str:
    """The name of a file below a folder, which it must not leave.

    Raises:
        ValueError: If it is absolute, climbs, or is written in more than one way.
    """
    parts = PurePosixPath(name).parts
    plain = name == "/".join(parts) and parts and not {"..", "/", "//"}.intersection(parts)
    if not plain or any(letter < " " or letter == "\\" for letter in name):
        raise ValueError(f"{name!r} is no plain name of a file below its folder")
    return name


def check_entry_name(name: str) -> str:
    """A key, as it stands in paths of the store.

    Raises:
        ValueError: If it is anything but one plain name of a folder.
    """
    if name != "" and (check_file_name(name) != name or "/" in name):
        raise ValueError(f"{name!r} is no name of an entry in a store")
    return name


Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""SHA-256 in hexadecimal, which a folder of the cache is called by."""


class StoredFile(BaseModel):
    """A file of an entry; `name` may hold folders ("unet/config.json") and leaves none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, AfterValidator(check_file_name)]
    num_bytes: int
    sha256: str


class Manifest(BaseModel):
    """The record of one stored output, small enough to be a Prefect result.

    Attributes:
        stage: Stage that made it.
        key: Where it lies in the store; a function of inputs, config, models and stage version.
        digest: Digest of the files, by name and content: equal outputs have equal digests.
        files: The files, sorted by name.
        num_in: Samples read.
        num_out: Samples written.
        rejected: How many were left out, by reason.
        facts: Figures of the stage that its card shows.
        inputs: Digests of what it was made from.
        parts: What decided the key; empty in entries of releases that did not record it.
        provenance: Versions and settings that do not belong to the key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    key: Annotated[str, AfterValidator(check_entry_name)]
    digest: Digest
    files: tuple[StoredFile, ...]
    num_in: int = 0
    num_out: int = 0
    rejected: dict[str, int] = {}
    facts: dict[str, Any] = {}
    inputs: dict[str, str] = {}
    parts: dict[str, Any] = {}
    provenance: dict[str, str] = {}

    def file(self, name: str) -> StoredFile:
        """The file of that name.

        Raises:
            KeyError: If the entry has no such file, listing what it has.
        """
        for file in self.files:
            if file.name == name:
                return file
        raise KeyError(f"{self.key} has no file {name!r}, but {[f.name for f in self.files]}")

    def below(self, name: str) -> list[StoredFile]:
        """The files of a folder, whose name ends in "/", or the file of that name."""
        if name.endswith("/"):
            return [file for file in self.files if file.name.startswith(name)]
        return [self.file(name)]

    def names(self, suffix: str = "") -> list[str]:
        """Names of the files that end in `suffix`, sorted."""
        return [file.name for file in self.files if file.name.endswith(suffix)]


class StageTotals(BaseModel):
    """What became of the samples of a stage, over all its outputs.

    Attributes:
        stage: The stage.
        num_in: Samples read.
        num_out: Samples written.
        rejected: How many were left out, by reason.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    num_in: int
    num_out: int
    rejected: dict[str, int]

    @classmethod
    def of(cls, manifests: Sequence[Manifest]) -> Self:
        """Add up outputs of one stage, at least one."""
        rejected: Counter[str] = Counter()
        for manifest in manifests:
            rejected.update(manifest.rejected)
        return cls(
            stage=manifests[0].stage,
            num_in=sum(manifest.num_in for manifest in manifests),
            num_out=sum(manifest.num_out for manifest in manifests),
            rejected=dict(sorted(rejected.items())),
        )
