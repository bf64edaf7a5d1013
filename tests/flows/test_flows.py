"""Deployments, and parameters that must be refused."""

import asyncio
import importlib
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.flows import Flow

from data_schemas.configs.curate_config import CurateConfig
from flows.curate import curate
from flows.evaluate import evaluate
from flows.finetune import finetune
from tasks.model_under_test import ModelUnderTest
from tests.conftest import ROOT

DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]

pytestmark = pytest.mark.usefixtures("prefect_server")


def load(entrypoint: str) -> Flow:
    path, _, name = entrypoint.partition(":")
    return getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: f"{d['entrypoint']}/{d['name']}")
def test_deployments_name_flows_and_parameters_that_exist(deployment):
    flow = load(deployment["entrypoint"])
    parameters = dict(deployment.get("parameters", {}))
    if flow.name == "finetune":
        parameters["dataset"] = "dataset-v1-0"
    if flow.name == "compare":
        parameters["b"] = {"label": "own", "name": "pocket:stable_diffusion"}
    if flow.name == "lineage":
        parameters["config"] = {"key": "dataset-v1-0"}
    if flow.name == "inspect":
        parameters["sample"] = "a cat"
    config = flow.validate_parameters(parameters).get("config")
    if hasattr(config, "profile"):
        assert config.profile == deployment["name"]
    assert deployment["description"]


def test_every_flow_and_profile_has_a_deployment():
    deployed = {(load(d["entrypoint"]).name, d["name"]) for d in DEPLOYMENTS}
    flows = ("curate", "plan", "finetune", "evaluate", "compare", "ablate", "reproduce")
    own = {
        (flow, profile) for flow in (*flows, "retry-rejected") for profile in ("pocket", "paper")
    }
    assert own | {(flow, "default") for flow in ("gc", "verify", "lineage")} <= deployed


def test_server_refuses_a_misspelt_parameter_before_a_run_starts():
    async def create() -> None:
        async with get_client() as client:
            flow_id = await client.create_flow(curate)
            schema = curate.__class__.validate_parameters and load("flows/curate.py:curate")
            from prefect.utilities.callables import parameter_schema

            deployment_id = await client.create_deployment(
                flow_id,
                "strict",
                parameter_openapi_schema=parameter_schema(schema.fn).model_dump_for_openapi(),
                enforce_parameter_schema=True,
            )
            await client.create_flow_run_from_deployment(
                deployment_id, parameters={"config": {"profile": "pocket"}}
            )
            with pytest.raises(PrefectHTTPStatusError, match="box_treshold"):
                await client.create_flow_run_from_deployment(
                    deployment_id, parameters={"config": {"mask": {"box_treshold": 0.3}}}
                )

    asyncio.run(create())


def test_flow_refuses_a_misspelt_parameter_by_name():
    with pytest.raises(Exception, match="box_treshold"):
        curate({"mask": {"box_treshold": 0.3}})


def test_missing_checkpoint_says_which_where_and_whence(store_dir: Path):
    config = CurateConfig.load(
        source={"kind": "pocket", "seed": 1, "num_images": 24, "num_damaged": 0},
        mask={"segmenter_checkpoint": "checkpoints/sam_hq_vit_h.pth"},
    )
    with pytest.raises(FileNotFoundError) as caught:
        curate(config)
    message = str(caught.value)
    assert "sam_hq_vit_h.pth" in message
    assert str(Path("checkpoints").absolute()) in message
    assert "get it from https://" in message


def test_missing_source_says_which_file(store_dir: Path):
    source = {
        "kind": "vsr_coco",
        "vsr_path": "no.jsonl",
        "captions_paths": ["c"],
        "images_dir": "i",
    }
    with pytest.raises(FileNotFoundError, match=r"no\.jsonl"):
        curate(CurateConfig.load(source=source))


def test_unknown_data_set_is_refused_with_the_way_to_get_one(store_dir: Path):
    with pytest.raises(ValueError, match="no data set 'dataset-v1-nowhere'"):
        finetune("dataset-v1-nowhere")


def test_missing_prompt_file_is_named_before_a_model_loads(store_dir: Path):
    from data_schemas.configs.evaluate_config import EvaluateConfig

    config = EvaluateConfig.load(
        multigen={"pocket": {"prompts": {"kind": "file", "path": "nowhere.json"}}}
    )
    with pytest.raises(
        ValueError,
        match=r"evaluate\.multigen\.pocket\.prompts\.path: there is no file nowhere\.json",
    ):
        evaluate([ModelUnderTest(label="base", name="pocket:stable_diffusion")], config)
