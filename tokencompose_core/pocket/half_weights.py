"""Store weights in half precision."""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file


def halve_weights(folder: Path) -> None:
    """Rewrite every safetensors file below a folder with its float32 tensors as float16.

    The libraries load them into float32 models again; what is lost is far below what training
    leaves undecided.
    """
    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata()
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        halved = {
            name: value.half() if value.dtype == torch.float32 else value
            for name, value in tensors.items()
        }
        save_file(halved, path, metadata=metadata)
