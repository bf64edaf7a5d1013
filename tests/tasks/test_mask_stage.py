"""The stage `mask` with models of either package, in either precision."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.records import PARSED_SCHEMA, GroundedCaption, ParsedCaption
from tasks.mask_models import (
    SAM_HQ_TYPES,
    check_mask_models,
    load_detector,
    load_segmenter,
    model_parts,
)
from tasks.mask_nouns import GROUNDED_NAME, MaskSpec, mask_partition
from tasks.stage import Input, open_store
from tests.conftest import MODELS
from tokencompose_core.masking.convert_grounding_dino import convert_grounding_dino
from tokencompose_core.masking.convert_sam_hq import convert_sam_hq
from tokencompose_core.pocket.floors.held_out import draw_held_out
from tokencompose_core.store.keys import file_digest
from tokencompose_core.store.run_lengths import mask_iou
from tokencompose_core.store.tables import read_table, write_table

DINO, SAM = MODELS / "grounding_dino", MODELS / "sam_hq"


@pytest.fixture(scope="module")
def converted(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("converted")
    convert_grounding_dino(
        DINO / "config.json", DINO / "model.safetensors", str(DINO / "bert"), folder / "dino"
    )
    convert_sam_hq(SAM / "config.json", SAM / "model.safetensors", folder / "sam")
    return {
        "detector_backend": "transformers",
        "detector_config": "",
        "text_encoder": "",
        "detector_checkpoint": str(folder / "dino"),
        "segmenter_backend": "transformers",
        "segmenter_config": "",
        "segmenter_checkpoint": str(folder / "sam"),
    }


@pytest.fixture
def parsed(tmp_path, store_dir) -> Input:
    rows = []
    for number, item in enumerate(draw_held_out(5, seed=31)):
        path = tmp_path / f"{number}.png"
        item.image.save(path)
        rows.append(
            ParsedCaption(
                key=str(number),
                image_path=path.name,
                image_sha256=file_digest(path),
                width=item.image.width,
                height=item.image.height,
                caption=item.sentence.text,
                phrases=item.phrases,
            )
        )

    def write(folder: Path) -> dict[str, Any]:
        write_table(folder / "parsed.parquet", rows, PARSED_SCHEMA)
        return {}

    return Input.of(open_store().publish("parse-v1-0", "parse", write), "parsed.parquet")


def spec(images_dir: Path, parsed: Input, **changes: object) -> MaskSpec:
    return MaskSpec(
        images_dir=str(images_dir),
        parsed=parsed,
        part="part-00000",
        settings=CurateConfig.load(mask={"batch_size": 2, **changes}).mask,
        device="cpu",
    )


def phrases(manifest) -> list:
    path = open_store().path(manifest, GROUNDED_NAME)
    return [(c, p) for c in read_table(path, GroundedCaption) for p in c.phrases]


def test_key_holds_packages_and_precision_but_no_size_of_a_batch(tmp_path, parsed, converted):
    plain = spec(tmp_path, parsed)
    assert set(plain.parts()) == {
        "parsed",
        "detector",
        "detector_config",
        "text_encoder",
        "segmenter",
        "segmenter_config",
        "thresholds",
        "sides",
        "prompting",
    }
    same = spec(tmp_path, parsed, batch_size=7, boxes_at_once=3, min_precision_iou=0.5)
    assert same.key == plain.key
    others = [
        converted,
        {"precision": "bfloat16"},
        {"precision": "float16"},
        {"precision": "bfloat16", "min_precision_iou": 0.5},
        {key: value for key, value in converted.items() if key.startswith("seg")},
    ]
    keys = {spec(tmp_path, parsed, **changes).key for changes in others}
    assert len(keys | {plain.key}) == len(others) + 1


def test_stage_finds_the_same_with_models_of_transformers(tmp_path, parsed, converted):
    check_mask_models(CurateConfig.load(mask=converted))
    packaged = mask_partition.fn(spec(tmp_path, parsed))
    through_hub = mask_partition.fn(spec(tmp_path, parsed, **converted))
    assert packaged.facts == through_hub.facts
    assert packaged.facts["phrases_with_mask"] > 5
    for (caption, one), (_, other) in zip(phrases(packaged), phrases(through_hub), strict=True):
        assert np.allclose(one.boxes, other.boxes, rtol=0, atol=1e-2)
        if one.mask_counts:
            overlap = mask_iou(one.mask_counts, other.mask_counts, caption.height, caption.width)
            assert overlap > 0.999


def test_image_that_was_replaced_since_it_was_selected_is_named(tmp_path, parsed):
    (tmp_path / "3.png").write_bytes((tmp_path / "2.png").read_bytes())
    wanted = spec(tmp_path, parsed)
    with pytest.raises(ValueError, match=r"3\.png has changed since it was selected; run the flow"):
        mask_partition.fn(wanted)
    assert open_store().find(wanted.key) is None


def test_manifest_says_how_far_from_float32_the_masks_are(tmp_path, parsed):
    manifest = mask_partition.fn(spec(tmp_path, parsed, precision="bfloat16"))
    assert 0.95 < manifest.facts["precision_iou"] < 1.0
    strict = spec(tmp_path, parsed, precision="bfloat16", min_precision_iou=1.0)
    with pytest.raises(ValueError, match=r"mask\.precision.*below mask\.min_precision_iou = 1\.0"):
        mask_partition.fn(strict)
    assert open_store().find(strict.key) is None


def test_what_is_wrong_with_the_models_is_said_before_anything_runs(converted):
    def check(**changes: object) -> None:
        check_mask_models(CurateConfig.load(mask=converted | changes, device="cpu"))

    check()
    with pytest.raises(FileNotFoundError, match=r"mask\.segmenter_checkpoint: 'no/where'"):
        check(segmenter_checkpoint="no/where")
    with pytest.raises(ValueError, match=r"mask\.segmenter_checkpoint: .*'sam_hq' is needed"):
        check(segmenter_checkpoint=converted["detector_checkpoint"])
    with pytest.raises(ValueError, match=r"mask\.precision: float16 needs a GPU"):
        check(precision="float16")


def test_files_of_packaged_models_are_looked_for_before_anything_runs():
    def check(**changes: object) -> None:
        check_mask_models(CurateConfig.load(mask=changes, device="cpu"))

    check()
    check(segmenter_config="vit_h")
    with pytest.raises(FileNotFoundError, match="vit_hh"):
        check(segmenter_config="vit_hh")
    with pytest.raises(ValueError, match=r"mask\.detector_checkpoint: .* is a folder"):
        check(detector_checkpoint=str(DINO))


def test_names_of_sam_hq_are_those_of_its_package():
    from segment_anything_hq import sam_model_registry

    assert set(SAM_HQ_TYPES) == sam_model_registry.keys() - {"default"}


def test_other_thresholds_take_the_models_that_are_loaded():
    one, other = (CurateConfig.load(mask={"box_threshold": t}).mask for t in (0.2, 0.3))
    assert load_detector(one, "cpu") is load_detector(other, "cpu")
    assert load_segmenter(one, "cpu") is load_segmenter(other, "cpu")


def test_text_encoder_of_a_hub_is_refused_where_none_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"mask\.text_encoder: 'bert-base-uncased' is not on this"
    ):
        check_mask_models(
            CurateConfig.load(mask={"text_encoder": "bert-base-uncased"}, device="cpu")
        )


def test_model_that_was_overwritten_has_another_key_and_is_loaded_again(tmp_path):
    path, new = tmp_path / "model.safetensors", tmp_path / "new.safetensors"
    shutil.copy(SAM / "model.safetensors", path)
    settings = CurateConfig.load(mask={"segmenter_checkpoint": str(path)}).mask
    before, parts = load_segmenter(settings, "cpu"), model_parts(settings)
    assert load_segmenter(settings, "cpu") is before
    save_file({name: weight + 1 for name, weight in load_file(path).items()}, new)
    new.replace(path)
    assert model_parts(settings)["segmenter"] != parts["segmenter"]
    assert load_segmenter(settings, "cpu") is not before


def test_text_encoder_is_looked_for_before_anything_runs(tmp_path, hub_may_be_asked):
    def check(name: str) -> None:
        check_mask_models(CurateConfig.load(mask={"text_encoder": name}, device="cpu"))

    check("bert-base-uncased")
    for name in ("google-bert/bert-base-uncased", "roberta-base"):  # the package would load neither
        with pytest.raises(ValueError, match=rf"^mask\.text_encoder: .* or a folder, .* '{name}'$"):
            check(name)
    check("pocket:grounding_dino/bert")
    with pytest.raises(FileNotFoundError, match=r"no bert at .*check the name in the config"):
        check(str(tmp_path / "bert"))
    with pytest.raises(FileNotFoundError, match=r"there is no config\.json"):
        check(str(tmp_path))
    with pytest.raises(ValueError, match=r"mask\.text_encoder: .* is a file; a BERT is a folder"):
        check("pocket:grounding_dino/config.json")
