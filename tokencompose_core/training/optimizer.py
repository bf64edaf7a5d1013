"""The optimizer of a fine-tuning."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tokencompose_core.training.settings import FinetuneSettings


def make_optimizer(
    parameters: Sequence[nn.Parameter], settings: FinetuneSettings
) -> torch.optim.Optimizer:
    """AdamW (arXiv:1711.05101), with states of 32 or of 8 bits (arXiv:2110.02861).

    Raises:
        ImportError: If 8-bit states are asked for and bitsandbytes is not installed.
        ValueError: If there is no such optimizer.
    """
    options: dict[str, Any] = {
        "lr": settings.learning_rate,
        "betas": (settings.adam_beta1, settings.adam_beta2),
        "weight_decay": settings.adam_weight_decay,
        "eps": settings.adam_epsilon,
    }
    match settings.optimizer:
        case "adamw":
            device = parameters[0].device
            fused = takes_fused(device, settings.mixed_precision) or None
            return torch.optim.AdamW(parameters, **options, fused=fused)
        case "adamw_8bit":
            # Imported here: optional, and its import looks for a GPU.
            from bitsandbytes.optim import AdamW8bit

            return AdamW8bit(parameters, **options)
    raise ValueError(f"optimizer {settings.optimizer!r} is neither adamw nor adamw_8bit")


def takes_fused(device: torch.device, mixed_precision: str) -> bool:
    """Whether one kernel takes the whole step, on a GPU.

    Not with fp16: it would skip a step whose gradients overflowed by itself, and nobody would know.
    """
    return device.type == "cuda" and mixed_precision != "fp16"
