import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.records import RANKED_SCHEMA, ParsedCaption, RankedImage
from data_schemas.rejections import Rejection
from tasks.parse_nouns import PARSED_NAME, ParseSpec, check_tagger, parse_partition
from tasks.rank_captions import RANKED_NAME
from tasks.stage import Input, open_store
from tests.conftest import MODELS
from tokencompose_core.nouns.tagger import load_tagger
from tokencompose_core.store.rejections import REJECTIONS_NAME
from tokencompose_core.store.tables import read_table, write_table

TAGGER = MODELS / "tagger/pytorch_model.bin"
CAPTIONS = (
    "A cat on the floor.",
    "A stop sign and a cat.",
    "A view of the floor.",
    "Very nice.",
)


def ranked_captions() -> Input:
    def write(folder: Path) -> dict:
        rows = [
            RankedImage(
                key=str(number),
                image_path=f"{number}.jpg",
                image_sha256="0" * 64,
                width=64,
                height=64,
                caption=caption,
                captions=[caption],
                scores=[0.5],
            )
            for number, caption in enumerate(CAPTIONS)
        ]
        write_table(folder / RANKED_NAME, rows, RANKED_SCHEMA)
        return {}

    return Input.of(open_store().publish("rank-v1-x", "rank", write), RANKED_NAME)


def spec(stop_nouns: list[str], ranked: Input | None = None) -> ParseSpec:
    return ParseSpec(
        ranked=ranked or Input(key="rank-v1-x", digest="0"),
        part="part-00000",
        settings=CurateConfig.load(parse={"stop_nouns": stop_nouns}).parse,
        device="cpu",
    )


def parse(stop_nouns: list[str]) -> tuple[dict[str, list[str]], Counter[tuple[str, str, str]]]:
    """The nouns by sample, and what was left out: sample, reason and detail."""
    manifest = parse_partition.fn(spec(stop_nouns, ranked_captions()))
    folder = open_store().path(manifest)
    kept = read_table(folder / PARSED_NAME, ParsedCaption)
    lost = read_table(folder / REJECTIONS_NAME, Rejection)
    assert sum(manifest.rejected.values()) == len(lost)
    assert manifest.facts["phrases"] == sum(len(row.phrases) for row in kept)
    return (
        {row.key: [phrase.text for phrase in row.phrases] for row in kept},
        Counter((rejection.key, str(rejection.reason), rejection.detail) for rejection in lost),
    )


def test_all_nouns_are_kept_without_a_stop_list(store_dir):
    kept, lost = parse([])
    assert kept == {"0": ["cat", "floor"], "1": ["stop sign", "cat"], "2": ["view", "floor"]}
    assert lost == {("3", "no-noun", "Very nice."): 1}


def test_each_phrase_on_the_list_is_recorded_and_so_is_a_caption_without_others(store_dir):
    kept, lost = parse(["floor", "view", "stop"])
    assert kept == {"0": ["cat"], "1": ["stop sign", "cat"]}
    assert lost == {
        ("0", "phrase-on-stop-list", "floor"): 1,
        ("2", "phrase-on-stop-list", "view"): 1,
        ("2", "phrase-on-stop-list", "floor"): 1,
        ("2", "no-noun", "A view of the floor."): 1,
        ("3", "no-noun", "Very nice."): 1,
    }


def test_list_decides_the_key_unless_it_is_empty():
    assert set(spec([]).parts()) == {"ranked", "model", "noun_tags"}
    assert spec(["Side ", "top", "top"]).key == spec(["top", "side"]).key
    assert len({spec(words).key for words in ([], ["side"], ["side", "top"])}) == 3


def test_blank_word_is_refused():
    with pytest.raises(ValueError, match=r"parse\.stop_nouns\.0"):
        spec([" "])


@pytest.mark.parametrize("name", ["{here}/pos.pt", "./pos", "~/pos", "pos.pt", "a/b/pos"])
def test_missing_tagger_is_refused_before_anything_runs(tmp_path, name):
    name = name.format(here=tmp_path)
    with pytest.raises(FileNotFoundError, match=f"model '{name}'.*check the name in the config"):
        check_tagger(CurateConfig.load(parse={"model": name}))


@pytest.mark.parametrize("name", ["pos", "flair/pos-english", "flair/pos-english@main"])
def test_tagger_of_a_hub_is_refused_where_none_is_asked(tmp_path, monkeypatch, name):
    monkeypatch.setattr("flair.cache_root", tmp_path)
    with pytest.raises(FileNotFoundError, match=f"^parse.model: '{name}' is not on this machine"):
        check_tagger(CurateConfig.load(parse={"model": name}))


def test_tagger_that_a_hub_does_not_have_is_refused(tmp_path, monkeypatch, hub_may_be_asked):
    monkeypatch.setattr("flair.cache_root", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^parse\.model: 'flair/pos-inglish' is not on"):
        check_tagger(CurateConfig.load(parse={"model": "flair/pos-inglish"}))
    # flair keeps what it fetched in a place of its own.
    kept = tmp_path / "models/pos-inglish/models--flair--pos-inglish"
    for name in ("refs/main", "snapshots/abc/pytorch_model.bin"):
        (kept / name).parent.mkdir(parents=True)
    (kept / "refs/main").write_text("abc")
    shutil.copy(TAGGER, kept / "snapshots/abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    check_tagger(CurateConfig.load(parse={"model": "flair/pos-inglish"}))


def test_tagger_that_is_there_or_on_a_hub_is_taken(tmp_path, monkeypatch, hub_may_be_asked):
    monkeypatch.setattr("flair.cache_root", tmp_path / "flair")
    for name in ("pos", "flair/pos-english", "flair/pos-english@main", "pocket:tagger"):
        check_tagger(CurateConfig.load(parse={"model": name}))
    with pytest.raises(FileNotFoundError, match=r"there is no pytorch_model\.bin"):
        check_tagger(CurateConfig.load(parse={"model": str(tmp_path)}))
    shutil.copy(TAGGER, tmp_path)
    check_tagger(CurateConfig.load(parse={"model": str(tmp_path)}))
    check_tagger(CurateConfig.load(parse={"model": str(tmp_path / "pytorch_model.bin")}))


def test_tagger_that_is_not_opened_is_refused_before_anything_runs(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"embeddings": load_tagger(TAGGER).embeddings}, path, pickle_protocol=4)
    with pytest.raises(ValueError, match=r"^parse\.model '.* \(it needs flair\.embeddings\."):
        check_tagger(CurateConfig.load(parse={"model": str(path)}))
