"""A Stable Diffusion of the published size with random weights: nothing is downloaded."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from train_step import SHAPES
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import tokencompose_core.pocket

POCKET = Path(tokencompose_core.pocket.__path__[0]) / "models/stable_diffusion"


def build_sd14(device: str) -> DiffusionPipeline:
    """Stable Diffusion 1.4's shape, with its sampler, and its tokenizer from the pocket model."""
    shape = {k: v for k, v in SHAPES["sd14"].items() if k not in ("latent_side", "batch")}
    text = CLIPTextConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        bos_token_id=49406,
        eos_token_id=49407,
    )
    with torch.device(device):
        unet = UNet2DConditionModel(sample_size=64, **shape).eval()
        text_encoder = CLIPTextModel(text).eval()
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
        ).eval()
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=CLIPTokenizer.from_pretrained(POCKET / "tokenizer", model_max_length=77),
        unet=unet,
        scheduler=PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=True,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
