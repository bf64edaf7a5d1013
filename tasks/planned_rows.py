"""Which rows of planned outputs need no model."""

from collections import Counter
from collections.abc import Sequence

from tasks.earlier_rows import find_in, outputs_of_settings, questions_of
from tasks.spec import Spec
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.earlier_rows import read_questions


class PlannedRows:
    """Rows that planned outputs would take over, stage by stage.

    Such a row is known before it is written, so the stage that follows may find its own row for it.

    Args:
        store: Where outputs lie.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._table: dict[str, str] = {}
        self._holders: dict[str, dict[str, str]] = {}

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
        wanted = {spec.key: self._questions(spec) for spec in missing} if outputs else {}
        found = find_in(self.store, missing[0], outputs, wanted)
        for spec in missing:
            self._table[spec.key] = table.name
            own = wanted.get(spec.key, {})
            self._holders[spec.key] = {s: found[s] for s in own if s in found}
        return set(found)

    def count(self, key: str) -> int:
        """How many rows of a planned output are found."""
        return len(self._holders.get(key, {}))

    def _questions(self, spec: Spec) -> dict[str, str]:
        (source,) = spec.stored_inputs
        if source.key not in self._holders:
            return questions_of(self.store, spec)
        assert spec.row_table is not None
        holders = self._holders[source.key]
        known: dict[str, str] = {}
        for key in Counter(holders.values()):
            rows = read_questions(self.store, key, self._table[source.key], spec.row_table)
            known |= {sample: row for sample, row in rows.items() if holders.get(sample) == key}
        return known
