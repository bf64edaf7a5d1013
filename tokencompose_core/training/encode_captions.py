"""Captions as the UNet of a Stable Diffusion 1, 2 or XL takes them."""

from collections.abc import Sequence

from diffusers import DiffusionPipeline, StableDiffusionXLPipeline
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerFast


def encode_captions(
    pipeline: DiffusionPipeline, captions: Sequence[str]
) -> tuple[Float[Tensor, "captions tokens width"], dict[str, Tensor]]:
    """Encode captions as the model's own pipeline does for the prompt of an image.

    An empty caption is encoded like any other, which is what diffusers' training of SDXL does with
    the captions that it drops. Its pipeline takes zeros for an empty negative prompt instead, if
    the model has `force_zeros_for_empty_prompt`.

    Args:
        pipeline: A Stable Diffusion; its UNet is not needed.
        captions: The captions, at least one.

    Returns:
        Text states, and what the UNet takes of captions beside them, one row a caption:
        `text_embeds`, the pooled state, `(captions, width)`, for SDXL, and nothing for others.
    """
    encoded = pipeline.encode_prompt(
        prompt=list(captions),
        device=pipeline.vae.device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=False,
    )
    if isinstance(pipeline, StableDiffusionXLPipeline):
        states, _, pooled, _ = encoded
        return states.cpu(), {"text_embeds": pooled.cpu()}
    states, _ = encoded
    return states.cpu(), {}


def tokenizers_of(pipeline: DiffusionPipeline) -> list[PreTrainedTokenizerFast]:
    """One tokenizer for each text encoder of a pipeline."""
    found = [getattr(pipeline, name, None) for name in ("tokenizer", "tokenizer_2")]
    return [tokenizer for tokenizer in found if tokenizer is not None]
