"""What nothing refers to is found, and nothing else."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokencompose_core.store.hand_made_store import (
    NOW,
    entries_of,
    key_of,
    publish,
    publish_chain,
    start_notes,
)
from tokencompose_core.store.broken_lineage import find_broken_lineage
from tokencompose_core.store.content_store import MANIFEST_NAME, Store
from tokencompose_core.store.survey import Condition, Entry, look_at
from tokencompose_core.store.unreferenced import Choice, Why, choose, last_used
from tokencompose_core.store.uses import first_recorded, forget_uses, last_uses, record_use


def chosen(store: Store, days: int = 30, **pinned) -> Choice:
    entries = entries_of(store)
    age = timedelta(days=days)
    uses = last_uses(store, (NOW - age).date())
    used = last_used(entries.values(), uses, first_recorded(store))
    return choose(entries, used, now=NOW, older_than=age, **pinned)


def test_old_goes_unless_something_young_was_made_from_it(store):
    start_notes(store)
    caption, mask = publish_chain(store, "a", "b")
    publish(store, "young", days=3, inputs={mask.key: mask.digest, "source": "0"})
    stale = publish(store, "stale", inputs={caption.key: caption.digest})
    choice = chosen(store)
    assert choice.to_remove == [stale.key]
    assert choice.why[caption.key] is Why.NEEDED
    assert choice.why[key_of("young")] is Why.YOUNG


def test_what_a_run_asked_for_is_kept_with_its_inputs(store):
    start_notes(store)
    first, second, third = publish_chain(store, "a", "b", "c")
    record_use(store, [second.key, key_of("not there")], NOW.date() - timedelta(days=30))
    assert chosen(store).to_remove == [third.key]
    assert chosen(store, days=29).to_remove == [third.key, second.key, first.key]


def test_models_and_single_keys_are_pinned_with_what_they_were_made_from(store):
    start_notes(store)
    (shard,) = publish_chain(store, "shard")
    publish(store, "model", stage="finetune", inputs={shard.key: shard.digest})
    publish(store, "other")
    assert chosen(store, keep_stages=("finetune",)).to_remove == [key_of("other")]
    assert set(chosen(store, keep=(shard.key,)).to_remove) == {
        key_of("model", "finetune"),
        key_of("other"),
    }


def test_nothing_goes_before_uses_have_been_noted_for_as_long_as_the_age(store):
    publish(store, "old", days=1000)
    assert chosen(store).to_remove == []
    record_use(store, [], NOW.date() - timedelta(days=20))
    assert chosen(store).to_remove == []
    assert chosen(store, days=10).to_remove == [key_of("old")]


def test_entry_that_does_not_say_when_it_was_made_is_as_old_as_its_manifest(store):
    start_notes(store)
    store.publish(key_of("x"), "mask", lambda folder: {})
    (entry,) = entries_of(store).values()
    assert datetime.now(UTC) - entry.made < timedelta(minutes=5)


@pytest.mark.parametrize("damage", ["delete", "truncate", "manifest", "no manifest", "other key"])
def test_broken_entries_are_told_apart_and_go_after_a_day(store, damage):
    start_notes(store)
    first, second = publish_chain(store, "a", "b", days=5)
    folder = f"{store.root}/{first.key}"
    match damage:
        case "delete":
            store.filesystem.rm_file(f"{folder}/a.txt")
        case "truncate":
            store.filesystem.pipe_file(f"{folder}/model/b.bin", b"")
        case "manifest":
            store.filesystem.pipe_file(f"{folder}/{MANIFEST_NAME}", b"{")
        case "no manifest":
            store.filesystem.rm_file(f"{folder}/{MANIFEST_NAME}")
        case "other key":
            store.filesystem.pipe_file(
                f"{folder}/{MANIFEST_NAME}", second.model_dump_json().encode()
            )
    found = look_at(store, first.key)
    expected = {
        "delete": (Condition.DAMAGED, "a.txt is missing"),
        "truncate": (Condition.DAMAGED, "model/b.bin has 0 bytes, not 1"),
        "no manifest": (Condition.INCOMPLETE, "it has no manifest.json"),
        "other key": (Condition.UNREADABLE, f"manifest.json is that of {second.key}"),
    }
    if damage == "manifest":
        assert found.condition is Condition.UNREADABLE
    else:
        assert (found.condition, found.problem) == expected[damage]
    choice = chosen(store)
    # A manifest that tells no age leaves that of the files, which were written just now.
    known = found.condition is Condition.DAMAGED
    assert choice.to_remove == ([first.key] if known else [])
    record_use(store, [first.key], NOW.date())
    assert chosen(store).to_remove == []


def test_flipped_byte_is_seen_by_digests_only(store):
    manifest = publish(store, "a")
    path = f"{store.root}/{manifest.key}/a.txt"
    content = store.filesystem.cat_file(path)
    store.filesystem.pipe_file(path, bytes([content[0] ^ 1]) + content[1:])
    assert look_at(store, manifest.key).condition is Condition.WHOLE
    found = look_at(store, manifest.key, "digest")
    assert found.problem == "a.txt has another content than when it was written"


def test_lineage_with_a_gap_or_another_input_is_reported(store):
    first, second, third = publish_chain(store, "a", "b", "c")
    model = publish(store, "m", inputs={second.key: second.file("a.txt").sha256, "rows": "1"})
    entries = entries_of(store)
    assert find_broken_lineage(entries) == {}
    del entries[first.key]
    assert find_broken_lineage(entries) == {second.key: f"its input {first.key} is not there"}
    publish(store, "late", inputs={third.key: "0", first.key: first.digest, key_of("no"): "1"})
    assert find_broken_lineage(entries_of(store)) == {
        key_of("late"): f"its input {key_of('no')} is not there;"
        f" its input {third.key} is another than it was made from"
    }
    assert model.key in entries


def test_names_that_are_no_keys_are_no_entries(store):
    publish(store, "a")
    for name in ("unfinished/mask-v1-0/x", "logs/y", "model-v1/z", "used/2026-01-01/k.json"):
        path = f"{store.root}/{name}"
        store.filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
        store.filesystem.pipe_file(path, b"x")
    assert list(entries_of(store)) == [key_of("a")]


def test_store_that_is_not_there_is_empty(tmp_path: Path):
    assert chosen(Store(str(tmp_path / "no"))).to_remove == []


def test_notes_of_a_day_are_one_file_and_old_ones_go(store):
    day = NOW.date()
    for keys in (["x", "y"], ["y", "x"], ["z"]):
        record_use(store, keys, day)
    record_use(store, ["w"], day - timedelta(days=9))
    assert len(store.filesystem.ls(f"{store.root}/used/{day}", detail=False)) == 2
    assert last_uses(store, day).keys() == {"x", "y", "z"}
    forget_uses(store, day)
    assert last_uses(store, day - timedelta(days=99)).keys() == {"x", "y", "z"}
    assert first_recorded(store) == day


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Entry]:
    """Entries whose inputs came before them, some of which are gone."""
    ages = draw(st.lists(st.integers(0, 60), min_size=1, max_size=12))
    entries: dict[str, Entry] = {}
    names = [key_of(str(number)) for number in range(len(ages))]
    for number, age in enumerate(ages):
        inputs = draw(st.sets(st.sampled_from(names[:number]))) if number else set()
        condition = draw(st.sampled_from([Condition.WHOLE] * 4 + [Condition.DAMAGED]))
        made = NOW - timedelta(days=age)
        entries[names[number]] = Entry(
            names[number], condition, made=made, inputs=dict.fromkeys(inputs, "0")
        )
    for name in draw(st.sets(st.sampled_from(names), max_size=2)):
        entries.pop(name)
    return entries


@given(graphs(), st.integers(1, 60))
def test_rule_on_any_graph(entries: dict[str, Entry], days: int):
    """A slow statement of the rule; and wherever a removal stops, no lineage has a new gap."""
    age = timedelta(days=days)
    used = {key: entry.made for key, entry in entries.items()}
    choice = choose(entries, used, now=NOW, older_than=age)

    def is_needed(key: str) -> bool:
        users = [name for name, entry in entries.items() if key in entry.inputs]
        return used[key] > NOW - age or any(map(is_needed, users))

    for key, entry in entries.items():
        broken = entry.condition is not Condition.WHOLE
        goes = (broken and used[key] < NOW - timedelta(days=1)) or not is_needed(key)
        assert (key in choice.to_remove) == goes
    left = dict(entries)
    for key in choice.to_remove:
        users = [name for name, entry in left.items() if key in entry.inputs]
        assert not users or choice.why[key] is Why.BROKEN
        del left[key]
