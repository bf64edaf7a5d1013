"""Rows that a partition takes over from earlier outputs of its stage."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from data_schemas.manifest import Manifest
from tasks.spec import Spec
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.earlier_rows import (
    TakenRows,
    digest_questions,
    earlier_outputs,
    find_answers,
    has_settings,
    read_columns,
    read_stored_columns,
    take_rows,
)
from tokencompose_core.store.map_in_threads import map_in_threads
from tokencompose_core.store.tables import RecordType
from tokencompose_core.store.uses import record_use


def point_to_earlier(
    store: Store, specs: Sequence[Spec], stored: Sequence[Manifest | None]
) -> list[Spec]:
    """Tell each spec whose output is missing which earlier outputs hold rows of it.

    Args:
        store: Where they lie.
        specs: All of a set.
        stored: The output of each that is there.

    Returns:
        The specs in their order.
    """
    missing = [spec for spec, found in zip(specs, stored, strict=True) if found is None]
    outputs = outputs_of_settings(store, specs) if missing else []
    if not outputs:
        return list(specs)
    questions = map_in_threads(lambda spec: questions_of(store, spec).values(), missing)
    asked = {spec.key: set(own) for spec, own in zip(missing, questions, strict=True)}
    found = find_answers(store, outputs, set().union(*asked.values()))
    # The stage may take hours, and nothing else keeps what was superseded from `gc`.
    if found:
        record_use(store, sorted(set(found.values())))
    return [
        spec.model_copy(update={"earlier": _most_first(asked.get(spec.key, ()), found)})
        for spec in specs
    ]


def outputs_of_settings(store: Store, specs: Sequence[Spec]) -> list[Manifest]:
    """Earlier outputs with the settings of these specs, the newest first.

    Args:
        store: Where they lie.
        specs: All of a set; they differ in their inputs alone.
    """
    first = specs[0]
    if first.row_table is None:
        return []
    prefix = f"{first.stage}-v{first.version}-"
    return earlier_outputs(store, prefix, (spec.key for spec in specs), _suits(first))


def questions_of(store: Store, spec: Spec) -> dict[str, str]:
    """What decides each row of a spec's output, by sample key; nothing if its input is gone."""
    (source,) = spec.stored_inputs
    assert spec.row_table is not None
    columns = spec.row_table.decided_by
    return digest_questions(read_stored_columns(store, source.key, source.name, columns))


def take_earlier_rows(
    store: Store, spec: Spec, record_type: type[RecordType]
) -> TakenRows[RecordType]:
    """Read what earlier outputs hold of a spec's rows, as they are by now.

    Raises:
        FileNotFoundError: If the spec's input is gone or damaged.
        StoreError: If the store cannot be read.
    """
    (source,) = spec.stored_inputs
    assert spec.row_table is not None
    with source.path(store).open("rb") as file:
        questions = digest_questions(read_columns(file, spec.row_table.decided_by))
    return take_rows(store, spec.row_table, spec.earlier, questions, _suits(spec), record_type)


def _suits(spec: Spec) -> Callable[[Manifest], bool]:
    parts, digests = spec.parts(), [source.digest for source in spec.stored_inputs]
    return lambda manifest: has_settings(manifest, parts, digests)


def _most_first(asked: Iterable[str], found: Mapping[str, str]) -> tuple[str, ...]:
    counts = Counter(found[question] for question in asked if question in found)
    return tuple(key for key, _ in counts.most_common())
