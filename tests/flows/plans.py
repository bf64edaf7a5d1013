"""What plans say, beside what is computed."""

from data_schemas.configs.curate_config import CurateConfig
from flows.curate import curate
from flows.plan import plan
from tasks.planning import Reason
from tests.flows.conftest import Run, run_flow

STAGES = ["rank", "parse", "mask", "shard", "dataset"]


def reasons(run: Run) -> dict[str, list[str]]:
    return {stage.stage: [reason.why for reason in stage.reasons] for stage in run.result}


def only(run: Run, stage: str) -> Reason:
    """The one reason of a stage."""
    (found,) = (one for one in run.result if one.stage == stage)
    (reason,) = found.reasons
    return reason


def check_plan(run: Run) -> None:
    """No model was called or built, and every stage is in the plan."""
    assert run.calls == {}
    assert run.built == 0
    assert [stage.stage for stage in run.result] == STAGES


def images(run: Run) -> dict[str, int]:
    return {stage.stage: sum(reason.images for reason in stage.reasons) for stage in run.result}


def plan_and_run(config: CurateConfig) -> Run:
    """Plan, then compute, and see that what was planned is what went through the models."""
    planned = run_flow(plan, config)
    check_plan(planned)
    computed = run_flow(curate, config)
    for stage in planned.result:
        states = computed.states[stage.stage]
        assert states["Completed"] == sum(reason.outputs for reason in stage.reasons), stage
        assert states["Cached"] + states["Reused"] == stage.stored, stage
    for stage, model in (("rank", "clip"), ("parse", "tagger"), ("mask", "grounding_dino")):
        assert computed.calls[model] == images(planned)[stage]
    return planned
