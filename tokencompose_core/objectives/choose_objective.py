"""Which grounding terms a config asks for."""

from data_schemas.configs.finetune_config import ObjectiveConfig
from tokencompose_core.objectives.tokencompose import Objective, paper_losses, released_losses


def choose_objective(config: ObjectiveConfig) -> Objective:
    """The grounding terms of a config's objective."""
    match config.variant:
        case "paper":
            return paper_losses
        case "released":
            return released_losses
