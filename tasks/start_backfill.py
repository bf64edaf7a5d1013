"""Start `curate` for caption sets that were registered before."""

from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from uuid import UUID

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict

from data_schemas.configs.backfill_config import BackfillConfig
from data_schemas.configs.curate_config import CurateConfig
from data_schemas.manifest import Manifest
from data_schemas.profiles import merge_values
from tasks.register_captions import list_registered, registered_config
from tasks.stage import open_store


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


def start_backfill(config: BackfillConfig) -> list[StartedRun]:
    """Start a run of `curate` for every set, and list the runs in an artifact.

    All configs are checked before the first run starts.

    Raises:
        ValueError: If no set fits, or a changed config is wrong.
    """
    store = open_store()
    chosen = choose_registered(list_registered(store), config)
    configs = [
        CurateConfig.model_validate(
            merge_values(registered_config(store, manifest).model_dump(), config.changes)
        )
        for manifest in chosen
    ]
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"curate/{config.profile}")
        # Runs of their own, since after a part of this one nothing would follow; and a backfill
        # that is run again starts none twice.
        runs = [
            client.create_flow_run_from_deployment(
                deployment.id,
                parameters={"config": own.model_dump(mode="json")},
                idempotency_key=f"{flow_run.id}-{manifest.key}",
            )
            for manifest, own in zip(chosen, configs, strict=True)
        ]
    started = [
        StartedRun(
            caption_set=manifest.parts["caption_set"],
            registered=manifest.key,
            flow_run_id=run.id,
            flow_run_name=run.name,
        )
        for manifest, run in zip(chosen, runs, strict=True)
    ]
    lines = ["# Runs of curate", "", "| caption set | registered | run |", "|---|---|---|"]
    lines += [
        f"| {run.caption_set} | `{run.registered}`"
        f" | [{run.flow_run_name}](/runs/flow-run/{run.flow_run_id}) |"
        for run in started
    ]
    create_markdown_artifact(
        key="backfill", markdown="\n".join(lines), description="runs that a backfill started"
    )
    return started
