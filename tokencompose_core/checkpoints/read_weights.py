"""Read weights from a file without running anything that is in it."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from tokencompose_core.checkpoints.check_file import refusal

NOT_UNPICKLED = (
    UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    AssertionError,
)
"""What unpickling raises for files that hold something else, none of it a fault of the machine."""
NOT_WEIGHTS = (SafetensorError, *NOT_UNPICKLED)
"""The same of readers of weights, in either form."""


def read_weights(path: Path) -> dict[str, Any]:
    """The tensors of a checkpoint by their names.

    Args:
        path: A file in safetensors, or one of `torch.save` with tensors and plain containers.

    Raises:
        ValueError: If it holds anything else, such as a program that unpickling would start.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except NOT_WEIGHTS as error:
        raise ValueError(refusal(path, error)) from error
    if not isinstance(weights, dict):
        raise ValueError(f"{path} holds a {type(weights).__name__}, but named weights are expected")
    return weights


def load_named(
    model: torch.nn.Module, weights: Mapping[str, Any], path: Path, owner: Any
) -> list[str]:
    """Load weights by their names into a model.

    Args:
        model: It is changed.
        weights: What `path` holds.
        path: The checkpoint.
        owner: What the model was built from, for the message.

    Returns:
        Names of the model for which there are no weights.

    Raises:
        ValueError: If weights have another shape than the model's.
    """
    try:
        return model.load_state_dict(weights, strict=False).missing_keys
    except RuntimeError as error:  # torch lists all of them, a line each
        first = str(error).splitlines()[1].strip()
        raise ValueError(f"{path} does not belong to {owner}: {first}") from error
