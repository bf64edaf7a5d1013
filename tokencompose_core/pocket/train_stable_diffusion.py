"""Train the UNet and the text encoder of a small Stable Diffusion from nothing."""

import random
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from tokencompose_core.pocket.clip_vocabulary import write_clip_tokenizer
from tokencompose_core.pocket.fitting import (
    FitSettings,
    OnProgress,
    fit,
    shuffled_batches,
)
from tokencompose_core.pocket.pools import draw_pool
from tokencompose_core.pocket.scenes import Scene
from tokencompose_core.pocket.sentences import write_sentence
from tokencompose_core.pocket.train_autoencoder import SIDE, encode_images

TEXT_WIDTH = 64
MAX_TOKENS = 32
CAPTIONS_PER_SCENE = 4


def build_unet() -> UNet2DConditionModel:
    """A UNet with cross-attention at 16, 8 and 4 pixels and in the mid block."""
    return UNet2DConditionModel(
        sample_size=SIDE // 4,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        block_out_channels=(64, 96, 128),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=2,
        norm_num_groups=16,
    )


def build_text_encoder(num_layers: int = 2) -> CLIPTextModel:
    """A CLIPTextModel over CLIP's own vocabulary; without layers no token knows of another."""
    return CLIPTextModel(
        CLIPTextConfig(
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=num_layers,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            projection_dim=TEXT_WIDTH,
            bos_token_id=49406,
            eos_token_id=49407,
            pad_token_id=49407,
        )
    )


def build_scheduler() -> PNDMScheduler:
    """Stable Diffusion's noise schedule."""
    return PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def train_diffusion(
    folder: Path,
    autoencoder: AutoencoderKL,
    settings: FitSettings,
    *,
    seed: int,
    batch_size: int,
    num_scenes: int,
    caption_dropout: float = 0.1,
    snr_gamma: float = 5.0,
    first_unet: UNet2DConditionModel | None = None,
    text_layers: int = 2,
    on_progress: OnProgress = lambda *_: None,
    checkpoint_path: Path | None = None,
) -> list[dict[str, float]]:
    """Fit UNet and text encoder on habitual scenes and write a whole Stable Diffusion folder.

    Captions are dropped with probability `caption_dropout` for classifier-free guidance. The
    denoising loss is weighted by min-SNR (arXiv:2303.09556, `snr_gamma`), which lets shapes emerge
    sooner. `first_unet` is trained further if it is given; the text encoder is a new one, of
    `text_layers`.
    """
    torch.manual_seed(seed)
    tokenizer = write_clip_tokenizer(folder / "tokenizer", model_max_length=MAX_TOKENS)
    unet = (first_unet or build_unet()).to(memory_format=torch.channels_last)
    model = nn.ModuleDict({"unet": unet, "text_encoder": build_text_encoder(text_layers)})
    scheduler = build_scheduler()
    weights = min_snr_weights(scheduler, snr_gamma)
    pool = draw_pool("habitual", num_scenes, size=(SIDE, SIDE), seed=seed)
    captions = tokenizer(
        [
            text
            for number, scene in enumerate(pool.scenes)
            for text in _captions(random.Random(f"captions-{seed}-{number}"), scene)
        ],
        padding="max_length",
        truncation=True,
        return_tensors="pt",
    ).input_ids.view(num_scenes, CAPTIONS_PER_SCENE, MAX_TOKENS)
    empty = tokenizer("", padding="max_length", return_tensors="pt").input_ids[0]
    mean, deviation = encode_images(autoencoder, pool.images)
    batch_of = shuffled_batches(num_scenes, batch_size, seed)

    def losses_of_step(step: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        batch = batch_of(step)
        noise = torch.randn((2, len(batch), *mean.shape[1:]), generator=generator)
        latents = mean[batch] + deviation[batch] * noise[0]
        timesteps = torch.randint(0, 1000, (len(batch),), generator=generator)
        choice = torch.randint(0, CAPTIONS_PER_SCENE, (len(batch),), generator=generator)
        ids = captions[batch, choice]
        dropped = torch.rand(len(batch), generator=generator) < caption_dropout
        ids = torch.where(dropped[:, None], empty, ids)
        noisy_latents = scheduler.add_noise(latents, noise[1], timesteps)
        states = model["text_encoder"](ids)[0]
        predicted = model["unet"](
            noisy_latents.contiguous(memory_format=torch.channels_last), timesteps, states
        ).sample
        errors = F.mse_loss(predicted, noise[1], reduction="none").mean(dim=(1, 2, 3))
        return {"denoising": (weights[timesteps] * errors).mean()}

    history = fit(
        model, losses_of_step, settings, on_progress=on_progress, checkpoint_path=checkpoint_path
    )
    StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=model["text_encoder"],
        tokenizer=tokenizer,
        unet=model["unet"],
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return history


def min_snr_weights(scheduler: PNDMScheduler, gamma: float) -> Float[Tensor, " timesteps"]:
    """Weight of each timestep's noise error: min(SNR, gamma) / SNR."""
    ratio = scheduler.alphas_cumprod / (1 - scheduler.alphas_cumprod)
    return ratio.clamp(max=gamma) / ratio


def _captions(rng: random.Random, scene: Scene) -> list[str]:
    texts = [write_sentence(rng, scene).text for _ in range(CAPTIONS_PER_SCENE - 1)]
    plain = write_sentence(
        rng, scene, templates=["a/DT photo/NN of/IN {list} ./."], colour_share=0.0
    )
    return [*texts, plain.text]
