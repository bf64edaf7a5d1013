"""A term that someone adds to the objective, with a field for its weight."""

from typing import Annotated

import pytest
from pydantic import Field

from data_schemas.configs.finetune_config import FinetuneConfig, NotNegative, ObjectiveConfig
from tasks.compare_models import denoising_alone
from tasks.finetune_unet import FinetuneSpec
from tokencompose_core.checkpoints.locate import identity
from tokencompose_core.objectives.choose_objective import choose_objective
from tokencompose_core.objectives.tokencompose import paper_losses, released_losses


class ObjectiveWithOverlap(ObjectiveConfig):
    overlap_weight: Annotated[NotNegative, Field(description="Of the overlap of maps.")] = 0.0


class ConfigWithOverlap(FinetuneConfig):
    objective: ObjectiveWithOverlap


def load(**objective: float) -> FinetuneConfig:
    return ConfigWithOverlap.load(objective=objective)


def test_baseline_is_trained_on_no_term():
    config = load(overlap_weight=0.5)
    assert config.objective.trained_terms == ["token", "pixel", "overlap"]
    assert denoising_alone(config).objective.trained_terms == []


def test_models_made_before_the_term_keep_their_keys():
    def key(config: FinetuneConfig) -> str:
        return FinetuneSpec(encoded=[], config=config, label="any").key

    plain = FinetuneConfig.load()
    assert key(load()) == key(plain)
    assert key(load(overlap_weight=0.5)) != key(plain)


def test_key_names_all_that_decides():
    spec = FinetuneSpec(encoded=[], config=FinetuneConfig.load(), label="any")
    parts = spec.parts()
    assert parts["model"] == identity("pocket:stable_diffusion", "")
    assert {"objective", "seed", "trainable", "validation_fraction"} <= parts["settings"].keys()
    objective = parts["settings"]["objective"].keys()
    assert {"variant", "token_weight", "pixel_weight", "layers"} <= objective


@pytest.mark.parametrize(
    ("variant", "losses"), [("paper", paper_losses), ("released", released_losses)]
)
def test_variant_chooses_the_losses(variant, losses):
    objective = FinetuneConfig.load(objective={"variant": variant}).objective
    assert choose_objective(objective) is losses
