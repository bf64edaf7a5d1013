"""What the Prefect server does by itself: flows that follow each other, and runs that died."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import BlockDocumentFilter
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from tasks.announce import CAPTIONS_REGISTERED, DATASET_CURATED, MODEL_FINETUNED

# Runs are heard of every 30 seconds (`flows.heartbeat_frequency` in pyproject.toml).
SILENT_FOR = timedelta(minutes=4)
NOT_STARTED_FOR = timedelta(minutes=8)
RETRIED_AFTER = timedelta(seconds=30)
NOTIFICATION_BLOCK = "tokencompose"
"""Name of the notification block, of any kind, that failures are announced with."""

_HEARTBEAT = "prefect.flow-run.heartbeat"
_ENDED = {f"prefect.flow-run.{name}" for name in ("Completed", "Failed", "Cancelled", "Crashed")}
_UNHAPPY = {f"prefect.flow-run.{name}" for name in ("Failed", "TimedOut", "Crashed")}
# The names that workers give to Pending states.
_TAKEN = {f"prefect.flow-run.{name}" for name in ("Pending", "Submitting", "InfrastructurePending")}
_RUNS = "prefect.flow-run.*"
_ANY_RUN = ResourceSpecification({"prefect.resource.id": _RUNS})
_ANYTHING = ResourceSpecification({})
# A subflow has no deployment; it is run again by its parent.
_OF_DEPLOYMENTS = ResourceSpecification(
    {"prefect.resource.id": "prefect.deployment.*", "prefect.resource.role": "deployment"}
)
_CHAIN = (
    (CAPTIONS_REGISTERED, "curate", ("config",), "what was registered"),
    (DATASET_CURATED, "finetune", ("dataset", "config", "label"), "on what was curated"),
    (MODEL_FINETUNED, "evaluate", ("models", "config"), "what was fine-tuned"),
)


def list_automations(profiles: Iterable[str]) -> list[AutomationCore]:
    """The automations of this project, for the server that it talks to.

    Args:
        profiles: Names of deployments whose flows follow each other.

    Raises:
        LookupError: If a deployment is not there.
    """
    automations = [*settle_silent_runs(), retry_once()]
    automations += [
        follow(event, flow, parameters, purpose, profile)
        for profile in profiles
        for event, flow, parameters, purpose in _CHAIN
    ]
    block = find_notification_block()
    if block is not None:
        automations.append(announce_failures(block))
    return automations


def register_automations(profiles: Iterable[str] = ("pocket", "paper")) -> list[str]:
    """Bring the server's automations to what this file says, each by its name.

    One that a person has switched off stays off. One that is as it should be is not touched: an
    update makes the server forget of what it awaits news, and a dead run would live for ever.

    Returns:
        Their names.
    """
    automations = list_automations(profiles)
    with get_client(sync_client=True) as client:
        for automation in automations:
            known = client.read_automations_by_name(automation.name)
            if known:
                automation.enabled = known[0].enabled
                fields = set(AutomationCore.model_fields)
                if AutomationCore(**known[0].model_dump(include=fields)) != automation:
                    client.update_automation(known[0].id, automation)
            else:
                client.create_automation(automation)
    return [automation.name for automation in automations]


def settle_silent_runs() -> list[AutomationCore]:
    """Runs whose process is gone would be Running, Pending or Cancelling for ever."""
    return [
        _when_silent(
            "crash silent runs",
            f"A run without a heartbeat for {SILENT_FOR} is dead.",
            after={_HEARTBEAT},
            expect={_HEARTBEAT, *_ENDED},
            within=SILENT_FOR,
            action=ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                force=False,
                message=f"Its process is gone: no heartbeat for {SILENT_FOR}.",
            ),
        ),
        _when_silent(
            "reschedule lost runs",
            f"A worker took a run and did not start it within {NOT_STARTED_FOR}.",
            after=_TAKEN,
            expect={"prefect.flow-run.Running", "prefect.flow-run.AwaitingRetry", *_ENDED},
            within=NOT_STARTED_FOR,
            action=ChangeFlowRunState(
                state=StateType.SCHEDULED,
                name="Rescheduled",
                force=False,
                message=f"The worker that took it did not start it within {NOT_STARTED_FOR}.",
            ),
        ),
        _when_silent(
            "finish cancelling",
            f"Nobody answered a cancellation for {SILENT_FOR}.",
            after={"prefect.flow-run.Cancelling"},
            expect=_ENDED,
            within=SILENT_FOR,
            action=ChangeFlowRunState(
                state=StateType.CANCELLED,
                name="Cancelled",
                message=f"Its process did not answer for {SILENT_FOR}; it is gone.",
                force=True,
            ),
        ),
    ]


def _when_silent(
    name: str,
    description: str,
    after: set[str],
    expect: set[str],
    within: timedelta,
    action: ChangeFlowRunState,
    match: ResourceSpecification = _ANY_RUN,
    match_related: ResourceSpecification = _ANYTHING,
) -> AutomationCore:
    """What is done of a run if no event of `expect` follows one of `after` within a time."""
    return AutomationCore(
        name=f"tokencompose: {name}",
        description=description,
        trigger=EventTrigger(
            after=after,
            expect=expect,
            match=match,
            match_related=match_related,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=within,
        ),
        actions=[action],
    )


def retry_once() -> AutomationCore:
    """A run that failed or crashed the first time goes on from what is stored.

    Not at once: of a killed process both its runner and the worker say that it crashed, some
    seconds apart, and the second would undo what is done about the first.
    """
    return _when_silent(
        "retry once",
        "A deployment's run that failed or crashed is run once more.",
        after=_UNHAPPY,
        expect={"prefect.flow-run.AwaitingRetry"},
        within=RETRIED_AFTER,
        action=ChangeFlowRunState(
            state=StateType.SCHEDULED,
            name="AwaitingRetry",
            force=False,
            message="Run again, once; what is stored is not computed again.",
        ),
        match=ResourceSpecification({"prefect.resource.id": _RUNS, "prefect.run-count": "1"}),
        match_related=_OF_DEPLOYMENTS,
    )


def announce_failures(block: UUID) -> AutomationCore:
    """A run that failed again is told to people.

    Args:
        block: A notification block.
    """
    return AutomationCore(
        name="tokencompose: announce failures",
        description="Who failed or crashed and is not run again is announced.",
        trigger=EventTrigger(
            expect=_UNHAPPY,
            match=ResourceSpecification(
                {"prefect.resource.id": _RUNS, "prefect.run-count": ["0", "[2-9]*", "1?*"]}
            ),
            match_related=_OF_DEPLOYMENTS,
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[
            SendNotification(
                block_document_id=block,
                subject="{{ flow.name }}: {{ flow_run.name }} {{ flow_run.state.name }}",
                body="{{ flow_run.state.message }}\n{{ flow_run|ui_url }}",
            )
        ],
    )


def follow(
    event: str, flow: str, parameters: Iterable[str], purpose: str, profile: str
) -> AutomationCore:
    """An event starts a flow with the parameters that it carries."""
    return AutomationCore(
        name=f"tokencompose: {flow} {purpose} ({profile})",
        description=f"{event} starts {flow}/{profile}. Switch it off to start it by hand.",
        trigger=EventTrigger(
            expect={event},
            match={"profile": profile},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[
            RunDeployment(
                source="selected",
                deployment_id=_deployment_id(f"{flow}/{profile}"),
                job_variables=None,
                parameters={name: f"{{{{ event.payload.{name} }}}}" for name in parameters},
            )
        ],
    )


def find_notification_block() -> UUID | None:
    """The block that failures are announced with, if someone has made one."""
    with get_client(sync_client=True) as client:
        name = BlockDocumentFilter.model_validate({"name": {"any_": [NOTIFICATION_BLOCK]}})
        found = client.request(
            "POST",
            "/block_documents/filter",
            json={"block_documents": name.model_dump(mode="json", exclude_unset=True)},
        )
        documents: list[dict[str, Any]] = found.json()
    able = [d for d in documents if "notify" in d["block_schema"]["capabilities"]]
    return UUID(able[0]["id"]) if able else None


def _deployment_id(name: str) -> UUID:
    with get_client(sync_client=True) as client:
        try:
            return client.read_deployment_by_name(name).id
        except ObjectNotFound as error:
            raise LookupError(
                f"there is no deployment {name}; run `make deploy`, or `make serve`, which does"
            ) from error
