"""Why a store lacks an output: what differs from the ones that it has."""

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from data_schemas.manifest import Manifest
from tokencompose_core.store.history import History
from tokencompose_core.store.keys import canonical_json, split_key

NEVER = "never computed"
DAMAGED = "the stored output is damaged"
GONE = "the stored output is gone"
INPUT_CHANGED = "its input changed"
UNRECORDED = "a setting changed, an earlier release did not record which"
_DIGEST_CHARACTERS = 64
_SHOWN_CHARACTERS = 8


@dataclass(frozen=True)
class Cause:
    """Why an output has to be computed.

    Attributes:
        why: In words.
        rows: How many rows of its input were added, changed and removed, if that is why.
    """

    why: str
    rows: dict[str, int] = field(default_factory=dict)


def explain_missing(
    history: History,
    key: str,
    parts: Mapping[str, Any],
    inputs: Mapping[str, str],
    fields: Mapping[str, Sequence[str]],
    taken: AbstractSet[str] = frozenset(),
) -> Cause:
    """Compare an output that a store lacks with the most similar one of its stage.

    If there are outputs of the same input, it is the one whose settings are most alike; else the
    one whose input shares most rows. Of equals it is the newest.

    Args:
        history: What the store was given.
        key: Key of the output.
        parts: What decided the key.
        inputs: Digest of each stored output that it is made from, by that output's key.
        fields: Names of the config fields behind those parts that are not called like their field;
            for a list one name an element.
        taken: Keys of samples, of all that is made beside it, whose rows need not be computed
            again: they have changed places at most, and are neither added, changed nor removed.
    """
    if key in history.manifests:
        return Cause(DAMAGED)
    if key in history.digests_read:
        return Cause(GONE)
    earlier = history.of_stage(split_key(key)[0])
    digests = set(inputs.values())
    of_same_input = [manifest for manifest in earlier if set(manifest.inputs.values()) == digests]
    if of_same_input:
        changes = _changed_settings(of_same_input, key, parts, digests, fields)
        return Cause("; ".join(changes) or INPUT_CHANGED)
    return _changed_input(history, inputs, earlier, taken)


def _changed_settings(
    candidates: Sequence[Manifest],
    key: str,
    parts: Mapping[str, Any],
    digests: AbstractSet[str],
    fields: Mapping[str, Sequence[str]],
) -> list[str]:
    """What differs from the most similar candidate, as `mask.box_threshold 0.25 -> 0.3`."""
    stage, version = split_key(key)
    new = settings_of(stage, json.loads(canonical_json(parts)), digests, fields)
    nearest, most = candidates[-1], (-1, False)
    for manifest in candidates:
        old = settings_of(stage, manifest.parts, digests, fields)
        alike = (
            sum(old.get(n) == v for n, v in new.items()),
            split_key(manifest.key)[1] == version,
        )
        if manifest.parts and alike >= most:
            nearest, most = manifest, alike
    earlier_version = split_key(nearest.key)[1]
    changes = []
    if earlier_version != version:
        changes.append(f"version of the stage {earlier_version} -> {version}")
    if nearest.parts:
        old = settings_of(stage, nearest.parts, digests, fields)
        changes += [
            f"{name} {show_setting(old.get(name))} -> {show_setting(new.get(name))}"
            for name in sorted({*old, *new})
            if old.get(name) != new.get(name)
        ]
    elif not changes:
        changes.append(UNRECORDED)
    return changes


def _changed_input(
    history: History,
    inputs: Mapping[str, str],
    earlier: Sequence[Manifest],
    taken: AbstractSet[str],
) -> Cause:
    new = _rows(history, inputs)
    if not earlier:
        return Cause(NEVER)
    shared = history.count_shared(earlier[0].stage, new)
    nearest, most = None, 0
    for manifest in earlier:
        # What is made from many outputs has no rows of its own, but may share some of them.
        alike = shared[manifest.key] or len(set(inputs.values()) & set(manifest.inputs.values()))
        if alike and alike >= most:
            nearest, most = manifest, alike
    if nearest is None:
        return Cause(NEVER)
    old = _rows(history, nearest.inputs)
    counts = {
        "added": len(new.keys() - old.keys() - taken),
        "changed": sum(new[name] != old[name] for name in (new.keys() & old.keys()) - taken),
        "removed": len(old.keys() - new.keys() - taken),
    }
    return Cause(INPUT_CHANGED, {name: count for name, count in counts.items() if count})


def _rows(history: History, inputs: Mapping[str, str]) -> dict[str, str]:
    return {
        name: row
        for key, digest in inputs.items()
        for name, row in history.rows(key, digest).items()
    }


def settings_of(
    stage: str,
    parts: Mapping[str, Any],
    digests: AbstractSet[str],
    fields: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """The parts that are no input, by the names of their config fields.

    Args:
        stage: The stage, which the names begin with.
        parts: What decided the key.
        digests: Of the inputs.
        fields: As in `explain_missing`.
    """
    settings: dict[str, Any] = {}
    for part, value in parts.items():
        elements = value if isinstance(value, list) else [value]
        if elements and all(isinstance(e, str) and e in digests for e in elements):
            continue
        names = fields.get(part, (part,))
        if len(names) == 1:
            settings[f"{stage}.{names[0]}"] = value
        elif len(names) == len(elements):
            settings |= {f"{stage}.{n}": e for n, e in zip(names, elements, strict=True)}
        else:  # as an earlier version of the stage had it
            settings[f"{stage}.{part}"] = value
    return settings


def show_setting(value: Any) -> str:
    """A setting in few characters; of a digest the beginning."""
    if value is None:
        return "not set"
    text = value if isinstance(value, str) else canonical_json(value)
    kind, colon, digest = text.rpartition(":")
    if len(digest) == _DIGEST_CHARACTERS:
        return f"{kind}{colon}{digest[:_SHOWN_CHARACTERS]}"
    return text
