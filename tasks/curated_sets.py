"""Data sets that were made of a caption set, and what each stage made for them."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from data_schemas.manifest import Manifest, StageTotals
from tasks.describe_dataset import DatasetSpec, read_dataset
from tasks.draw_dataset_card import OUTPUTS_NAME, CardSpec
from tasks.finetune_unet import FinetuneSpec
from tasks.stage import Input, open_store
from tasks.whole_key import whole_key
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.lineage import trace
from tokencompose_core.store.list_entries import entries_of_stage

_KEY = re.compile(r"([a-z_]+)-v\d+-[0-9a-f]+")


@dataclass(frozen=True)
class CuratedRecord:
    """A data set as one run made it; its card says so.

    Attributes:
        card: The manifest of its card.
        caption_set: The caption set that it was made of.
        dataset: Its key.
        stages: What became of the samples.
    """

    card: Manifest
    caption_set: str
    dataset: str
    stages: list[StageTotals]

    @property
    def title(self) -> str:
        """The caption set, and when it was made, for people."""
        created = self.card.provenance.get("created", "at an unknown time")
        return f"{self.caption_set}, {created[:19].replace('T', ' ')}"


def list_curated(store: Store) -> list[CuratedRecord]:
    """All of them, the newest last."""
    return [
        CuratedRecord(
            card=card,
            caption_set=card.parts["title"],
            dataset=next(iter(card.inputs)),
            stages=[StageTotals.model_validate(totals) for totals in card.parts["stages"]],
        )
        for card in entries_of_stage(store, CardSpec.stage)
        if card.parts
    ]


def find_curated(store: Store, name: str = "") -> CuratedRecord:
    """The newest data set of that name.

    Args:
        store: Where it lies.
        name: A caption set, or the key of a data set or of its card, or the beginning of one; of
            all if it is empty.

    Raises:
        ValueError: If there is none, naming what there is, or several keys begin with the name.
    """
    known = list_curated(store)
    if name not in {record.caption_set for record in known}:
        name = whole_key(store, name)
    for record in reversed(known):
        if name in ("", record.caption_set, record.dataset, record.card.key):
            return record
    raise ValueError(_say_what_there_is(store, name, known))


def open_dataset(key: str) -> list[Input]:
    """The shards of a data set that a person names, by its key or the beginning of it.

    Raises:
        ValueError: If it is none, naming what there is, or several keys begin with it.
    """
    store = open_store()
    key = whole_key(store, key)
    manifest = store.find(key, "size")
    if manifest is not None and manifest.stage == DatasetSpec.stage:
        return read_dataset(key)
    known = list_curated(store)
    for record in reversed(known):
        if key == record.caption_set:
            raise ValueError(
                f"dataset: {key!r} is a caption set, whose newest data set is {record.dataset}"
            )
        if key == record.card.key:
            raise ValueError(f"dataset: {key!r} is the card of a data set, {record.dataset}")
    raise ValueError(f"dataset: {_say_what_there_is(store, key, known)}")


def _say_what_there_is(store: Store, name: str, known: Sequence[CuratedRecord]) -> str:
    """Why a name is no data set, and which there are."""
    stage = _KEY.fullmatch(name)
    if stage and stage[1] == FinetuneSpec.stage:
        said = [f"{name!r} is a model, not a data set."]
    elif stage and stage[1] != DatasetSpec.stage:
        said = [f"{name!r} is an output of the stage {stage[1]}, not a data set."]
    else:
        said = [f"there is no data set {name!r}."] if name else []
    if not known:
        return " ".join(
            [*said, f"The store {store.root} has no data set yet; the flow `curate` makes one"]
        )
    names = ", ".join(dict.fromkeys(record.caption_set for record in reversed(known)))
    there = f"The store {store.root} has data sets of {names}; the newest is {known[-1].dataset}"
    return " ".join([*said, there])


def find_previous(store: Store, record: CuratedRecord) -> CuratedRecord | None:
    """The data set that was made of the same caption set before; None if there is none.

    Cards that differ in what they show, and not in what they show it of, count as one.
    """
    own = (record.dataset, record.card.parts.get("outputs"), record.card.parts["stages"])
    curated = list_curated(store)
    own_place = [other.card.key for other in curated].index(record.card.key)
    for other in reversed(curated[:own_place]):
        known = (other.dataset, other.card.parts.get("outputs"), other.card.parts["stages"])
        if other.caption_set == record.caption_set and known != own:
            return other
    return None


def outputs_of(store: Store, record: CuratedRecord) -> dict[str, list[Manifest]]:
    """What the stages made for a data set, by stage, in their order; what is gone is left out."""
    dataset = store.find(record.dataset, "size")
    shards: Sequence[str] = list(dataset.inputs) if dataset is not None else []
    if OUTPUTS_NAME in record.card.names():
        listed = json.loads(store.path(record.card, OUTPUTS_NAME).read_text("utf-8"))
        keys = [*listed, *shards]
    else:  # of an earlier release, which knew the lineage of the shards only
        keys = [manifest.key for manifest in reversed(trace(store, record.dataset, "size"))]
    found: dict[str, list[Manifest]] = {}
    for key in keys:
        manifest = store.find(key, "size")
        if manifest is not None and manifest.stage != DatasetSpec.stage:
            found.setdefault(manifest.stage, []).append(manifest)
    return found
