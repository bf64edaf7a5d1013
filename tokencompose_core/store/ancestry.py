"""What an output was made from, and what was made from it, with equal partitions in one node."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from data_schemas.manifest import Manifest
from tokencompose_core.store.explain import settings_of, show_setting
from tokencompose_core.store.history import History
from tokencompose_core.store.keys import canonical_json, is_key, split_key

CAPTIONS = "source"
"""What the stage `select` calls the digest of captions and images in its inputs."""
VARIES = "varies"
"""In the place of a setting that is not the same for all outputs of a node."""
_MADE = "created"
_RUN = "flow_run"
_MOST_KINDS = 8
_MOST_NAMED = 4
_OUTSIDE = "\0"


@dataclass(frozen=True)
class Node:
    """Outputs of a stage with the same settings and code, or something outside the store.

    Of a stage with more than eight kinds of settings all outputs are in one node.

    Attributes:
        number: Names it among the nodes.
        title: Stage and version; of something outside the store what it is.
        members: Keys of the outputs, sorted; of something outside the store its digest.
        is_stored: Whether it lies in the store; otherwise it is gone, or was never in it.
        is_gone: Whether it lay in the store.
        settings: What decided its keys besides its inputs, as text by name.
        num_in: Samples read, over all outputs.
        num_out: Samples written, over all outputs.
        made: When the first and the last was made.
        versions: Versions of packages with which they were made; none where they differ.
        caption_sets: Names of the caption sets, where these are captions.
    """

    number: int
    title: str
    members: tuple[str, ...]
    is_stored: bool = True
    is_gone: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    num_in: int = 0
    num_out: int = 0
    made: tuple[str, str] = ("", "")
    versions: Mapping[str, str] = field(default_factory=dict)
    caption_sets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ancestry:
    """An output, what it was made from, and what was made from it.

    Attributes:
        key: The output.
        nodes: The first is that of the output.
        made_from: Numbers of the nodes that each node was made from, upwards of the output.
        made_into: Numbers of the nodes that were made from each node, downwards of the output.
    """

    key: str
    nodes: Sequence[Node]
    made_from: Mapping[int, Sequence[int]]
    made_into: Mapping[int, Sequence[int]]


def find_key(history: History, name: str) -> str:
    """The key that a name begins.

    Raises:
        ValueError: If no output has such a key, or several have.
    """
    if name in history.manifests:
        return name
    found = sorted(key for key in history.manifests if key.startswith(name))
    if len(found) == 1:
        return found[0]
    root = history.store.root
    if not found:
        raise ValueError(f"the store {root} has no output {name!r}")
    some = ", ".join(found[:_MOST_NAMED]) + (" ..." if len(found) > _MOST_NAMED else "")
    raise ValueError(f"{len(found)} outputs begin with {name!r}: {some}")


def trace_ancestry(
    history: History, key: str, fields: Mapping[str, Mapping[str, Sequence[str]]]
) -> Ancestry:
    """Follow an output in both directions.

    Args:
        history: What the store was given.
        key: The output.
        fields: By stage, names of the config fields behind those parts that are not called like
            their field.
    """
    users: dict[str, list[str]] = {}
    for manifest in history.manifests.values():
        for name, digest in manifest.inputs.items():
            users.setdefault(_name(name, digest), []).append(manifest.key)

    def inputs_of(name: str) -> list[str]:
        manifest = history.manifests.get(name)
        return [_name(*pair) for pair in manifest.inputs.items()] if manifest else []

    def users_of(name: str) -> list[str]:
        return users.get(name, [])

    above, below = _reach(key, inputs_of), _reach(key, users_of)
    groups = _Groups(history, fields, [*above, *below])
    titles = {
        name: _titles(history, _reach(name, users_of))
        for name in above
        if name.startswith(CAPTIONS + _OUTSIDE)
    }
    return Ancestry(
        key,
        groups.nodes(titles),
        _edges(above, inputs_of, groups.numbers),
        _edges(below, users_of, groups.numbers),
    )


class _Groups:
    """Outputs by what tells them from others of their stage."""

    def __init__(
        self,
        history: History,
        fields: Mapping[str, Mapping[str, Sequence[str]]],
        names: Iterable[str],
    ) -> None:
        self.history, self.fields = history, fields
        self.settings = {
            name: self._settings_of(history.manifests[name])
            for name in dict.fromkeys(names)
            if name in history.manifests
        }
        kinds: dict[str, set[str]] = {}
        for name, settings in self.settings.items():
            kinds.setdefault(_stage_of(name), set()).add(canonical_json(settings))
        self.numbers: dict[str, int] = {}
        self.members: list[list[str]] = []
        known: dict[str, int] = {}
        for name in dict.fromkeys(names):
            own = self.settings.get(name)
            stage = _stage_of(name)
            many = own is not None and len(kinds[stage]) > _MOST_KINDS
            signature = canonical_json([stage, None if many else own])
            number = self.numbers[name] = known.setdefault(signature, len(known))
            if number == len(self.members):
                self.members.append([])
            self.members[number].append(name)

    def nodes(self, titles: Mapping[str, Iterable[str]]) -> list[Node]:
        return [
            self._stored(number, names)
            if names[0] in self.settings
            else _absent(number, names, titles)
            for number, names in enumerate(self.members)
        ]

    def _settings_of(self, manifest: Manifest) -> dict[str, Any]:
        digests = set(manifest.inputs.values())
        fields = self.fields.get(manifest.stage, {})
        settings = settings_of(manifest.stage, manifest.parts, digests, fields)
        return _flat({name.partition(".")[2]: value for name, value in settings.items()})

    def _stored(self, number: int, names: Sequence[str]) -> Node:
        manifests = [self.history.manifests[name] for name in names]
        made = sorted(m.provenance[_MADE] for m in manifests if _MADE in m.provenance)
        return Node(
            number,
            _stage_of(names[0]),
            tuple(sorted(names)),
            settings={
                name: show_setting(value) if value != VARIES else VARIES
                for name, value in sorted(_shared([self.settings[n] for n in names]).items())
            },
            num_in=sum(manifest.num_in for manifest in manifests),
            num_out=sum(manifest.num_out for manifest in manifests),
            made=(made[0], made[-1]) if made else ("", ""),
            versions={
                name: value
                for name, value in _shared([dict(m.provenance) for m in manifests]).items()
                if name not in (_MADE, _RUN) and value != VARIES
            },
        )


def _absent(number: int, names: Sequence[str], titles: Mapping[str, Iterable[str]]) -> Node:
    """What is gone from the store, or was never in it."""
    if is_key(names[0]):
        return Node(
            number, _stage_of(names[0]), tuple(sorted(names)), is_stored=False, is_gone=True
        )
    what, _, digest = names[0].partition(_OUTSIDE)
    sets = tuple(sorted({title for name in names for title in titles.get(name, ())}))
    title = "captions and images" if what == CAPTIONS else what
    return Node(number, title, (digest,), is_stored=False, caption_sets=sets)


def _stage_of(name: str) -> str:
    """Stage and version of a key; what lies outside the store stands for itself."""
    if not is_key(name):
        return name
    stage, version = split_key(name)
    return f"{stage} v{version}"


def _shared(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is the same for all, and `VARIES` for what is not."""
    first = settings[0]
    return {
        name: first.get(name)
        if all(own.get(name) == first.get(name) for own in settings)
        else VARIES
        for name in dict.fromkeys(name for own in settings for name in own)
    }


def _name(name: str, digest: str) -> str:
    """An input's key, or what it is and its digest if it lies outside the store."""
    return name if is_key(name) else f"{name}{_OUTSIDE}{digest}"


def _reach(start: str, next_to: Callable[[str], Iterable[str]]) -> list[str]:
    """Everything that can be reached, nearest first."""
    found = {start: None}
    waiting = [start]
    for name in waiting:
        for other in next_to(name):
            if other not in found:
                found[other] = None
                waiting.append(other)
    return list(found)


def _edges(
    names: Iterable[str], next_to: Callable[[str], Iterable[str]], numbers: Mapping[str, int]
) -> dict[int, list[int]]:
    edges: dict[int, dict[int, None]] = {}
    for name in names:
        own = edges.setdefault(numbers[name], {})
        own.update(dict.fromkeys(numbers[other] for other in next_to(name)))
    return {number: list(others) for number, others in edges.items()}


def _titles(history: History, names: Iterable[str]) -> set[str]:
    """Names of the caption sets whose cards were drawn from what was made of some captions."""
    parts = (history.manifests[name].parts for name in names if name.startswith("card-"))
    return {own["title"] for own in parts if isinstance(own.get("title"), str)}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings of settings with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = json.loads(canonical_json(value))
    return flat
