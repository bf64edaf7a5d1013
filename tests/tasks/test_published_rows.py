"""The paper's figures stand below those of images that were made and judged as its own."""

from typing import Any

import pytest

from data_schemas.configs.evaluate_config import EvaluateConfig
from data_schemas.results import MultiGenResult
from tasks.benchmark_tables import score_table
from tasks.benchmarks import Benchmark, list_compositions
from tasks.measure_quality import ModelQuality
from tasks.published_rows import published_cells
from tasks.quality_tables import latency_table, quality_table
from tasks.stage import Input
from tokencompose_core.evaluation.prompts import read_prompts

PAPER = EvaluateConfig.load("paper")
POCKET = EvaluateConfig.load("pocket")
# The paper's prompt files are not in this repository: as many are drawn as they have.
DRAWN = {"kind": "sampled", "num_prompts": 1000, "num_objects": 5, "seed": 1}


def compositions(**changes: Any) -> dict[str, Benchmark]:
    """The benchmarks of the profile `paper`, with prompts that are drawn and changed."""
    sets = {
        name: own.model_dump() | {"prompts": {"categories": name, **DRAWN} | changes}
        for name, own in PAPER.multigen.items()
    }
    config = EvaluateConfig.model_validate(PAPER.model_dump() | {"multigen": sets})
    return {own.name: own for own in list_compositions(config)}


PUBLISHED_AS = compositions()


def test_the_profile_of_the_paper_gets_its_figures():
    assert published_cells(PUBLISHED_AS["multigen-coco"], PAPER.sampler) == {
        "Stable Diffusion 1.4": {
            "MG2": "90.72 (1.33)", "MG3": "50.74 (0.89)",
            "MG4": "11.68 (0.45)", "MG5": "0.88 (0.21)",
        },
        "TokenCompose": {
            "MG2": "98.08 (0.40)", "MG3": "76.16 (1.04)",
            "MG4": "28.81 (0.95)", "MG5": "3.28 (0.48)",
        },
    }  # fmt: skip
    ade20k = published_cells(PUBLISHED_AS["multigen-ade20k"], PAPER.sampler)
    assert ade20k["TokenCompose"]["MG2"] == "97.75 (0.34)"
    visor = published_cells(PUBLISHED_AS["visor"], PAPER.sampler)
    assert visor["TokenCompose"] == {"OA": "52.15"}


def test_the_official_prompts_get_them(shared_data):
    prompts = read_prompts(shared_data / "multigen/coco_obj_comp_5_1k.json")
    official = PUBLISHED_AS["multigen-coco"].model_copy(update={"prompts": prompts})
    assert len(published_cells(official, PAPER.sampler)) == 2


def test_the_profile_pocket_gets_none():
    everything = POCKET.model_copy(update={"benchmarks": ["multigen", "visor"]})
    for own in list_compositions(everything):
        assert published_cells(own, POCKET.sampler) == {}
        assert published_cells(own, PAPER.sampler) == {}
    for own in PUBLISHED_AS.values():
        assert published_cells(own, POCKET.sampler) == {}
    assert latency_table([], POCKET.sampler).rows == []


@pytest.mark.parametrize(
    "changes",
    [
        {"num_prompts": 100},
        {"num_objects": 4},
        {"categories": ["cat", "cup", "kite", "boat", "car", "dog"]},
        {"categories": "ade20k"},
    ],
)
def test_other_prompts_of_multigen_get_none(changes):
    own = compositions(**changes)["multigen-coco"]
    assert published_cells(own, PAPER.sampler) == {}


def test_a_set_of_prompts_with_another_name_gets_none():
    own = PUBLISHED_AS["multigen-coco"].model_copy(update={"name": "multigen-own"})
    assert published_cells(own, PAPER.sampler) == {}


def test_a_part_of_visor_gets_none():
    own = PUBLISHED_AS["visor"]
    some = own.model_copy(update={"prompts": own.prompts[:-1]})
    assert published_cells(some, PAPER.sampler) == {}


@pytest.mark.parametrize("name", ["multigen-coco", "visor"])
@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "pocket"},
        {"model": "google/owlv2-base-patch16-ensemble"},
        {"query": "{name}"},
        {"threshold": 0.175},
        {"precision": "bfloat16"},
    ],
)
def test_what_another_detector_sees_gets_none(name, changes):
    own = PUBLISHED_AS[name]
    assert own.detector is not None
    detector = own.detector.model_copy(update=changes)
    other = own.model_copy(update={"detector": detector})
    assert published_cells(other, PAPER.sampler) == {}


def quality(name: str = "coco", number: int = 10_000, **changes: Any) -> ModelQuality:
    measured = Input(key="quality-v1-00", digest="0", name="quality.json")
    values: dict[str, Any] = {
        "label": "base", "benchmark": f"quality-{name}", "fid": 21.0, "kid": 0.5,
        "kid_deviation": 0.1, "num_images": number, "num_blanked": 0, "num_reference": number,
        "dimension": 2048, "extractor": "Inception", "weights": "", "resizing": "",
        "num_kid_subsets": 1, "kid_subset_size": 1, "kid_seed": 0,
    }  # fmt: skip
    return ModelQuality(generated=[], measured=measured, **values | changes)


def quoted(own: ModelQuality, sampler=PAPER.sampler) -> list[list[str]]:
    return [row.cells for row in quality_table([own], sampler).rows if row.is_quoted]


def test_fid_of_the_papers_pairs_gets_its_figures_with_their_number():
    for name, settings in PAPER.quality.items():
        assert len(quoted(quality(name, settings.num_pairs))) == 2
    assert quoted(quality()) == [
        ["Stable Diffusion 1.4", "20.88", "", "10000", "", "10000"],
        ["TokenCompose", "20.19", "", "10000", "", "10000"],
    ]


def test_fid_of_other_pairs_gets_none():
    assert quoted(quality(number=2048)) == []
    assert quoted(quality("flickr30k")) == []
    assert quoted(quality(num_reference=9000)) == []
    # FID compares those that were not blanked, which are as many or too few.
    assert quoted(quality(num_blanked=1)) == []
    assert len(quoted(quality(num_images=10_001, num_blanked=1))) == 2
    assert quoted(quality("own")) == []
    assert quoted(quality(extractor="pocket CLIP")) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"num_inference_steps": 10},
        {"guidance_scale": 3.0},
        {"height": 256, "width": 256},
        {"precision": "bfloat16"},
    ],
)
def test_images_that_are_made_otherwise_get_none(changes):
    sampler = PAPER.sampler.model_copy(update=changes)
    for own in PUBLISHED_AS.values():
        assert published_cells(own, sampler) == {}
    assert quoted(quality(), sampler) == []
    assert latency_table([], sampler).rows == []


def test_a_compiled_unet_and_other_noise_are_published_but_for_the_seconds():
    assert [row.cells[:2] for row in latency_table([], PAPER.sampler).rows] == [
        ["Stable Diffusion 1.4", "7.54 (0.17)"],
        ["TokenCompose", "7.56 (0.14)"],
    ]
    fast = PAPER.sampler.model_copy(update={"compile_unet": True, "seed": 7})
    assert latency_table([], fast).rows == []
    assert len(quoted(quality(), fast)) == 2
    for own in PUBLISHED_AS.values():
        assert len(published_cells(own, fast)) == 2


def test_published_rows_are_quoted_and_fill_their_columns():
    # One round, as no deviation stands in its own cell, but in those of the paper.
    own = MultiGenResult(
        num_images=8, num_blanked=1, prompts_digest="", mean={2: 50.0}, deviation={2: 0.0},
        sample_deviation={2: None}, interval={2: (40.0, 60.0)}, success={}, missed={}, confusion={},
    )  # fmt: skip
    table = score_table(PUBLISHED_AS["multigen-coco"], {"base": own}, PAPER.sampler)
    assert table.columns == ["model", "MG2", "images", "blanked"]
    assert [row.cells for row in table.rows] == [
        ["base", "50.0\n[40.0, 60.0]", "8", "1"],
        ["Stable Diffusion 1.4", "90.72 (1.33)", "", ""],
        ["TokenCompose", "98.08 (0.40)", "", ""],
    ]
    assert [row.is_quoted for row in table.rows] == [False, True, True]
    assert "in round brackets the population standard deviation" in table.notes[0]
