"""A UNet, samples and settings that train in seconds."""

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from PIL import Image

from tokencompose_core.objectives.tokencompose import paper_losses
from tokencompose_core.shards.read_shard import GroundedSample
from tokencompose_core.training.checkpoint import agree_on_start
from tokencompose_core.training.encode_shard import encode_samples, map_sides
from tokencompose_core.training.finetune import finetune_unet
from tokencompose_core.training.processes import make_accelerator
from tokencompose_core.training.settings import FinetuneSettings

SETTINGS = FinetuneSettings(
    variant="paper",
    weights={"token": 0.05, "pixel": 0.01},
    layers=("mid", "up"),
    snr_gamma=0.0,
    caption_dropout=0.0,
    trainable="unet",
    lora_rank=2,
    num_steps=6,
    batch_size=3,
    gradient_accumulation_steps=2,
    gradient_checkpointing=False,
    mixed_precision="no",
    compile_blocks=False,
    optimizer="adamw",
    learning_rate=1e-3,
    lr_scheduler="constant_with_warmup",
    lr_warmup_steps=2,
    adam_beta1=0.9,
    adam_beta2=0.999,
    adam_weight_decay=1e-2,
    adam_epsilon=1e-8,
    max_grad_norm=1.0,
    ema_decay=0.0,
    max_denoising_rise=0.0,
    seed=3,
    checkpoint_every_steps=2,
    validation_every_steps=0,
)


def make_unet(dropout: float = 0.0) -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
        dropout=dropout,
    )


def make_samples(count: int = 5) -> list[GroundedSample]:
    generator = np.random.default_rng(0)
    samples = []
    for number in range(count):
        mask = np.zeros((20, 24), dtype=bool)
        mask[4:12, 6 + number : 14 + number] = True
        samples.append(
            GroundedSample(
                key=f"{number:03d}",
                image=Image.fromarray(generator.integers(0, 255, (20, 24, 3), dtype=np.uint8)),
                caption="A surfboard and a cat",
                spans=[(2, 11), (18, 21)],
                masks=[mask, ~mask],
            )
        )
    return samples


def encode(frozen_parts, samples, **changes):
    options = {
        "resolution": 16,
        "sides": map_sides(2, 8),
        "reduction": "coverage",
        "batch_size": 2,
    } | changes
    return encode_samples(samples, frozen_parts, **options)


def train(encoded, tmp_path, settings=SETTINGS, unet=None, objective=None, device="cpu", **options):
    unet = unet or make_unet()
    accelerator = make_accelerator(device, settings.mixed_precision)
    history = finetune_unet(
        unet,
        DDPMScheduler(),
        encoded,
        objective or paper_losses,
        settings,
        accelerator=accelerator,
        checkpoint_dir=tmp_path / "run",
        start_step=agree_on_start(tmp_path / "run", accelerator),
        **options,
    )
    return unet, history
