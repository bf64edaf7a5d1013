"""Which device a task uses."""

from typing import Literal

Device = Literal["auto", "cpu", "cuda"]


def resolve_device(device: Device) -> str:
    """The device's name for torch; `auto` takes a GPU if there is one.

    Raises:
        ValueError: If a GPU is asked for and there is none.
    """
    if device == "cpu":
        return device
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise ValueError("device is 'cuda', but torch sees no GPU; set device to 'auto' or 'cpu'")
    return "cpu"
