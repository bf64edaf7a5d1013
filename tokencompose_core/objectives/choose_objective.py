"""Which grounding terms a config asks for."""

from typing import Literal

from tokencompose_core.objectives.tokencompose import Objective, paper_losses, released_losses


def choose_objective(variant: Literal["paper", "released"]) -> Objective:
    """The grounding terms of a config's objective.

    Raises:
        ValueError: If there is no such variant.
    """
    match variant:
        case "paper":
            return paper_losses
        case "released":
            return released_losses
    raise ValueError(f"variant {variant!r} is neither paper nor released")
