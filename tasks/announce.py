"""Events that start the next flow, see `flows/automations.py`."""

from typing import Any

from prefect.client.orchestration import get_client
from prefect.events import Event, RelatedResource, Resource
from prefect.runtime import flow_run

from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.profiles import absolute_profile, builtin_profile
from tasks.stage import PLANNER, Input

CAPTIONS_REGISTERED = "tokencompose.captions.registered"
DATASET_CURATED = "tokencompose.dataset.curated"
MODEL_FINETUNED = "tokencompose.model.finetuned"


def announce(event: str, subject: str, profile: str, parameters: dict[str, Any]) -> None:
    """Tell the server what was made, so that the next flow may start.

    Part of a larger flow is not announced, since that flow goes on by itself; nor is a plan.

    Args:
        event: One of this file's.
        subject: What was made.
        profile: Profile of the run. The one that comes with the project and that it goes back to
            decides whose flows follow; none do after a file without a base.
        parameters: Parameters of the flow that may follow, fit for JSON.

    Raises:
        httpx.HTTPError: If the server did not take it.
    """
    if PLANNER.get() is not None or flow_run.parent_flow_run_id is not None:
        return
    try:
        followed = builtin_profile(profile) or profile
    except ValueError:
        # The file is gone since the run began. What it made is there, and nothing can follow.
        followed = profile
    made = Event(
        event=event,
        resource=Resource({"prefect.resource.id": f"{event}.{subject}", "profile": followed}),
        related=[
            RelatedResource(
                {
                    "prefect.resource.id": f"prefect.flow-run.{flow_run.id}",
                    "prefect.resource.role": "flow-run",
                    "prefect.resource.name": str(flow_run.name),
                }
            )
        ],
        payload={"subject": subject, **parameters},
    )
    # Not `emit_event`, which leaves it to a thread whether and when the server gets it.
    with get_client(sync_client=True) as client:
        client.request("POST", "/events", json=[made.model_dump(mode="json")]).raise_for_status()


def announce_dataset(dataset: str, caption_set: str, profile: str) -> None:
    """Tell the server that a data set waits for `finetune`.

    Args:
        dataset: Its key in the store.
        caption_set: What the model will be called.
        profile: Profile that it was made with.
    """
    config = {"profile": absolute_profile(profile)}
    parameters = {"dataset": dataset, "config": config, "label": caption_set}
    announce(DATASET_CURATED, dataset, profile, parameters)


def label_before(label: str) -> str:
    """What the model is called that one was made from: an evaluation wants a label for each."""
    return "before" if label == "base" else "base"


def announce_model(model: Input, label: str, config: FinetuneConfig) -> None:
    """Tell the server that a model waits for `evaluate`, beside the one that it was made from."""
    base = {
        "label": label_before(label),
        "name": config.base_model,
        "revision": config.base_revision,
    }
    parameters = {
        "models": [base, {"label": label, "stored": model.key}],
        "config": {"profile": absolute_profile(config.profile)},
    }
    announce(MODEL_FINETUNED, model.key, config.profile, parameters)
