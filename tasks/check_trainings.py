"""Refuse, before anything is computed, trainings and pictures that a base model does not allow."""

from collections.abc import Mapping

from data_schemas.configs.evaluate_config import EvaluateConfig
from data_schemas.configs.finetune_config import FinetuneConfig
from tokencompose_core.checkpoints.hub_access import naming_field
from tokencompose_core.checkpoints.locate import local_or_hub


def check_trainings(trainings: Mapping[str, FinetuneConfig]) -> None:
    """Look at the base model's configs, and at no weights: layers, resolution, prompts.

    Args:
        trainings: All that a flow will run, by their labels.

    Raises:
        FileNotFoundError: If a file of the base model is not there.
        ValueError: Naming the training, the field, and what the model has.
    """
    from tokencompose_core.training.base_model import check_base_model

    seen = set()
    for label, config in trainings.items():
        layers = tuple(config.objective.layers)
        prompts = config.prompts_and_nouns
        asked = config.base_model, config.base_revision, config.resolution, layers, prompts
        if asked in seen:
            continue
        seen.add(asked)
        try:
            with naming_field("finetune.base_model", config.base_model):
                check_base_model(
                    local_or_hub(config.base_model),
                    revision=config.base_revision,
                    resolution=config.resolution,
                    layers=layers,
                    prompts=prompts,
                )
        except ValueError as error:
            raise ValueError(f"{label}: {error}") from error


def check_heads(base: FinetuneConfig, config: EvaluateConfig) -> None:
    """See that the base model has the layers whose heads are to be drawn.

    Raises:
        ValueError: Naming the field, and what the model has.
    """
    wanted = config.attention.heads_of
    if not wanted:
        return
    from tokencompose_core.attention.layers import cross_attention_layers
    from tokencompose_core.training.base_model import read_geometry, shrinking_factor

    unet, vae = read_geometry(local_or_hub(base.base_model), base.base_revision)
    side = max(config.sampler.height, config.sampler.width) // shrinking_factor(vae)
    try:
        cross_attention_layers(unet, [wanted], side)
    except ValueError as error:
        raise ValueError(
            f"evaluate.attention.heads_of: {error}; name one of these, or leave it empty for the"
            " last"
        ) from error
