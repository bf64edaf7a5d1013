"""The whole pipeline on a small pocket world, run again and again."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

from data_schemas.configs.reproduce_config import ReproduceConfig
from flows.reproduce import reproduce
from tokencompose_core.store.content_store import Store

SMALL = {
    "curate": {
        "source": {"kind": "pocket", "seed": 8, "num_images": 60, "num_damaged": 4},
        "select": {"partition_size": 12},
    },
    "finetune": {
        "num_steps": 4,
        "batch_size": 4,
        "validation_prompts": [{"prompt": "a photo of a cat.", "nouns": ["cat"]}],
    },
    "evaluate": {
        "multigen": {"pocket": {"num_images_per_prompt": 2, "prompts": {"num_prompts": 3}}},
        "partition_size": 2,
        "sampler": {"num_inference_steps": 3},
    },
}
LINE = re.compile(
    r"^(\w+) +((?:\d+ \w+(?:, )?)+) +(\d+) in +(\d+) out"
    r"(?:  known already: \d+)?(?:  left out: (.*))?$"
)

pytestmark = pytest.mark.usefixtures("prefect_server")


class Run:
    """What a run printed: every stage, how its outputs came about, and what was lost."""

    def __init__(self, text: str) -> None:
        matches = [LINE.match(line.strip()) for line in text.splitlines()]
        self.lines = [match for match in matches if match]

    def made(self, stage: str) -> dict[str, int]:
        total: dict[str, int] = {}
        for line in self.lines:
            if line[1] == stage:
                for part in line[2].split(", "):
                    count, state = part.split()
                    total[state] = total.get(state, 0) + int(count)
        return total

    def states(self) -> set[str]:
        return {state for line in self.lines for state in self.made(line[1])}

    def rejected(self, stage: str) -> str:
        return next(line[5] or "" for line in self.lines if line[1] == stage)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[tuple[Path, Path]]:
    """A store and a folder of Prefect results, kept through the module."""
    folder = tmp_path_factory.mktemp("reproduce")
    patch = pytest.MonkeyPatch()
    patch.setenv("TOKENCOMPOSE_STORE", str(folder / "store"))
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: str(folder / "results")}):
        yield folder / "store", folder / "results"
    patch.undo()


@pytest.fixture
def run(world, capsys) -> Callable[..., tuple]:
    def run_it(**changes):
        capsys.readouterr()
        result = reproduce(ReproduceConfig.load(**{**SMALL, **changes}))
        return result, Run(capsys.readouterr().out)

    return run_it


def entries(store: Path) -> dict[str, str]:
    """Digest of everything in a store."""
    opened = Store(str(store), check="digest")
    found = {path.name: opened.find(path.name) for path in store.glob("*-v*-*")}
    return {key: manifest.digest for key, manifest in found.items() if manifest}


def test_first_run_computes_everything_and_reports_what_it_left_out(run, world):
    result, first = run()
    # The second fine-tuning finds what the first one encoded.
    assert set(first.made("encode")) == {"Completed", "Cached"}
    assert {s for line in first.lines if line[1] != "encode" for s in first.made(line[1])} == {
        "Completed"
    }
    stages = [line[1] for line in first.lines]
    curated = ["world", "select", "rank", "parse", "mask", "shard", "dataset", "card"]
    assert stages[: len(curated)] == curated
    assert "A phrase is grounded" in Path(result.dataset_report_path).read_text()
    assert stages[-1] == "report"
    assert "1 caption-empty, 1 image-missing" in first.rejected("select")
    assert "1 image-unreadable" in first.rejected("rank")
    assert "1 no-noun" in first.rejected("parse")
    assert "phrase-without-box" in first.rejected("mask")
    assert [score.label for score in result.scores] == ["base", "denoising", "grounded"]
    assert all(score.result.num_images == 6 for score in result.scores)
    page = Path(result.report_path).read_text()
    assert "grounded" in page
    assert page.count("data:image") >= 6
    store, _ = world
    rejected = [
        row
        for path in store.glob("rank-*/rejections.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    assert [row["reason"] for row in rejected] == ["image-unreadable"]
    assert rejected[0]["detail"].startswith(rejected[0]["key"])


def test_second_run_computes_nothing(run, world):
    store, _ = world
    before = entries(store)
    _, second = run()
    assert second.states() == {"Cached"}
    assert entries(store) == before


def test_what_was_deleted_is_made_again_and_nothing_else(run, world):
    store, results = world
    before = entries(store)
    shards = sorted(store.glob("shard-*"))
    masks = sorted(store.glob("mask-*"))
    assert len(shards) == len(masks) >= 2
    (shards[0] / "shard.tar").unlink()
    shutil.rmtree(masks[-1])
    shutil.rmtree(results)
    _, third = run()
    assert third.made("shard") == {"Completed": 1, "Reused": len(shards) - 1}
    assert third.made("mask") == {"Completed": 1, "Reused": len(masks) - 1}
    kept = {"world", "select", "rank", "parse", "encode", "finetune", "generate", "detect"}
    for stage in kept | {"card", "attention"}:
        assert set(third.made(stage)) <= {"Reused", "Cached"}, stage
    assert entries(store) == before


def test_damaged_byte_is_noticed_although_prefect_says_cached(run, world):
    store, _ = world
    before = entries(store)
    path = next(store.glob("encode-*/encoded.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    _, fourth = run()
    assert fourth.made("encode")["Completed"] == 1
    assert fourth.states() == {"Completed", "Cached"}
    assert entries(store) == before


def test_threshold_redoes_masks_and_what_follows_but_not_captions(run):
    curate = {**SMALL["curate"], "mask": {"box_threshold": 0.3, "text_threshold": 0.3}}
    _, changed = run(curate=curate)
    for stage in ("world", "select", "rank", "parse"):
        assert set(changed.made(stage)) == {"Cached"}
    assert set(changed.made("mask")) == set(changed.made("card")) == {"Completed"}


def test_detection_threshold_redoes_the_score_alone(run):
    evaluate = {**SMALL["evaluate"], "detector": {"threshold": 0.5}}
    _, changed = run(evaluate=evaluate)
    assert set(changed.made("generate")) == set(changed.made("detect")) == {"Cached"}
    assert set(changed.made("score")) == {"Completed"}


def test_too_many_rejections_fail_with_the_reasons_and_keep_what_was_made(run, world):
    store, _ = world
    before = entries(store)
    with pytest.raises(Exception, match=r"select: 2 of \d+ samples were left out"):
        run(curate={**SMALL["curate"], "max_rejected_fraction": 0.01})
    assert entries(store) == before
