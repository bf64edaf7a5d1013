"""Parameter of the flow `finetune`: a Stable Diffusion and how it is trained."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from data_schemas.configs.flow_config import Device, FlowConfig, Settings
from data_schemas.find_nouns import find_nouns

Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0.0)]
# A million times a seed still is one that torch's generators take.
Seed = Annotated[int, Field(ge=-(10**12), le=10**12)]
# Where diffusers' schedule of this name ends, and it refuses to rise.
_END_OF_POLYNOMIAL = 1e-7


class ObjectiveConfig(Settings):
    """TokenCompose, Eq. 7: denoising + token_weight * token + pixel_weight * pixel."""

    variant: Annotated[
        Literal["paper", "released"],
        Field(description="Eqs. 4-7 of the paper, or the terms of its released code."),
    ]
    token_weight: Annotated[NotNegative, Field(description="lambda of Eq. 7")]
    pixel_weight: Annotated[NotNegative, Field(description="gamma of Eq. 7")]
    layers: Annotated[
        list[Annotated[str, Field(pattern=r"^(down|mid|up)(_\d+)?$")]],
        Field(
            min_length=1,
            description="Cross-attention that is supervised: down, mid or up, or one resolution of"
            " it, up_16.",
        ),
    ]

    @property
    def weights(self) -> dict[str, float]:
        """The fields `<term>_weight` by their terms."""
        return {
            name.removesuffix("_weight"): value for name, value in self if name.endswith("_weight")
        }

    @property
    def trained_terms(self) -> list[str]:
        """The terms that train the network, and are not only measured."""
        return [name for name, weight in self.weights.items() if weight > 0]


class ValidationPrompt(Settings):
    """A prompt that is drawn from the same noise again and again, and where its nouns look."""

    prompt: Annotated[str, Field(min_length=1, description="What is drawn.")]
    nouns: Annotated[list[str], Field(min_length=1, description="Words of the prompt.")]

    @model_validator(mode="after")
    def _nouns_are_in_the_prompt(self) -> Self:
        find_nouns(self.prompt, self.nouns)
        return self


class FinetuneConfig(FlowConfig):
    """Fine-tune the UNet of a Stable Diffusion on grounded shards."""

    section: ClassVar[str] = "finetune"

    base_model: Annotated[str, Field(description="Hub name or folder, or pocket:stable_diffusion.")]
    base_revision: Annotated[str, Field(description="Commit of a hub model; empty for a folder.")]
    resolution: Annotated[
        int,
        Field(
            ge=8,
            multiple_of=8,
            description="Pixels of a side: images are resized by their short side and cropped.",
        ),
    ]
    mask_reduction: Annotated[
        Literal["coverage", "antialiased", "released"],
        Field(description="How a mask shrinks to an attention map's resolution."),
    ]
    objective: ObjectiveConfig
    snr_gamma: Annotated[
        NotNegative, Field(description="min-SNR weighting of the denoising loss; 0 for none.")
    ]
    caption_dropout: Annotated[
        float, Field(ge=0.0, lt=1.0, description="How often a sample is shown the empty caption.")
    ]
    trainable: Annotated[
        Literal["unet", "cross_attention_keys", "cross_attention_keys_values", "lora"],
        Field(description="Which weights of the UNet are trained."),
    ]
    lora_rank: Annotated[Count, Field(description="Of the LoRA layers, if they are trained.")]
    num_steps: Annotated[Count, Field(description="Optimizer steps.")]
    batch_size: Annotated[Count, Field(description="Of one forward pass, over all processes.")]
    gradient_accumulation_steps: Annotated[
        Count, Field(description="Forward passes of an optimizer step.")
    ]
    gradient_checkpointing: Annotated[
        bool, Field(description="Compute activations again in the backward pass: less memory.")
    ]
    mixed_precision: Annotated[
        Literal["no", "fp16", "bf16"], Field(description="Of the forward pass.")
    ]
    compile_blocks: Annotated[bool, Field(description="torch.compile the UNet's blocks.")]
    num_processes: Annotated[
        Count, Field(description="Processes that share each batch, each with a GPU of its own.")
    ]
    timeout_minutes: Annotated[
        NotNegative,
        Field(
            description="After how long without a step a training that hangs is ended, and goes on"
            " from its checkpoint; it then runs in a child process. 0 for never."
        ),
    ]
    optimizer: Annotated[
        Literal["adamw", "adamw_8bit"],
        Field(description="AdamW, with states of 32 bits, or of 8 by bitsandbytes."),
    ]
    learning_rate: Annotated[float, Field(gt=0.0, description="At its highest.")]
    lr_scheduler: Annotated[
        Literal[
            "constant",
            "constant_with_warmup",
            "linear",
            "cosine",
            "polynomial",
        ],
        Field(description="How the learning rate changes over the steps, as diffusers names it."),
    ]
    lr_warmup_steps: Annotated[int, Field(ge=0, description="Steps until the rate is reached.")]
    adam_beta1: Annotated[
        float, Field(ge=0.0, lt=1.0, description="Decay of the mean of gradients.")
    ]
    adam_beta2: Annotated[
        float, Field(ge=0.0, lt=1.0, description="Decay of the mean of their squares.")
    ]
    adam_weight_decay: Annotated[NotNegative, Field(description="Of all trained weights.")]
    adam_epsilon: Annotated[float, Field(gt=0.0, description="Added to the divisor of a step.")]
    max_grad_norm: Annotated[
        float, Field(gt=0.0, description="Longer gradients are shortened to it.")
    ]
    ema_decay: Annotated[
        float,
        Field(ge=0.0, lt=1.0, description="Of the averaged weights that are saved; 0 for none."),
    ]
    max_denoising_rise: Annotated[
        NotNegative,
        Field(description="Training stops when the denoising loss is so many times what it was."),
    ]
    seed: Annotated[Seed, Field(description="Of the samples' order, noise, timesteps and dropout.")]
    validation_fraction: Annotated[
        float,
        Field(
            ge=0.0,
            lt=1.0,
            description="Share of samples that is not trained on but measured before and after.",
        ),
    ]
    validation_prompts: Annotated[
        list[ValidationPrompt], Field(description="Drawn before, during and after training.")
    ]
    validation_every_steps: Annotated[
        int, Field(ge=0, description="How often during training; 0 for never.")
    ]
    checkpoint_every_steps: Annotated[Count, Field(description="State saved to resume from.")]
    trackers: Annotated[
        list[Literal["tensorboard", "wandb", "mlflow"]], Field(description="Told of every step.")
    ]
    encode_batch_size: Annotated[
        Count, Field(description="Images, and captions, that are encoded at once, before training.")
    ]
    device: Device

    @property
    def prompts_and_nouns(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The validation prompts, each with its nouns, as plain values."""
        return tuple((one.prompt, tuple(one.nouns)) for one in self.validation_prompts)

    @model_validator(mode="after")
    def _schedule_warms_up(self) -> Self:
        if self.lr_scheduler == "constant" and self.lr_warmup_steps:
            raise ValueError(
                f"lr_warmup_steps {self.lr_warmup_steps} would be ignored by lr_scheduler"
                " constant; take constant_with_warmup, or 0 steps"
            )
        return self

    @model_validator(mode="after")
    def _schedule_falls(self) -> Self:
        if self.lr_scheduler == "polynomial" and self.learning_rate <= _END_OF_POLYNOMIAL:
            raise ValueError(
                f"learning_rate {self.learning_rate:g} is not above {_END_OF_POLYNOMIAL:g}, to"
                " which lr_scheduler polynomial falls; take a higher one, or linear"
            )
        return self

    @model_validator(mode="after")
    def _processes_share_batches(self) -> Self:
        if self.batch_size % self.num_processes:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be shared by {self.num_processes} processes;"
                " change batch_size or num_processes"
            )
        return self
