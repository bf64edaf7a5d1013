"""A caption set is announced once, what is announced starts the next flow, sets are run again."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.filters import EventFilter
from prefect.utilities.callables import parameter_schema

from data_schemas.configs.backfill_config import BackfillConfig
from data_schemas.configs.curate_config import CurateConfig
from data_schemas.configs.finetune_config import FinetuneConfig
from flows.automations import list_automations, register_automations, retry_once
from flows.backfill import backfill
from flows.curate import curate
from flows.evaluate import evaluate
from flows.finetune import finetune
from flows.plan import plan
from flows.register_captions import register_captions
from tasks.announce import announce_dataset, announce_model
from tasks.stage import Input
from tests.flows.conftest import DrawnSet
from tests.local_servers import wait_until

pytestmark = pytest.mark.usefixtures("prefect_server")

_SECONDS = 180


@pytest.fixture(scope="module")
def server(prefect_server: None) -> Iterator[SyncPrefectClient]:
    """A client of a server with the deployments that the automations start."""
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="cpu", type="process"), overwrite=True)
        for flow in (curate, finetune, evaluate):
            client.create_deployment(
                client.create_flow(flow),
                "pocket",
                work_pool_name="cpu",
                parameters={"config": {"profile": "pocket"}},
                parameter_openapi_schema=parameter_schema(flow.fn).model_dump_for_openapi(),
                enforce_parameter_schema=True,
            )
        yield client


def runs_of(client: SyncPrefectClient, flow: str, wanted: int) -> list[Any]:
    """Runs of a deployment, once there are as many as wanted; more come at once, if ever."""
    deployment = client.read_deployment_by_name(f"{flow}/pocket")
    end = time.monotonic() + _SECONDS
    while True:
        found = [r for r in client.read_flow_runs() if r.deployment_id == deployment.id]
        if len(found) >= wanted or time.monotonic() > end:
            return found
        time.sleep(0.2)


def count_events(client: SyncPrefectClient, subject: str) -> int:
    answer = client.request(
        "POST",
        "/events/filter",
        json={
            "filter": EventFilter.model_validate(
                {"event": {"name": ["tokencompose.captions.registered"]}}
            ).model_dump(mode="json", exclude_unset=True)
        },
    )
    return sum(e["payload"]["subject"] == subject for e in answer.json()["events"])


def test_a_set_is_announced_once_and_curate_gets_it(
    server: SyncPrefectClient, drawn: DrawnSet
) -> None:
    register_automations(["pocket"])
    before = {run.id for run in runs_of(server, "curate", 0)}
    config = drawn.config()
    first = register_captions(config)
    assert first.is_new
    assert first.num_images == len(drawn.rows)
    runs = [r for r in runs_of(server, "curate", len(before) + 1) if r.id not in before]
    assert len(runs) == 1
    assert CurateConfig.model_validate(runs[0].parameters["config"]) == config

    again = register_captions(config)
    assert not again.is_new
    assert again.key == first.key

    drawn.rows[0]["caption"].append("a cat on a chair.")
    drawn.rows.pop()
    grown = register_captions(drawn.config())
    assert grown.is_new
    assert grown.changes == {"added": 0, "changed": 1, "removed": 1}
    # Two events, two runs: the known set started none.
    assert len(runs_of(server, "curate", len(before) + 2)) == len(before) + 2
    # The server writes events some seconds after its automations have seen them.
    wait_until(lambda: count_events(server, "drawn") >= 2, 180, "the events")
    assert count_events(server, "drawn") == 2


def test_automations_that_are_as_they_should_be_are_not_touched(server: SyncPrefectClient) -> None:
    def read() -> dict[str, tuple[str, str]]:
        found = server.request("POST", "/automations/filter", json={}).json()
        return {one["name"]: (one["updated"], one["description"]) for one in found}

    register_automations(["pocket"])
    before = read()
    other = retry_once()
    other.description = "As a release before had it."
    server.update_automation(server.read_automations_by_name(other.name)[0].id, other)
    register_automations(["pocket"])
    after = read()
    assert after.keys() == before.keys()
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"tokencompose: retry once"}
    assert after["tokencompose: retry once"][1] == before["tokencompose: retry once"][1]


def test_what_a_run_made_is_handed_to_the_next_flow(server: SyncPrefectClient) -> None:
    from prefect import flow

    register_automations(["pocket"])

    @flow
    def announcing(parent: bool) -> None:
        announce_dataset("dataset-v1-0", "mine", "pocket")

    @flow
    def larger() -> None:
        announcing(parent=True)

    before = len(runs_of(server, "finetune", 0))
    larger()
    announcing(parent=False)
    runs = runs_of(server, "finetune", before + 1)
    # A part of a larger flow is not announced: that flow trains by itself.
    assert len(runs) == before + 1
    parameters = {"dataset": "dataset-v1-0", "config": {"profile": "pocket"}, "label": "mine"}
    assert runs[0].parameters == parameters


def test_what_follows_a_profile_of_ones_own_is_what_follows_its_base(
    server: SyncPrefectClient, drawn: DrawnSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect import flow

    register_automations(["pocket"])
    path = tmp_path / "photos.toml"
    path.write_text('base = "pocket"\n[curate.mask]\nbox_threshold = 0.31\n')
    monkeypatch.chdir(tmp_path)
    config = drawn.config(profile="photos.toml")
    # A worker may run in another folder.
    wanted = config.model_dump(mode="json") | {"profile": str(path)}

    @flow
    def announcing() -> None:
        announce_dataset("dataset-v1-1", "mine", "photos.toml")

    def news(flow: str, known: list[Any]) -> list[dict[str, Any]]:
        ids = {run.id for run in known}
        found = runs_of(server, flow, len(known) + 1)
        return [run.parameters for run in found if run.id not in ids]

    curated, trained = runs_of(server, "curate", 0), runs_of(server, "finetune", 0)
    assert register_captions(config).is_new
    assert news("curate", curated) == [{"config": wanted}]
    announcing()
    parameters = {"dataset": "dataset-v1-1", "config": {"profile": str(path)}, "label": "mine"}
    assert news("finetune", trained) == [parameters]

    started = backfill(BackfillConfig.model_validate({"profile": "photos.toml"}))
    run = server.read_flow_run(started[0].flow_run_id)
    assert run.deployment_id == server.read_deployment_by_name("curate/pocket").id
    assert run.parameters == {"config": wanted}


def test_a_profile_that_is_removed_while_a_run_goes_on_costs_what_would_follow_only(
    server: SyncPrefectClient,
) -> None:
    from prefect import flow

    @flow
    def announcing() -> None:
        announce_dataset("dataset-v1-2", "mine", "gone.toml")

    announcing()


@pytest.mark.parametrize(("label", "other"), [("mine", "base"), ("base", "before")])
def test_a_model_and_the_one_it_was_made_from_have_two_labels(
    server: SyncPrefectClient, label: str, other: str
) -> None:
    from prefect import flow

    register_automations(["pocket"])

    @flow
    def announcing() -> None:
        model = Input(key="finetune-v3-00", digest="0", name="model")
        announce_model(model, label, FinetuneConfig.load())

    known = {run.id for run in runs_of(server, "evaluate", 0)}
    announcing()
    runs = [r for r in runs_of(server, "evaluate", len(known) + 1) if r.id not in known]
    assert [model["label"] for model in runs[0].parameters["models"]] == [other, label]


def test_a_plan_announces_nothing(server: SyncPrefectClient, drawn: DrawnSet) -> None:
    before = len(runs_of(server, "finetune", 0))
    plan(drawn.config())
    assert len(runs_of(server, "finetune", before)) == before


def test_automations_are_made_once_and_stay_switched_off(server: SyncPrefectClient) -> None:
    names = register_automations(["pocket"])
    switched = server.read_automations_by_name(names[-1])[0]
    server.pause_automation(switched.id)
    assert register_automations(["pocket"]) == names
    for name in names:
        known = server.read_automations_by_name(name)
        assert len(known) == 1
        assert known[0].enabled == (name != names[-1])
    server.resume_automation(switched.id)


def test_automations_need_their_deployments(server: SyncPrefectClient) -> None:
    with pytest.raises(LookupError, match="there is no deployment curate/paper; run `make deploy`"):
        list_automations(["paper"])


def test_backfill_runs_registered_sets_with_changes(
    server: SyncPrefectClient, drawn: DrawnSet
) -> None:
    register_captions(drawn.config())
    changes: dict[str, Any] = {"mask": {"box_threshold": 0.4}}
    started = backfill(BackfillConfig.model_validate({"changes": changes}))
    assert [run.caption_set for run in started] == ["drawn"]
    run = server.read_flow_run(started[0].flow_run_id)
    assert run.deployment_id == server.read_deployment_by_name("curate/pocket").id
    assert CurateConfig.model_validate(run.parameters["config"]) == drawn.config(**changes)


def test_backfill_checks_all_configs_before_a_run_starts(
    server: SyncPrefectClient, drawn: DrawnSet
) -> None:
    register_captions(drawn.config())
    with pytest.raises(ValueError, match="box_treshold"):
        backfill(BackfillConfig.model_validate({"changes": {"mask": {"box_treshold": 0.4}}}))
    curated = runs_of(server, "curate", 0)
    assert not any("box_treshold" in str(run.parameters) for run in curated)


def test_a_set_without_a_usable_image_is_not_registered(
    server: SyncPrefectClient, drawn: DrawnSet, store_dir: Path
) -> None:
    for row in drawn.rows:
        row["img_path"] = "gone.jpg"
    with pytest.raises((ValueError, RuntimeError), match=r"drawn|rejected"):
        register_captions(drawn.config())
    assert not list(store_dir.glob("register-*"))
