"""Start `curate` for caption sets that were registered before."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, ValidationError

from data_schemas.configs.backfill_config import BackfillConfig
from data_schemas.configs.curate_config import CurateConfig
from data_schemas.manifest import Manifest
from data_schemas.profiles import builtin_profile, merge_values
from tasks.markdown import plain_text, table
from tasks.opened_store import open_store
from tasks.register_captions import as_parameter, list_registered, registered_config
from tokencompose_core.store.content_store import Store


class StartedRun(BaseModel):
    """A run that makes a data set of a registered caption set.

    Attributes:
        caption_set: The set.
        registered: Key of its registration.
        flow_run_id: The run.
        flow_run_name: The run's name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    caption_set: str
    registered: str
    flow_run_id: UUID
    flow_run_name: str


def choose_registered(registered: Sequence[Manifest], config: BackfillConfig) -> list[Manifest]:
    """The newest registration of every set that a backfill is about.

    Args:
        registered: All registrations, the newest last.
        config: Which sets.

    Raises:
        ValueError: If there is none, naming the sets that there are.
    """
    newest: dict[str, Manifest] = {}
    for manifest in registered:
        day = datetime.fromisoformat(manifest.provenance["created"]).astimezone(UTC).date()
        if (
            manifest.parts["profile"] == config.profile
            and fnmatchcase(manifest.parts["caption_set"], config.caption_sets)
            and (config.since is None or config.since <= day)
            and (config.until is None or day <= config.until)
        ):
            newest[manifest.parts["caption_set"]] = manifest
    if not newest:
        known = sorted({f"{m.parts['caption_set']} ({m.parts['profile']})" for m in registered})
        raise ValueError(
            "no registered caption set fits caption_sets, profile, since and until;"
            f" there are: {', '.join(known) or 'none, see the flow register-captions'}"
        )
    return list(newest.values())


def read_configs(
    store: Store, chosen: Sequence[Manifest], changes: Mapping[str, Any]
) -> tuple[dict[str, CurateConfig], dict[str, str]]:
    """What `curate` is to be given for each registration, and which of them cannot be used.

    Args:
        store: The store that has them.
        chosen: The registrations.
        changes: What is different this time.

    Returns:
        The changed configs, and why the others are left out, by the registrations' keys.

    Raises:
        ValueError: If all of them are left out, or a changed config is wrong.
        StoreError: If the store cannot be read.
    """
    configs, left_out = {}, {}
    for manifest in chosen:
        if store.find(manifest.key) is None:
            left_out[manifest.key] = "it is damaged; register the set again"
            continue
        try:
            registered = registered_config(store, manifest)
        except ValidationError as error:
            first = error.errors()[0]
            said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            # To register it again would find this one.
            left_out[manifest.key] = f"it has other settings ({said}); curate it with new ones"
        else:
            configs[manifest.key] = CurateConfig.model_validate(
                merge_values(registered.model_dump(), changes)
            )
    if not configs:
        names = {manifest.key: manifest.parts["caption_set"] for manifest in chosen}
        said = "; ".join(f"{names[key]} ({key}): {why}" for key, why in left_out.items())
        raise ValueError(f"no registration can be used: {said}")
    return configs, left_out


def start_backfill(config: BackfillConfig) -> list[StartedRun]:
    """Start a run of `curate` for every set, and list the runs in an artifact.

    All configs are checked before the first run starts. A registration that is damaged, or from a
    version with other settings, costs that set only, and is named.

    Raises:
        ValueError: If no set fits or can be used, or a changed config is wrong.
    """
    store = open_store()
    chosen = choose_registered(list_registered(store), config)
    configs, left_out = read_configs(store, chosen, config.changes)
    sets = {manifest.key: manifest.parts["caption_set"] for manifest in chosen}
    for key, why in left_out.items():
        get_run_logger().warning("%s is left out (%s): %s", sets[key], key, why)
    # A profile of one's own has no deployment; the runs are given all its values.
    profile = builtin_profile(config.profile) or config.profile
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"curate/{profile}")
        # Runs of their own, since after a part of this one nothing would follow; and a backfill
        # that is run again starts none twice.
        runs = {
            key: client.create_flow_run_from_deployment(
                deployment.id,
                parameters={"config": as_parameter(own)},
                idempotency_key=f"{flow_run.id}-{key}",
            )
            for key, own in configs.items()
        }
    started = [
        StartedRun(
            caption_set=sets[key],
            registered=key,
            flow_run_id=run.id,
            flow_run_name=run.name,
        )
        for key, run in runs.items()
    ]
    create_markdown_artifact(
        key="backfill",
        markdown=backfill_card(started, [(sets[key], key, why) for key, why in left_out.items()]),
        description="runs that a backfill started",
    )
    return started


def backfill_card(started: Sequence[StartedRun], left_out: Sequence[tuple[str, str, str]]) -> str:
    """The runs as markdown, and the sets that are left out: name, registration, and why."""
    runs = [
        (
            plain_text(run.caption_set),
            f"`{run.registered}`",
            f"[{plain_text(run.flow_run_name)}](/runs/flow-run/{run.flow_run_id})",
        )
        for run in started
    ]
    lines = ["# Runs of curate", "", *table(("caption set", "registered", "run"), runs)]
    if left_out:
        rows = [(plain_text(name), f"`{key}`", plain_text(why)) for name, key, why in left_out]
        lines += ["# Left out", "", *table(("caption set", "registered", "why"), rows)]
    return "\n".join(lines)
