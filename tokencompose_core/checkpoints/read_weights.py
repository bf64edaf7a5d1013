"""Read weights from a file without running anything that is in it."""

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
