"""What became of a sample, and what changed between two runs, of a set damaged on purpose."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from data_schemas.manifest import Manifest
from data_schemas.records import NounPhrase, ParsedCaption
from data_schemas.rejections import Rejection
from flows.changes import changes
from flows.curate import curate
from flows.finetune import finetune
from flows.inspect_sample import inspect_sample
from flows.print_results import print_inspection
from tasks.curated_sets import find_curated, open_dataset, outputs_of
from tasks.opened_store import open_store
from tasks.publish_changes import SetChanges
from tasks.sample_lines import sample_lines
from tests.flows.conftest import Base, DrawnSet
from tests.shown_markdown import shown
from tokencompose_core.reports.sample_story import SampleStory

HOSTILE = "900 | <img src=x onerror=alert(1)> [day](javascript:1).jpg"


@dataclass(frozen=True)
class Scene:
    """The drawn set before and after it was damaged, both curated.

    Attributes:
        first, second: Keys of the data sets.
        artifact: The artifact of changes that `curate` published itself.
    """

    drawn: DrawnSet
    first: str
    second: str
    artifact: str


def newest_artifact(key: str) -> str:
    async def read() -> str:
        async with get_client() as client:
            found = await client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
            )
        return str(max(found, key=lambda artifact: artifact.created).data)

    return asyncio.run(read())


def rows_of(scene: Scene, stage: str) -> dict[str, dict]:
    """The rows of a stage of the second data set, of all partitions, by sample."""
    found = {}
    record = find_curated(open_store(), scene.second)
    for manifest in outputs_of(open_store(), record)[stage]:
        for name in manifest.names(".parquet"):
            for row in pq.read_table(open_store().path(manifest, name)).to_pylist():
                if "caption" in row:
                    found[row["key"]] = row
    return found


@pytest.fixture(scope="module")
def scene(base: Base, tmp_path_factory: pytest.TempPathFactory):
    drawn = base.drawn.copy_to(tmp_path_factory.mktemp("scene") / "set")
    relaxed = drawn.damage(HOSTILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENCOMPOSE_STORE", str(drawn.store_dir))
        second = curate(drawn.config(**relaxed)).dataset
        yield Scene(drawn, base.computed.result.dataset, second, newest_artifact("changes-drawn"))


def test_changes_name_settings_samples_and_counts(scene: Scene):
    found = changes()
    assert isinstance(found, SetChanges)
    assert (found.before, found.after) == (scene.first, scene.second)
    assert found.settings == ["mask.box_threshold 0.25 -> 0.4"]
    assert found.rows["removed"] == 2
    assert found.rows["added"] == 0
    text = shown(scene.artifact)
    assert text == shown(newest_artifact("changes-drawn"))
    assert "| mask.box_threshold | 0.25 | 0.4 |" in text
    assert "| 005 | removed | rank: image-unreadable" in text
    assert "| 007 | removed | parse: no-noun (Very nice.)" in text
    assert "| **select** | **image-missing** | **0** | **1** |" in text
    assert "| **parse** | **no-noun** | **0** | **1** |" in text
    assert "| select | out | 40 | 40 |" in text
    assert "<img" not in scene.artifact


def test_rows_that_changed_are_counted_and_described(scene: Scene):
    """Counted from the tars, which hold the same as the indexes that are compared."""
    import json
    import tarfile

    def phrases(dataset: str) -> dict[str, list]:
        found = {}
        listed = json.loads((scene.drawn.store_dir / dataset / "dataset.json").read_text())
        for shard in listed["shards"]:
            with tarfile.open(scene.drawn.store_dir / shard["key"] / "shard.tar") as tar:
                for member in tar:
                    if member.name.endswith(".json"):
                        described = json.load(tar.extractfile(member))
                        found[member.name.removesuffix(".json")] = described
        return found

    old, new = phrases(scene.first), phrases(scene.second)
    differ = {key for key in old.keys() & new.keys() if old[key] != new[key]}
    assert differ
    found = changes()
    assert found is not None
    assert found.rows["changed"] == len(differ)
    assert "→ no mask" in shown(scene.artifact)


def test_the_other_way_round_and_packages(scene: Scene):
    path = next(iter(scene.drawn.store_dir.glob("rank-*/manifest.json")))
    manifest = Manifest.model_validate_json(path.read_text())
    older = manifest.model_copy(update={"provenance": manifest.provenance | {"torch": "1.0"}})
    path.write_text(older.model_dump_json())
    try:
        found = changes(scene.first, scene.second)
    finally:
        path.write_text(manifest.model_dump_json())
    assert found is not None
    assert found.settings == ["mask.box_threshold 0.4 -> 0.25"]
    assert found.rows["added"] == 2
    text = shown(newest_artifact("changes-drawn"))
    assert "| 007 | added | before: no-noun |" in text


@pytest.mark.parametrize(
    ("sample", "fate", "said"),
    [
        ("005", "left out by rank: image-unreadable", "whose pixels cannot be decoded"),
        ("007.jpg", "left out by parse: no-noun", "What exactly: Very nice."),
        ("900 |", "left out by select: image-missing", f"No such file. What exactly: {HOSTILE}"),
        ("003", "in the data set", "| CLIP score |"),
    ],
)
def test_sample_says_where_and_why(scene: Scene, sample: str, fate: str, said: str):
    found = inspect_sample(sample)
    assert found.dataset == scene.second
    assert [one.fate for one in found.samples[:1]] == [fate]
    raw = newest_artifact(found.artifact)
    assert len(raw.encode()) < 200_000
    assert said in shown(raw)
    assert "<img" not in raw
    assert ("data:image/jpeg" in raw) == (fate == "in the data set")


def test_masks_scores_and_all_captions_are_shown(scene: Scene):
    text = shown((inspect_sample("003"), newest_artifact("inspect-drawn"))[1])
    for caption in scene.drawn.rows[3]["caption"]:
        assert caption in text
    phrase = r"^\| \*\*[a-z ]+\*\* \| [a-z]+ \| [0-9.]+ % \| 0\.\d+ \| \d+, \d+, \d+, \d+ "
    assert re.search(phrase, text, re.MULTILINE)
    for stage in ("select", "rank", "parse", "mask", "shard"):
        assert any(line.startswith(f"| {stage} | `{stage}-v") for line in text.splitlines())
    assert "(/runs/flow-run/" in text


def test_command_line_says_the_same_in_a_few_lines(scene: Scene, capsys):
    for sample in ("005", "007.jpg", "900 |", "003"):
        print_inspection(inspect_sample(sample))
    said = capsys.readouterr().out
    assert "  why      An image with a good header whose pixels cannot be decoded" in said
    assert "whose pixels cannot be decoded to the last, because it is cut short" in said
    assert "  why      A caption in which no noun was found" in said
    # What no noun was found in, not a second time as what exactly was wrong.
    assert re.findall(r"^ .*Very nice\..*$", said, re.M) == [
        next(line for line in said.splitlines() if re.match(r"  caption  Very nice\.  CLIP", line))
    ]
    assert f"  why      No such file.\n           {HOSTILE}\n" in said
    good = said[said.rindex("in the data set") :]
    row = rows_of(scene, "rank")["003"]
    score = dict(zip(row["captions"], row["scores"], strict=True))[row["caption"]]
    assert f"  caption  {row['caption']}  CLIP score {score:.3f}, of 2\n" in good
    for phrase in rows_of(scene, "mask")["003"]["phrases"]:
        if phrase["scores"]:
            box = ", ".join(f"{side:.0f}" for side in phrase["boxes"][0])
            best = max(phrase["scores"])
            assert f"  phrase   {phrase['text']}  score {best:.3f}  box {box}\n" in good
        else:
            assert f"  phrase   {phrase['text']}  phrase-without-box\n" in good


def test_lines_of_phrases_say_why_and_steer_no_terminal():
    story = SampleStory(
        "a",
        parsed=ParsedCaption(
            key="a",
            image_path="a.jpg",
            image_sha256="0",
            width=1,
            height=1,
            caption="A \x1b[2Jcat, a mat.",
            phrases=[
                NounPhrase(text="\x1b[2Jcat", start=2, end=9),
                NounPhrase(text="mat", start=13, end=16),
            ],
        ),
        rejections=[
            Rejection(key="a", stage="mask", reason="no-box", detail="\x1b]0;x\x07"),
            Rejection(key="a", stage="shard", reason="phrase-without-box", detail="mat"),
        ],
    )
    assert sample_lines(story) == [
        "why      A caption of which no phrase was found.",
        "         ␛]0;x␇",
        "phrase   ␛[2Jcat  no mask",
        "phrase   mat  phrase-without-box",
    ]


def test_an_earlier_data_set_is_found_by_its_key(scene: Scene):
    found = inspect_sample("007", scene.first)
    assert found.dataset == scene.first
    assert found.samples[0].fate == "in the data set"


def test_the_beginning_of_a_key_is_enough(scene: Scene):
    first, second = scene.first[:20], scene.second[:20]
    found = changes(second, first)
    assert found is not None
    assert (found.before, found.after) == (scene.first, scene.second)
    assert inspect_sample("007", first).dataset == scene.first
    assert open_dataset(first) == open_dataset(scene.first) != open_dataset(second)


def test_words_are_found_in_captions_and_at_most_five_are_shown(scene: Scene):
    found = inspect_sample("a")
    assert found.num_matches > 5
    assert len(found.samples) == 5


def test_what_is_not_there_is_refused_with_what_is_near(scene: Scene):
    with pytest.raises(ValueError, match=r"similar: \['0\d5\.jpg'"):
        inspect_sample("05.jpgg")
    with pytest.raises(ValueError, match="has data sets of drawn"):
        inspect_sample("003", "nowhere")
    with pytest.raises(ValueError, match="sample: expected a part of a key"):
        inspect_sample(" ")
    with pytest.raises(ValueError, match="no data set 'nowhere'"):
        changes("nowhere")


def test_first_data_set_says_so(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn = base.drawn.copy_to(tmp_path / "alone")
    monkeypatch.setenv("TOKENCOMPOSE_STORE", str(drawn.store_dir))
    found = changes()
    assert found is not None
    assert (found.before, found.settings, found.rows) == ("", [], {})
    assert "is the first data set" in newest_artifact("changes-drawn")


def test_store_without_a_data_set_says_how_to_make_one(store_dir: Path):
    with pytest.raises(ValueError, match="the flow `curate` makes one"):
        inspect_sample("cat")


def test_finetune_says_which_data_set_is_meant_by_another_name(scene: Scene):
    card = find_curated(open_store(), "drawn").card.key
    there = rf"has data sets of drawn; the newest is {scene.second}$"
    for name, answer in (
        ("drawn", rf"'drawn' is a caption set, whose newest data set is {scene.second}$"),
        (card, rf"'{card}' is the card of a data set, {scene.second}$"),
        ("finetune-v3-0a", rf"'finetune-v3-0a' is a model, not a data set\. .* {there}"),
        (
            "mask-v2-0a",
            rf"'mask-v2-0a' is an output of the stage mask, not a data set\. .* {there}",
        ),
        ("dataset-v1-0a", rf"there is no data set 'dataset-v1-0a'\. .* {there}"),
    ):
        with pytest.raises(ValueError, match=f"^dataset: {answer}"):
            finetune.fn(name)
