"""What a flow would compute, and why, before it does."""

from prefect import flow

from data_schemas.configs.curate_config import CurateConfig
from flows.curate import curate
from tasks.planning import StagePlan, planning
from tasks.publish_plan import publish_plan
from tasks.task_runner import TASK_RUNNER

POCKET = CurateConfig.load("pocket")


@flow(
    name="plan",
    flow_run_name="plan {config.caption_set} ({config.profile})",
    task_runner=TASK_RUNNER,
)
def plan(config: CurateConfig = POCKET) -> list[StagePlan]:
    """Say what `curate` would compute of a caption set, and why; no model is loaded.

    Returns:
        The stages after the selection, with what is there and what would be computed. If a stage
        has left out more samples than it may, that one is the last.
    """
    with planning() as stages:
        curate.fn(config)
    return publish_plan(stages, config.caption_set)
