"""Weights for torch-fidelity's Inception, drawn by chance: the real ones have to be downloaded."""

from pathlib import Path

import torch
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3


class _Untrained(FeatureExtractorInceptionV3):
    """The architecture alone: its own constructor wants a file of weights."""

    def load_state_dict(self, *_: object, **__: object) -> None:
        return None


def write_weights(path: Path, *, seed: int = 0) -> Path:
    """Write a state dict whose features of different images differ, and return its path."""
    torch.save({}, path)
    network = _Untrained("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    torch.save(network.state_dict(), path)
    return path
