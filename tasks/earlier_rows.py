"""Rows that a partition takes over from earlier outputs of its stage."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from data_schemas.manifest import Manifest
from tasks.spec import Spec
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.earlier_rows import (
    TakenRows,
    earlier_outputs,
    find_rows,
    has_settings,
    read_questions,
    take_rows,
)
from tokencompose_core.store.tables import RecordType


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
    wanted = {spec.key: questions_of(store, spec) for spec in missing}
    found = find_in(store, specs[0], outputs, wanted)
    return [
        spec.model_copy(update={"earlier": _most_first(wanted.get(spec.key, {}), found)})
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
    """What decides each row of a spec's output, by sample key."""
    (source,) = spec.stored_inputs
    assert spec.row_table is not None
    return read_questions(store, source.key, source.name, spec.row_table)


def find_in(
    store: Store,
    spec: Spec,
    outputs: Sequence[Manifest],
    wanted: Mapping[str, Mapping[str, str]],
) -> dict[str, str]:
    """Which of the outputs holds each sample's row; a sample is in one partition alone.

    Args:
        store: Where they lie.
        spec: One of the stage.
        outputs: The outputs.
        wanted: What decides the rows of each partition.
    """
    assert spec.row_table is not None
    every = {sample: asked for own in wanted.values() for sample, asked in own.items()}
    return find_rows(store, spec.row_table, outputs, every)


def take_earlier_rows(
    store: Store, spec: Spec, record_type: type[RecordType]
) -> TakenRows[RecordType]:
    """Read what earlier outputs hold of a spec's rows, as they are by now."""
    if not spec.earlier or spec.row_table is None:
        return TakenRows()
    wanted = questions_of(store, spec)
    return take_rows(store, spec.row_table, spec.earlier, wanted, _suits(spec), record_type)


def _suits(spec: Spec) -> Callable[[Manifest], bool]:
    parts, digests = spec.parts(), [source.digest for source in spec.stored_inputs]
    return lambda manifest: has_settings(manifest, parts, digests)


def _most_first(wanted: Mapping[str, str], found: Mapping[str, str]) -> tuple[str, ...]:
    counts = Counter(found[sample] for sample in wanted if sample in found)
    return tuple(key for key, _ in counts.most_common())
