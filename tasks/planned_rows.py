"""Which rows of planned outputs need no model."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.earlier_rows import outputs_of_settings
from tasks.spec import Input, Spec
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.earlier_rows import (
    digest_questions,
    find_answers,
    read_answered,
    read_stored_columns,
)


@dataclass
class _Planned:
    """An output that is not there yet.

    Attributes:
        source: What it is made from.
        table: Its table's file.
        questions: What decides each row, as far as the input is known, by sample key.
        known_left_out: How many samples are known not to get as far as its input.
        holders: Which earlier output answers a question.
    """

    source: Input
    table: str
    questions: dict[str, str]
    known_left_out: int
    holders: dict[str, str] = field(default_factory=dict)


class PlannedRows:
    """Rows that planned outputs would take over, stage by stage.

    Such a row is known before it is written, so the stage that follows may find its own row for it.

    Args:
        store: Where outputs lie.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._planned: dict[str, _Planned] = {}

    def find(self, missing: Sequence[Spec], specs: Sequence[Spec]) -> set[str]:
        """Look for the rows of a stage's missing outputs.

        Args:
            missing: Their specs.
            specs: All of the set's, of that stage.

        Returns:
            Keys of the samples whose rows are found.
        """
        table = missing[0].row_table if missing else None
        if table is None:
            return set()
        outputs = outputs_of_settings(self.store, specs)
        planned: dict[str, _Planned] = {}
        for spec in missing:
            (source,) = spec.stored_inputs
            rows, left_out = self._rows(source, table.decided_by) if outputs else ({}, set())
            before = self._planned.get(source.key)
            planned[spec.key] = _Planned(
                source=source,
                table=table.name,
                questions=digest_questions(rows),
                known_left_out=len(left_out) + (before.known_left_out if before else 0),
            )
        every = {question for one in planned.values() for question in one.questions.values()}
        holders = find_answers(self.store, outputs, every)
        for one in planned.values():
            one.holders = {q: holders[q] for q in one.questions.values() if q in holders}
        self._planned |= planned
        return {
            sample
            for one in planned.values()
            for sample, question in one.questions.items()
            if question in one.holders
        }

    def count(self, key: str) -> int:
        """How many samples of a planned output's first input will go through no model for it."""
        planned = self._planned.get(key)
        if planned is None:
            return 0
        found = sum(question in planned.holders for question in planned.questions.values())
        return found + planned.known_left_out

    def _rows(
        self, source: Input, columns: Sequence[str], *, all_or_nothing: bool = True
    ) -> tuple[dict[str, dict[str, Any]], set[str]]:
        """Columns of a table that is stored, or as far as it is known, and who is left out of it.

        A row that is taken over keeps what the stage's model gave, and passes on what its input has
        by now.
        """
        planned = self._planned.get(source.key)
        if planned is None:
            rows = read_stored_columns(
                self.store, source.key, source.name, columns, all_or_nothing=all_or_nothing
            )
            return rows, set()
        passed_on, _ = self._rows(planned.source, columns, all_or_nothing=False)
        known: dict[str, dict[str, Any]] = {}
        left_out: set[str] = set()
        for key in dict.fromkeys(planned.holders.values()):
            sample_then = read_answered(self.store, key)
            rows = read_stored_columns(
                self.store, key, planned.table, columns, all_or_nothing=all_or_nothing
            )
            for sample, question in planned.questions.items():
                if planned.holders.get(question) != key or question not in sample_then:
                    continue
                row = rows.get(sample_then[question])
                if row is None:
                    left_out.add(sample)
                else:
                    known[sample] = row | passed_on.get(sample, {})
        return known, left_out
