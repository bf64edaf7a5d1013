"""What changed from one data set of a caption set to the next, as a page in the Prefect UI."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact
from pydantic import BaseModel, ConfigDict

from data_schemas.manifest import Manifest, StageTotals
from tasks.cards import artifact_key
from tasks.curated_sets import CuratedRecord, find_curated, find_previous, outputs_of
from tasks.import_masks import ImportSpec
from tasks.links import link_to_card, link_to_maker, link_to_output
from tasks.markdown import plain_text, table
from tasks.mask_nouns import MaskSpec
from tasks.parse_nouns import ParseSpec
from tasks.rank_captions import RankSpec
from tasks.select_images import SelectSpec
from tasks.stage import PLANNER, open_store
from tasks.write_shards import INDEX_NAME, ShardSpec
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.explain import settings_of, show_setting
from tokencompose_core.store.keys import split_key
from tokencompose_core.store.rejections import REJECTIONS_NAME

_SPECS = (SelectSpec, RankSpec, ParseSpec, MaskSpec, ImportSpec, ShardSpec)
_FIELDS = {spec.stage: spec.part_fields for spec in _SPECS}
_NO_VERSION = {"created", "flow_run"}
_MOST_EXAMPLES = 10
_MOST_CHANGES = 4


class SetChanges(BaseModel):
    """What changed from a data set to a later one.

    Attributes:
        before, after: Their keys; there may be none before.
        settings: What differs, as `mask.box_threshold 0.35 -> 0.5`.
        rows: How many samples were added, removed and changed.
        artifact: Key of the artifact that shows it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: str
    after: str
    settings: list[str]
    rows: dict[str, int]
    artifact: str


def publish_changes(after: str = "", before: str = "") -> SetChanges | None:
    """Compare a data set with an earlier one, and publish what differs.

    Args:
        after: A caption set, or the key of a data set or its card; the newest if it is empty.
        before: The same of the earlier one; the one of the same caption set that was made before,
            if it is empty.

    Returns:
        The differences; None while a plan is made.

    Raises:
        ValueError: If there is no such data set.
    """
    if PLANNER.get() is not None:
        return None
    store = open_store()
    new = find_curated(store, after)
    old = find_curated(store, before) if before else find_previous(store, new)
    artifact = artifact_key("changes", new.caption_set)
    settings: list[tuple[str, str, str]] = []
    rows: dict[str, int] = {}
    lines = [f"# What changed in {new.caption_set}", ""]
    if old is None:
        lines += [f"{_name(new)} is the first data set of this caption set in the store."]
    else:
        made_before, made_after = outputs_of(store, old), outputs_of(store, new)
        settings = list(changed_settings(made_before, made_after))
        samples, rows = _changed_rows(store, made_before, made_after)
        lines += [f"From {_name(old)}", "", f"to {_name(new)}.", "", "## Settings", ""]
        cells = [tuple(map(plain_text, row)) for row in settings]
        lines += table(("setting", "before", "now"), cells) or ["All are the same.", ""]
        lines += ["## Samples", "", *samples, "## Counts", "", *_counts(old.stages, new.stages)]
        lines += ["## Packages", ""]
        versions = list(_changed_versions(made_before, made_after))
        lines += table(("package", "before", "now"), versions) or ["All are the same.", ""]
    create_markdown_artifact(
        key=artifact, markdown="\n".join(lines), description=f"changes: {new.caption_set}"
    )
    return SetChanges(
        before=old.dataset if old is not None else "",
        after=new.dataset,
        settings=[f"{name} {was} -> {now}" for name, was, now in settings],
        rows=rows,
        artifact=artifact,
    )


def _name(record: CuratedRecord) -> str:
    """A data set with links to it, its card and its run."""
    card = link_to_card(artifact_key(record.card.stage, record.caption_set), "card")
    links = " ".join([card, link_to_maker(record.card)])
    return f"{link_to_output(record.dataset)} ({plain_text(record.title)} UTC, {links.strip()})"


def changed_settings(
    before: Mapping[str, Sequence[Manifest]], after: Mapping[str, Sequence[Manifest]]
) -> Iterator[tuple[str, str, str]]:
    """The name of each setting that differs, and what it was and is.

    Args:
        before: What the stages made, as `outputs_of` finds it.
        after: The same of the later data set.
    """
    for stage in dict.fromkeys([*before, *after]):
        both = [*before.get(stage, ()), *after.get(stage, ())]
        if not all(manifest.parts for manifest in both):
            # Of an earlier release; what both data sets share cannot differ.
            if {m.key for m in before.get(stage, ())} != {m.key for m in after.get(stage, ())}:
                yield f"{stage}, all settings", "not recorded by an earlier release", ""
            continue
        old, new = _settings(before.get(stage, ())), _settings(after.get(stage, ()))
        for name in dict.fromkeys([*old, *new]):
            if old.get(name) != new.get(name):
                yield name, show_setting(old.get(name)), show_setting(new.get(name))


def _settings(manifests: Sequence[Manifest]) -> dict[str, Any]:
    """The settings of a stage, as its newest output has them."""
    if not manifests:
        return {}
    newest = max(manifests, key=lambda manifest: manifest.provenance.get("created", ""))
    stage, version = split_key(newest.key)
    digests = set(newest.inputs.values())
    settings: dict[str, Any] = {f"version of the stage {stage}": version}
    for name, value in settings_of(stage, newest.parts, digests, _FIELDS.get(stage, {})).items():
        if isinstance(value, dict):
            settings |= {f"{stage}.{inner}": own for inner, own in value.items()}
        else:
            settings[name] = value
    return settings


def _changed_rows(
    store: Store, before: Mapping[str, Sequence[Manifest]], after: Mapping[str, Sequence[Manifest]]
) -> tuple[list[str], dict[str, int]]:
    """A table of examples, and counts."""
    from tokencompose_core.reports.row_changes import (
        compare_rows,
        describe_change,
        read_indexed,
        read_reasons,
    )

    old, new = _indexes(store, before, after), _indexes(store, after, before)
    changes = compare_rows(old, new)
    keys = {
        "added": changes.added[:_MOST_EXAMPLES],
        "removed": changes.removed[:_MOST_EXAMPLES],
        "changed": changes.changed[:_MOST_EXAMPLES],
    }
    was_lost = read_reasons(_rejections(store, before), keys["added"])
    is_lost = read_reasons(_rejections(store, after), keys["removed"])
    rows = []
    for key in keys["added"]:
        why = was_lost.get(key)
        rows.append((key, "added", f"before: {why.reason}" if why else "it is new in the source"))
    for key in keys["removed"]:
        why = is_lost.get(key)
        said = f"{why.stage}: {why.reason} ({why.detail})" if why else "the source has it no more"
        rows.append((key, "removed", said))
    rows_before, rows_after = read_indexed(old, keys["changed"]), read_indexed(new, keys["changed"])
    for key in keys["changed"]:
        found = describe_change(rows_before[key], rows_after[key])
        # One a row: the UI does not break long lines.
        rows += [(key, "changed", one) for one in found[:_MOST_CHANGES]]
        if len(found) > _MOST_CHANGES:
            rows.append((key, "changed", f"and {len(found) - _MOST_CHANGES} more"))
    counts = {
        "added": len(changes.added),
        "removed": len(changes.removed),
        "changed": len(changes.changed),
    }
    lines = [", ".join(f"{count} {what}" for what, count in counts.items()) + ".", ""]
    cells = [(plain_text(key), what, plain_text(said)) for key, what, said in rows]
    return [*lines, *table(("sample", "", "how"), cells)], counts


def _indexes(
    store: Store, own: Mapping[str, Sequence[Manifest]], other: Mapping[str, Sequence[Manifest]]
) -> list[Path]:
    """Indexes of the shards that the other data set does not have."""
    shared = {manifest.digest for manifest in other.get(ShardSpec.stage, ())}
    return [
        store.path(manifest, INDEX_NAME)
        for manifest in own.get(ShardSpec.stage, ())
        if manifest.digest not in shared
    ]


def _rejections(store: Store, made: Mapping[str, Sequence[Manifest]]) -> list[Path]:
    return [
        store.path(manifest, REJECTIONS_NAME)
        for own in made.values()
        for manifest in own
        if manifest.rejected and REJECTIONS_NAME in manifest.names()
    ]


def _counts(before: Sequence[StageTotals], after: Sequence[StageTotals]) -> list[str]:
    """In, out and each reason of every stage, what differs in bold."""
    old, new = _count(before), _count(after)
    rows = []
    for stage, what in dict.fromkeys([*new, *old]):
        was, now = old.get((stage, what), 0), new.get((stage, what), 0)
        cells = (stage, what, str(was), str(now))
        rows.append(tuple(f"**{cell}**" for cell in cells) if was != now else cells)
    return table(("stage", "", "before", "now"), rows)


def _count(stages: Sequence[StageTotals]) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    for totals in stages:
        counts |= {(totals.stage, "in"): totals.num_in, (totals.stage, "out"): totals.num_out}
        counts |= {(totals.stage, reason): count for reason, count in totals.rejected.items()}
    return counts


def _changed_versions(
    before: Mapping[str, Sequence[Manifest]], after: Mapping[str, Sequence[Manifest]]
) -> Iterator[tuple[str, str, str]]:
    old, new = _versions(before), _versions(after)
    for package in sorted({*old, *new}):
        was, now = (", ".join(sorted(known.get(package, ()))) for known in (old, new))
        if was != now:
            yield plain_text(package), plain_text(was or "none"), plain_text(now or "none")


def _versions(made: Mapping[str, Sequence[Manifest]]) -> dict[str, set[str]]:
    versions: dict[str, set[str]] = {}
    for manifest in (manifest for own in made.values() for manifest in own):
        for package, version in manifest.provenance.items():
            if package not in _NO_VERSION:
                versions.setdefault(package, set()).add(version)
    return versions
