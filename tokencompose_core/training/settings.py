"""What decides a fine-tuning."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tokencompose_core.training.trainable import Trainable

# What changes neither the loss nor the weights, save by rounding.
_OUTSIDE = ("checkpoint_every_steps", "validation_every_steps")


@dataclass(frozen=True)
class FinetuneSettings:
    """What decides a fine-tuning; names and meanings are those of `FinetuneConfig`.

    Attributes:
        weights: Of the objective's terms, by their names; 0 for one that the objective lacks.
    """

    variant: str
    weights: Mapping[str, float]
    layers: tuple[str, ...]
    snr_gamma: float
    caption_dropout: float
    trainable: Trainable
    lora_rank: int
    num_steps: int
    batch_size: int
    gradient_accumulation_steps: int
    gradient_checkpointing: bool
    mixed_precision: Literal["no", "fp16", "bf16"]
    compile_blocks: bool
    optimizer: Literal["adamw", "adamw_8bit"]
    learning_rate: float
    lr_scheduler: str
    lr_warmup_steps: int
    adam_beta1: float
    adam_beta2: float
    adam_weight_decay: float
    adam_epsilon: float
    max_grad_norm: float
    ema_decay: float
    max_denoising_rise: float
    seed: int
    checkpoint_every_steps: int
    validation_every_steps: int

    @property
    def is_grounded(self) -> bool:
        """Whether the grounding terms train the network, and are not only measured."""
        return any(weight > 0 for weight in self.weights.values())

    def deciding(self) -> dict[str, Any]:
        """What a checkpoint must agree with, as plain values."""
        weights = {f"{name}_weight": weight for name, weight in self.weights.items()}
        values = {**weights, **asdict(self), "layers": list(self.layers)}
        outside = ("weights", *_OUTSIDE)
        return {name: value for name, value in values.items() if name not in outside}
