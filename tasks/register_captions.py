"""Stage `register`: a caption set is known, and whoever waits for new ones is told once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.manifest import Manifest
from data_schemas.profiles import absolute_profile
from data_schemas.records import SelectedImage
from tasks.announce import CAPTIONS_REGISTERED, announce
from tasks.cards import artifact_key
from tasks.opened_store import open_store, store_of_flow
from tasks.stage import STAGE_OPTIONS, Input, Outcome, Spec, reuse_or_publish, run_stage
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.history import History
from tokencompose_core.store.keys import canonical_json
from tokencompose_core.store.tables import read_table

FILE_NAME = "captions.json"


class RegisteredSet(BaseModel):
    """A caption set that the store knows.

    Attributes:
        caption_set: Its name.
        key: Of its registration in the store.
        num_images: Images with captions that can be used.
        is_new: Whether this registration was the first of these captions and images.
        changes: Images added, changed and removed since the set was registered before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    caption_set: str
    key: str
    num_images: int
    is_new: bool
    changes: dict[str, int]


class RegisterSpec(Spec):
    """A caption set that was read and selected from."""

    stage: ClassVar[str] = "register"
    version: ClassVar[int] = 1

    selected: list[Input]
    config: CurateConfig

    def parts(self) -> dict[str, Any]:
        """The rows, what they are called, where they came from, and for which profile.

        How they are masked is no part: whoever changes a setting runs `backfill`.
        """
        return {
            "selected": [part.digest for part in self.selected],
            "caption_set": self.config.caption_set,
            "profile": self.config.profile,
            "source": self.config.source.model_dump(mode="json"),
        }


@task(name="register-captions", **STAGE_OPTIONS)
def register_set(spec: RegisterSpec) -> Manifest | State:
    """Announce a caption set and note it.

    It is announced first: killed between the two, the next run announces it again, and what was
    curated meanwhile is not curated again.

    Reads: the partitions that `select` wrote.
    Writes: `captions.json`, the config with which `curate` makes a data set of it.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        announce_captions(spec.config)
        (folder / FILE_NAME).write_text(spec.config.model_dump_json(indent=1), "utf-8")
        selection = _selection(store, spec.selected[0].key)
        return {"num_in": selection.num_out, "num_out": selection.num_out}

    with store_of_flow(spec.flow_store):
        selection = _selection(open_store(), spec.selected[0].key)
    return reuse_or_publish(spec, write, {selection.key: selection.digest})


def announce_captions(config: CurateConfig) -> None:
    """Tell the server that a set waits for `curate`."""
    announce(
        CAPTIONS_REGISTERED, config.caption_set, config.profile, {"config": as_parameter(config)}
    )


def as_parameter(config: CurateConfig) -> dict[str, Any]:
    """A config for a run in another process, which may look for its profile from another folder."""
    return config.model_dump(mode="json") | {"profile": absolute_profile(config.profile)}


def register_captions(selected: list[Input], config: CurateConfig) -> RegisteredSet:
    """Note a caption set, announce it if it is new, and publish its card."""
    outcome = run_stage(register_set, [RegisterSpec(selected=selected, config=config)])[0]
    is_new = outcome.state == "Completed"
    registered = RegisteredSet(
        caption_set=config.caption_set,
        key=outcome.manifest.key,
        num_images=outcome.manifest.num_out,
        is_new=is_new,
        changes=_changes(outcome) if is_new else {},
    )
    create_markdown_artifact(
        key=artifact_key("captions", config.caption_set),
        markdown=_card(registered, config),
        description=f"captions: {config.caption_set}",
    )
    return registered


def list_registered(store: Store) -> list[Manifest]:
    """All registrations, the newest last."""
    return History(store).of_stage(RegisterSpec.stage)


def registered_config(store: Store, manifest: Manifest) -> CurateConfig:
    """What `curate` was to be given for a registration."""
    return CurateConfig.model_validate_json(store.path(manifest, FILE_NAME).read_bytes())


def _selection(store: Store, key: str) -> Manifest:
    manifest = store.find(key, "size")  # its files were checked a moment ago
    if manifest is None:
        raise FileNotFoundError(f"{key} has just been removed from the store; run the flow again")
    return manifest


def _changes(outcome: Outcome) -> dict[str, int]:
    """How the images of a set differ from those that it was registered with before."""
    store, new = open_store(), outcome.manifest
    earlier = [
        manifest
        for manifest in list_registered(store)
        if manifest.key != new.key
        and all(manifest.parts[part] == new.parts[part] for part in ("caption_set", "profile"))
    ]
    if not earlier:
        return {}
    own = _rows(store, new, leave_out=earlier[-1].parts["selected"])
    old = _rows(store, earlier[-1], leave_out=new.parts["selected"])
    if own is None or old is None:
        return {}
    both = own.keys() & old.keys()
    return {
        "added": len(own) - len(both),
        "changed": sum(own[key] != old[key] for key in both),
        "removed": len(old) - len(both),
    }


def _rows(store: Store, registered: Manifest, leave_out: Sequence[str]) -> dict[str, str] | None:
    """Rows of the partitions that are not the same in both; None if they are gone."""
    rows = {}
    for key in registered.inputs:
        selection = store.find(key, "size")
        if selection is None:
            return None
        for file in selection.files:
            if file.sha256 in registered.parts["selected"] and file.sha256 not in leave_out:
                for row in read_table(store.path(selection, file.name), SelectedImage):
                    rows[row.key] = canonical_json(row.model_dump(mode="json"))
    return rows


def _card(registered: RegisteredSet, config: CurateConfig) -> str:
    news = "new: announced, so that `curate` may start" if registered.is_new else "known already"
    lines = [
        f"# {registered.caption_set}",
        "",
        "| images | profile | source | |",
        "|---|---|---|---|",
        f"| {registered.num_images} | {config.profile} | {config.source.kind} | {news} |",
        "",
    ]
    if registered.changes:
        counts = ", ".join(f"{count} {what}" for what, count in registered.changes.items())
        lines += [f"Since it was registered before: {counts}.", ""]
    return "\n".join([*lines, f"`{registered.key}`"])
