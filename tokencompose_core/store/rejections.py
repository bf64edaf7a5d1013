"""Rejections beside an output, and their limit."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from data_schemas.rejections import PHRASE_REASONS, REJECTION_SCHEMA, Rejection
from tokencompose_core.store.tables import write_table

REJECTIONS_NAME = "rejections.parquet"


class TooManyRejectedError(RuntimeError):
    """More samples were left out than `max_rejected_fraction` allows."""


def write_rejections(folder: Path, rejections: Sequence[Rejection]) -> dict[str, int]:
    """Write what was left out, and count it by reason."""
    write_table(folder / REJECTIONS_NAME, rejections, REJECTION_SCHEMA)
    return dict(sorted(Counter(str(rejection.reason) for rejection in rejections).items()))


def check_rejected_fraction(
    stage: str, num_in: int, rejected: dict[str, int], max_fraction: float
) -> None:
    """Refuse an output from which too many samples are missing; phrases do not count.

    Raises:
        TooManyRejectedError: Naming the stage, the fraction, and the reasons.
    """
    lost = sum(count for reason, count in rejected.items() if reason not in PHRASE_REASONS)
    if num_in and lost / num_in > max_fraction:
        raise TooManyRejectedError(
            f"{stage}: {lost} of {num_in} samples were rejected ({rejected}), more than"
            f" max_rejected_fraction = {max_fraction}. The reasons are in the outputs'"
            f" {REJECTIONS_NAME}; mend the source or raise the limit"
        )
