"""What of a base model is frozen, and whether it can be trained as a config asks."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from diffusers.utils.logging import disable_progress_bar
from transformers import CLIPTokenizerFast

from data_schemas.find_nouns import find_nouns
from tokencompose_core.attention.layers import cross_attention_layers
from tokencompose_core.checkpoints.pipeline_class import load_options, read_scheduler_config
from tokencompose_core.nouns.token_positions import token_positions
from tokencompose_core.objectives.denoising_loss import PREDICTION_TYPES
from tokencompose_core.training.encode_shard import map_sides


def check_base_model(
    model: str,
    *,
    revision: str = "",
    resolution: int,
    layers: Sequence[str],
    prompts: Sequence[tuple[str, Sequence[str]]] = (),
) -> list[int]:
    """Refuse a model that cannot be trained as asked, before its weights are read.

    Args:
        model: Folder or hub name.
        revision: Commit of a hub model.
        resolution: Side of the square training images in pixels.
        layers: Places and resolutions whose attention is supervised.
        prompts: What is drawn to validate, each with nouns that are in it.

    Returns:
        Sides of the attention maps, largest first.

    Raises:
        ValueError: If the model is no Stable Diffusion, its UNet does not denoise the latents of
            its VAE alone, with DDPM's noise, or predicts neither noise nor velocity, the VAE cannot
            encode images of that resolution, the UNet lacks a layer, or the text encoder does not
            read a noun. The message begins with the field of the config.
    """
    try:
        load_options(model, revision)
    except ValueError as error:
        raise ValueError(f"finetune.base_model: {error}") from error
    where = {"pretrained_model_name_or_path": model, "revision": revision or None}
    unet, vae = read_geometry(model, revision)
    if unet.config.in_channels != vae["latent_channels"]:
        raise ValueError(
            f"finetune.base_model: the UNet of {model} takes {unet.config.in_channels} channels,"
            f" its VAE makes {vae['latent_channels']}; name a model that draws from text alone"
        )
    if vae.get("latents_mean") or vae.get("latents_std"):
        raise ValueError(
            f"finetune.base_model: the VAE of {model} has a mean and a deviation of its own for"
            " every channel (latents_mean, latents_std), which training does not know; name another"
            " model"
        )
    schedule = read_scheduler_config(model, revision)
    if "beta_start" not in schedule and not schedule.get("trained_betas"):
        raise ValueError(
            f"finetune.base_model: the scheduler of {model}, {schedule.get('_class_name')}, has no"
            " beta_start, so its noise is none of DDPM's, by which training adds it; name another"
            " model"
        )
    # Older schedulers say nothing, and mean the noise.
    kind = schedule.get("prediction_type")
    if kind not in (None, *PREDICTION_TYPES):
        raise ValueError(
            f"finetune.base_model: the scheduler of {model} has the prediction_type {kind!r};"
            f" expected one of {', '.join(PREDICTION_TYPES)}. Name another model"
        )
    factor = shrinking_factor(vae)
    if resolution % factor:
        below = max(1, resolution // factor) * factor
        raise ValueError(
            f"finetune.resolution: expected a multiple of {factor}, by which the VAE of {model}"
            f" shrinks images, received {resolution}; take {below} or {below + factor}"
        )
    side = resolution // factor
    try:
        cross_attention_layers(unet, layers, side)
    except ValueError as error:
        raise ValueError(f"finetune.objective.layers: {error}") from error
    if prompts:
        _check_prompts(CLIPTokenizerFast.from_pretrained(**where, subfolder="tokenizer"), prompts)
    return map_sides(len(unet.config.block_out_channels), side)


def read_geometry(model: str, revision: str = "") -> tuple[UNet2DConditionModel, dict[str, Any]]:
    """The UNet of a Stable Diffusion without its weights, and the config of its VAE.

    Args:
        model: Folder or hub name.
        revision: Commit of a hub model.
    """
    where = {"pretrained_model_name_or_path": model, "revision": revision or None}
    with torch.device("meta"):  # layers without memory for their weights
        unet = UNet2DConditionModel.from_config(
            UNet2DConditionModel.load_config(**where, subfolder="unet")
        )
    return unet, AutoencoderKL.load_config(**where, subfolder="vae")


def shrinking_factor(vae: Mapping[str, Any]) -> int:
    """By what a VAE with this config shrinks images."""
    return 2 ** (len(vae["block_out_channels"]) - 1)


def _check_prompts(
    tokenizer: CLIPTokenizerFast, prompts: Sequence[tuple[str, Sequence[str]]]
) -> None:
    for number, (prompt, nouns) in enumerate(prompts):
        positions = token_positions(tokenizer, prompt, find_nouns(prompt, nouns))
        beyond = [noun for noun, own in zip(nouns, positions, strict=True) if not own]
        if beyond:
            raise ValueError(
                f"finetune.validation_prompts.{number}: {', '.join(beyond)} lie beyond the"
                f" {tokenizer.model_max_length} tokens that the text encoder reads of {prompt!r};"
                " shorten the prompt, or leave these nouns out"
            )


def load_frozen_parts(model: str, *, revision: str = "", device: str = "cpu") -> DiffusionPipeline:
    """Load a Stable Diffusion without its UNet, in float32.

    Its tokenizers are fast ones, the only kind that knows the characters of its tokens: text states
    and positions of nouns must come from the same tokens, and the slow kind cleans captions first.

    Args:
        model: Folder or hub name.
        revision: Commit of a hub model.
        device: Where its parts shall be.

    Raises:
        ValueError: If the model is no Stable Diffusion, or its text encoders do not share a
            vocabulary.
    """
    disable_progress_bar()  # of the few parts that are loaded, gone in a blink
    where = {"pretrained_model_name_or_path": model, "revision": revision or None}
    parts = DiffusionPipeline.load_config(**where)
    tokenizers = [name for name in ("tokenizer", "tokenizer_2") if name in parts]
    pipeline = DiffusionPipeline.from_pretrained(
        **where,
        **load_options(model, revision),
        **dict.fromkeys(tokenizers),
        unet=None,
        feature_extractor=None,
        image_encoder=None,
        torch_dtype=torch.float32,
    )
    loaded = {n: CLIPTokenizerFast.from_pretrained(**where, subfolder=n) for n in tokenizers}
    vocabularies = [tokenizer.get_vocab() for tokenizer in loaded.values()]
    if any(vocabulary != vocabularies[0] for vocabulary in vocabularies):
        raise ValueError(
            f"finetune.base_model: the tokenizers of {model} have different vocabularies, so no"
            " column of its attention belongs to one noun; name another model"
        )
    pipeline.register_modules(**loaded)
    return pipeline.to(device)
