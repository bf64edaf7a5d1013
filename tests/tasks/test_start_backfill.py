"""Which registered sets a backfill takes; those that cannot be used cost their own sets only."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from pydantic import ValidationError

from data_schemas.configs.backfill_config import BackfillConfig
from data_schemas.configs.curate_config import CurateConfig
from data_schemas.manifest import Manifest
from tasks.start_backfill import StartedRun, backfill_card, choose_registered, read_configs
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.keys import make_key


def registration(name: str, day: int, profile: str = "pocket") -> Manifest:
    created = datetime(2026, 3, day, 12, tzinfo=UTC).isoformat()
    return Manifest(
        stage="register",
        key=f"register-v1-{name}-{day}",
        digest="0" * 64,
        files=(),
        parts={"caption_set": name, "profile": profile},
        provenance={"created": created},
    )


REGISTERED = [
    registration("news-a", 1),
    registration("news-b", 2),
    registration("ads", 3),
    registration("news-a", 4),
    registration("news-c", 5, profile="paper"),
]


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ({}, ["news-a-4", "news-b-2", "ads-3"]),
        ({"caption_sets": "news-*"}, ["news-a-4", "news-b-2"]),
        ({"until": "2026-03-02"}, ["news-a-1", "news-b-2"]),
        ({"since": "2026-03-03", "until": "2026-03-03"}, ["ads-3"]),
        ({"profile": "paper"}, ["news-c-5"]),
    ],
)
def test_backfill_takes_the_newest_registration_of_each_set(
    choice: dict[str, str], wanted: list[str]
) -> None:
    chosen = choose_registered(REGISTERED, BackfillConfig.model_validate(choice))
    assert [m.key.removeprefix("register-v1-") for m in chosen] == wanted


def test_backfill_says_which_sets_there_are() -> None:
    with pytest.raises(ValueError, match=r"there are: ads \(pocket\), news-a \(pocket\)"):
        choose_registered(REGISTERED, BackfillConfig.model_validate({"caption_sets": "new"}))


def register(store: Store, name: str, **fields: str) -> Manifest:
    """A registration as an earlier version wrote it, with fields that there are no more."""
    written = CurateConfig.load(caption_set=name).model_dump(mode="json") | fields

    def write(folder):
        (folder / "captions.json").write_text(json.dumps(written))
        return {"num_out": 1}

    parts = {"caption_set": name, "profile": "pocket"}
    return store.publish(make_key("register", 1, parts), "register", write, parts=parts)


@pytest.fixture
def store(store_dir):
    return Store(str(store_dir))


def test_damaged_and_outdated_registrations_are_left_out_and_the_others_start(store, store_dir):
    good, gone, cut, old = (
        register(store, "good"),
        register(store, "gone"),
        register(store, "cut"),
        register(store, "old", colour="blue"),
    )
    (store_dir / gone.key / "captions.json").unlink()
    (store_dir / cut.key / "captions.json").write_text("{")
    changes = {"mask": {"box_threshold": 0.4}}
    configs, left_out = read_configs(store, [gone, good, cut, old], changes)
    assert configs == {good.key: CurateConfig.load(caption_set="good", **changes)}
    assert left_out.keys() == {gone.key, cut.key, old.key}
    assert left_out[gone.key] == left_out[cut.key] == "it is damaged; register the set again"
    assert "colour: Extra inputs are not permitted" in left_out[old.key]

    with pytest.raises(
        ValueError, match=r"no registration can be used: gone .*damaged; .*; old .*colour"
    ):
        read_configs(store, [gone, old], changes)


def test_a_wrong_change_starts_none(store):
    sets = [register(store, "good"), register(store, "old", colour="blue")]
    with pytest.raises(ValidationError, match="box_treshold"):
        read_configs(store, sets, {"mask": {"box_treshold": 0.4}})


def test_card_names_what_is_left_out():
    run = StartedRun(
        caption_set="good", registered="register-v1-0", flow_run_id=UUID(int=7), flow_run_name="a|b"
    )
    card = backfill_card([run], [("<old>", "register-v1-1", "it has other settings")])
    assert "| good | `register-v1-0` | [a\\|b](/runs/flow-run/" in card
    assert "| &lt;old&gt; | `register-v1-1` | it has other settings |" in card
    assert "Left out" not in backfill_card([run], [])
