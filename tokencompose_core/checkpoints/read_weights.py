"""Read weights from a file without running anything that is in it."""

import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

_GLOBAL = re.compile(r"GLOBAL (\S+) (?:was not an allowed global|whose module)")
NOT_WEIGHTS = (
    SafetensorError,
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
"""What readers raise for files that hold something else; none of it is a fault of the machine."""


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
    if found is not None:
        reason = f"it wants to call {found[1]}"
    else:
        reason = str(error).partition("\n")[0] or type(error).__name__
    return (
        f"{path} holds no weights, or more than weights ({reason}), and is not opened; get it"
        " again from whoever published it, as .safetensors if there is one"
    )
