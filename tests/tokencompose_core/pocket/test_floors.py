"""The models that come with the project reach their floors, on fewer scenes than the report's."""

from pathlib import Path

import pytest

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.configs.evaluate_config import EvaluateConfig
from tests.conftest import MODELS
from tokencompose_core.pocket.floors import measure_captions, measure_generation, measure_masks
from tokencompose_core.pocket.floors.figure import Figure
from tokencompose_core.pocket.floors.held_out import HeldOut, draw_held_out

SEED = 78
THRESHOLD = EvaluateConfig.load("pocket").detector.threshold


@pytest.fixture(scope="module")
def held_out() -> list[HeldOut]:
    return draw_held_out(150, seed=SEED)


@pytest.fixture(scope="module")
def thresholds() -> dict:
    mask = CurateConfig.load("pocket").mask
    names = ("box_threshold", "text_threshold", "nms_threshold", "short_side", "long_side")
    return {name: getattr(mask, name) for name in names}


def missed(figures: list[Figure]) -> list[str]:
    return [f"{f.model}: {f.name} is {f.value:.3f}" for f in figures if not f.reached]


def test_clip_prefers_the_right_caption(held_out):
    assert not missed(measure_captions.measure_clip(MODELS, held_out))


def test_tagger_finds_the_nouns():
    assert not missed(measure_captions.measure_tagger(MODELS, 150, seed=SEED))


def test_grounding_dino_finds_what_is_there_alone(held_out, thresholds):
    assert not missed(measure_masks.measure_grounding_dino(MODELS, held_out, thresholds, seed=SEED))


def test_sam_hq_segments_true_boxes(held_out):
    assert not missed(measure_masks.measure_sam_hq(MODELS, held_out))


def test_chain_masks_phrases_from_image_and_caption(held_out, thresholds):
    figures, phrases = measure_masks.measure_chain(MODELS, held_out, thresholds)
    assert len(phrases) == len(held_out)
    assert not missed(figures)


def test_owlv2_finds_what_is_there_and_no_blobs():
    assert not missed(
        measure_generation.measure_owlv2(MODELS, 300, 200, threshold=THRESHOLD, seed=SEED)
    )


def test_stable_diffusion_draws_one_object_and_loses_some_of_five(held_out):
    figures, singles, fives = measure_generation.measure_stable_diffusion(
        MODELS, held_out, num_single=96, num_five=64, threshold=THRESHOLD, seed=SEED
    )
    assert (len(singles), len(fives)) == (96, 64)
    assert not missed(figures)


def test_no_weight_is_stored_in_full_precision():
    from safetensors import safe_open

    for path in Path(MODELS).rglob("*.safetensors"):
        with safe_open(path, "pt") as weights:
            names = weights.keys()
            kinds = {weights.get_slice(name).get_dtype() for name in names}
        assert "F32" not in kinds, path
