"""What was left out of a data set, with examples."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from data_schemas.manifest import StageTotals
from data_schemas.rejections import PHRASE_REASONS, Rejection
from tokencompose_core.reports.dataset_figures import read_batches

_COLUMNS = ("key", "stage", "reason", "detail")


@dataclass(frozen=True)
class LeftOut:
    """What a stage left out for one reason.

    Attributes:
        stage: The stage.
        reason: The reason.
        count: How often.
        loses_sample: Whether it cost the sample, or one phrase of it.
        examples: Some of them.
    """

    stage: str
    reason: str
    count: int
    loses_sample: bool
    examples: list[Rejection]


def find_examples(
    rejections_paths: Iterable[Path], num: int
) -> dict[tuple[str, str], list[Rejection]]:
    """The first rejections of every stage and reason, read a few thousand at a time."""
    found: dict[tuple[str, str], list[Rejection]] = {}
    for path in rejections_paths:
        for batch in read_batches(path, _COLUMNS):
            for reason in pc.unique(batch.column("reason")).to_pylist():
                rows = batch.filter(pc.equal(batch.column("reason"), reason)).slice(0, num)
                for row in rows.to_pylist():
                    own = found.setdefault((row["stage"], reason), [])
                    if len(own) < num:
                        own.append(Rejection.model_validate(row))
    return found


def list_left_out(
    stages: Iterable[StageTotals], examples: dict[tuple[str, str], list[Rejection]]
) -> list[LeftOut]:
    """Every stage's reasons with their examples, the most frequent of a stage first."""
    return [
        LeftOut(
            stage=totals.stage,
            reason=reason,
            count=count,
            loses_sample=reason not in PHRASE_REASONS,
            examples=examples.get((totals.stage, reason), []),
        )
        for totals in stages
        for reason, count in sorted(totals.rejected.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
