"""Which device a task uses."""

import platform
from pathlib import Path
from typing import Literal

Device = Literal["auto", "cpu", "cuda"]


def resolve_device(device: Device) -> str:
    """The device's name for torch; `auto` takes a GPU if there is one.

    On a GPU float32 means all its digits from then on. PyTorch would have convolutions keep 10 of
    the 23 (TF32), and products of matrices too where a library or the environment asks for it: an
    image then depends on the batch that it is sampled in.

    Raises:
        ValueError: If a GPU is asked for and there is none.
    """
    if device == "cpu":
        return device
    import torch

    if torch.cuda.is_available():
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        return "cuda"
    if device == "cuda":
        raise ValueError("device is 'cuda', but torch sees no GPU; set device to 'auto' or 'cpu'")
    return "cpu"


def describe_machine(device: Device) -> str:
    """What decides how long work takes on a device: the GPU, or processor and threads."""
    import torch

    if resolve_device(device) == "cuda":
        return torch.cuda.get_device_name()
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    """The processor's name, which Python knows on some systems only."""
    described = Path("/proc/cpuinfo")
    if described.is_file():
        for line in described.read_text("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
