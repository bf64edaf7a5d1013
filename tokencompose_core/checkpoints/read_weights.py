"""Read weights from a file without running anything that is in it."""

import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

_GLOBAL = re.compile(r"GLOBAL (\S+) (?:was not an allowed global|whose module)")
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


def refusal(path: Path, error: Exception) -> str:
    """What is said of a file that holds no weights.

    Args:
        path: The file.
        error: One of `NOT_WEIGHTS`.
    """
    found = _GLOBAL.search(str(error))
    reason = first_line(error) if found is None else f"it wants to call {found[1]}"
    return (
        f"{path} holds no weights, or more than weights ({reason}), and is not opened; get it"
        " again from whoever published it, as .safetensors if there is one"
    )


def first_line(error: Exception) -> str:
    """What an error says, without the advice of torch that follows; its name if it says nothing."""
    return str(error).partition("\n")[0] or type(error).__name__
