"""Rejections beside an output, and their limit."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from data_schemas.rejections import PHRASE_REASONS, REJECTION_SCHEMA, Rejection
from tokencompose_core.store.tables import write_table

REJECTIONS_NAME = "rejections.parquet"
_ROWS_A_GROUP = 1 << 14


class TooManyRejectedError(ValueError):
    """More samples were left out than `max_rejected_fraction` allows, or all of them.

    Args:
        stage: The stage.
        num_in: How many samples it was given.
        summary: How many of them were left out, for which reasons, and the limit.
        details: What was left out, for instance, and where all of it is listed.

    Attributes:
        stage: The stage.
        num_in: As given.
        summary: As given.
        details: As given.
    """

    def __init__(self, stage: str, num_in: int, summary: str, details: str) -> None:
        super().__init__(stage, num_in, summary, details)
        self.stage = stage
        self.num_in = num_in
        self.summary = summary
        self.details = details

    def __str__(self) -> str:
        return f"{self.stage}: {self.summary}.\n{self.details}"


class RejectionWriter:
    """Rejections of a stage that has too many of them, perhaps, for memory.

    A context: the file is complete once it is left.

    Args:
        folder: Folder of the stage's output.

    Attributes:
        counts: How many were written, by reason.
    """

    def __init__(self, folder: Path) -> None:
        self.counts: Counter[str] = Counter()
        self._path = folder / REJECTIONS_NAME
        self._pending: list[Rejection] = []

    def __enter__(self) -> Self:
        self._writer = pq.ParquetWriter(self._path, REJECTION_SCHEMA, compression="zstd")
        return self

    def __exit__(self, *_: object) -> None:
        # Also if there is none: readers expect a table.
        if self._pending or not self.counts:
            self._write()
        self._writer.close()

    def write(self, rejection: Rejection) -> None:
        """Add a rejection behind those that came before."""
        self.counts[str(rejection.reason)] += 1
        self._pending.append(rejection)
        if len(self._pending) == _ROWS_A_GROUP:
            self._write()

    def _write(self) -> None:
        rows = [rejection.model_dump(mode="json") for rejection in self._pending]
        self._writer.write_table(pa.Table.from_pylist(rows, schema=REJECTION_SCHEMA))
        self._pending = []


def write_rejections(folder: Path, rejections: Sequence[Rejection]) -> dict[str, int]:
    """Write what was left out, and count it by reason."""
    write_table(folder / REJECTIONS_NAME, rejections, REJECTION_SCHEMA)
    return dict(sorted(Counter(str(rejection.reason) for rejection in rejections).items()))


def check_rejected_fraction(
    stage: str,
    num_in: int,
    rejected: dict[str, int],
    max_fraction: float,
    describe: Callable[[], str] = str,
) -> None:
    """Refuse an output from which too many samples are missing; phrases do not count.

    One from which all are missing is too few whatever the limit: nothing can be made of it.

    Args:
        stage: The stage.
        num_in: How many samples it was given.
        rejected: What it left out, by reason.
        max_fraction: Largest share of samples that may be missing.
        describe: Says what was left out and where it is listed; asked only if it is too much.

    Raises:
        TooManyRejectedError: Naming the stage, the fraction, and the reasons.
    """
    lost = {reason: count for reason, count in rejected.items() if reason not in PHRASE_REASONS}
    num_lost = sum(lost.values())
    if not num_in or (num_lost < num_in and num_lost / num_in <= max_fraction):
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(lost.items()))
    if num_lost / num_in > max_fraction:
        judged = f"more than max_rejected_fraction = {max_fraction}"
        remedy = "Mend the source, or raise the limit"
    else:
        judged = "so that none is left"
        remedy = "Mend the source, or the settings of the stage"
    raise TooManyRejectedError(
        stage,
        num_in,
        f"{num_lost} of {num_in} samples were left out ({reasons}), {judged}",
        f"{describe()}{remedy}",
    )
