"""Folders of tiny Stable Diffusions with random weights, alike to the real ones in all but size."""

from pathlib import Path
from typing import Literal

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedModel,
)

from tests.conftest import MODELS

Kind = Literal["sd1", "sd2", "sdxl"]
KINDS: tuple[Kind, ...] = ("sd1", "sd2", "sdxl")
NUM_TOKENS = 16
_TOKENIZER = MODELS / "stable_diffusion/tokenizer"
_NOISE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
_WITH_ATTENTION = {
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}


def write_model(folder: Path, kind: Kind) -> Path:
    """Write a model whose VAE halves images once, and return its folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        build_pipeline(kind).save_pretrained(folder)
    return folder


def build_pipeline(kind: Kind) -> DiffusionPipeline:
    """A pipeline with weights from torch's generator as it stands."""
    match kind:
        case "sd1":
            return StableDiffusionPipeline(
                vae=_build_vae(scaling_factor=0.18215),
                text_encoder=_build_text_encoder(CLIPTextModel, hidden_act="quick_gelu"),
                tokenizer=_load_tokenizer(),
                unet=_build_unet(**_WITH_ATTENTION, cross_attention_dim=8, attention_head_dim=2),
                scheduler=PNDMScheduler(**_NOISE, skip_prk_steps=True),
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
            )
        case "sd2":
            return StableDiffusionPipeline(
                vae=_build_vae(scaling_factor=0.18215),
                text_encoder=_build_text_encoder(CLIPTextModel, hidden_act="gelu"),
                tokenizer=_load_tokenizer(pad_token="!"),
                unet=_build_unet(
                    **_WITH_ATTENTION,
                    cross_attention_dim=8,
                    attention_head_dim=[1, 2],
                    use_linear_projection=True,
                ),
                scheduler=DDIMScheduler(
                    **_NOISE, prediction_type="v_prediction", clip_sample=False
                ),
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
            )
        case "sdxl":
            return StableDiffusionXLPipeline(
                vae=_build_vae(scaling_factor=0.13025),
                text_encoder=_build_text_encoder(CLIPTextModel, hidden_act="quick_gelu"),
                text_encoder_2=_build_text_encoder(
                    CLIPTextModelWithProjection, hidden_act="gelu", projection_dim=6
                ),
                tokenizer=_load_tokenizer(),
                tokenizer_2=_load_tokenizer(pad_token="!"),
                unet=_build_unet(
                    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                    up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                    cross_attention_dim=16,
                    attention_head_dim=[1, 2],
                    transformer_layers_per_block=[1, 2],
                    use_linear_projection=True,
                    addition_embed_type="text_time",
                    addition_time_embed_dim=4,
                    projection_class_embeddings_input_dim=6 * 4 + 6,
                ),
                scheduler=EulerDiscreteScheduler(**_NOISE),
                add_watermarker=False,
            )


def _build_vae(scaling_factor: float) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 4),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
        sample_size=16,
        scaling_factor=scaling_factor,
    )


def _build_unet(**options) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16, block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2, **options
    )


def _build_text_encoder(model: type[PreTrainedModel], **options) -> PreTrainedModel:
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=NUM_TOKENS,
        bos_token_id=49406,
        eos_token_id=49407,
        **options,
    )
    return model(config).eval()


def _load_tokenizer(**options) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(_TOKENIZER, model_max_length=NUM_TOKENS, **options)
