"""Parameter of the flow `finetune`: a Stable Diffusion and how it is trained."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from data_schemas.configs.flow_config import FlowConfig, Settings

Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0.0)]


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


class FinetuneConfig(FlowConfig):
    """Fine-tune the UNet of a Stable Diffusion on grounded shards."""

    section: ClassVar[str] = "finetune"

    base_model: Annotated[str, Field(description="Hub name or folder, or pocket:stable_diffusion.")]
    base_revision: Annotated[str, Field(description="Commit of a hub model; empty for a folder.")]
    resolution: Annotated[int, Field(ge=8, multiple_of=8)]
    mask_reduction: Annotated[
        Literal["coverage", "antialiased", "released"],
        Field(description="How a mask shrinks to an attention map's resolution."),
    ]
    objective: ObjectiveConfig
    trainable: Annotated[
        Literal["unet", "cross_attention_keys", "cross_attention_keys_values", "lora"],
        Field(description="Which weights of the UNet are trained."),
    ]
    lora_rank: Annotated[Count, Field(description="Of the LoRA layers, if they are trained.")]
    num_steps: Annotated[Count, Field(description="Optimizer steps.")]
    batch_size: Count
    gradient_accumulation_steps: Count
    gradient_checkpointing: bool
    learning_rate: Annotated[float, Field(gt=0.0)]
    lr_scheduler: Literal["constant", "constant_with_warmup", "cosine", "linear"]
    lr_warmup_steps: Annotated[int, Field(ge=0)]
    adam_beta1: Annotated[float, Field(ge=0.0, lt=1.0)]
    adam_beta2: Annotated[float, Field(ge=0.0, lt=1.0)]
    adam_weight_decay: NotNegative
    adam_epsilon: Annotated[float, Field(gt=0.0)]
    max_grad_norm: Annotated[float, Field(gt=0.0)]
    seed: int
    validation_fraction: Annotated[
        float,
        Field(
            ge=0.0,
            lt=1.0,
            description="Share of samples that is not trained on but measured before and after.",
        ),
    ]
    checkpoint_every_steps: Annotated[Count, Field(description="State saved to resume from.")]
    encode_batch_size: Count
    preview_prompts: Annotated[
        list[str], Field(description="Drawn before and after training, from the same noise.")
    ]
    device: Literal["auto", "cpu", "cuda"]
