"""Generate images whose noise depends on prompt and round, and on nothing else."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from diffusers import DiffusionPipeline, PNDMScheduler
from diffusers.utils.logging import disable_progress_bar
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from tokencompose_core.checkpoints.pipeline_class import check_pndm, load_options
from tokencompose_core.evaluation.decode_latents import decode_latents
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.evaluation.text_states import encode_prompts
from tokencompose_core.store.keys import text_digest


@dataclass(frozen=True)
class ImageRequest:
    """One image to generate."""

    prompt: Prompt
    round: int
    seed: int

    @property
    def name(self) -> str:
        """File name without suffix, as in MultiGen's release."""
        return f"{self.prompt.prompt_id}_{self.round}"


@dataclass(frozen=True)
class Picture:
    """What was generated for a request.

    Attributes:
        request: What was asked for.
        image: In RGB.
        is_blanked: Whether the model's safety checker made it black.
    """

    request: ImageRequest
    image: Image.Image
    is_blanked: bool


@dataclass(frozen=True)
class Sampler:
    """How images are sampled.

    Attributes:
        num_inference_steps: Steps of the sampler; PNDM calls the UNet once more than that.
        guidance_scale: Classifier-free guidance.
        height: Pixels.
        width: Pixels.
    """

    num_inference_steps: int
    guidance_scale: float
    height: int
    width: int


def request_images(
    prompts: Sequence[Prompt], num_rounds: int, seed: int, *, first_round: int = 0
) -> list[ImageRequest]:
    """One image of each prompt a round, every one with a seed of its own."""
    return [
        ImageRequest(prompt, number, image_seed(seed, prompt.prompt_id, number))
        for prompt in prompts
        for number in range(first_round, first_round + num_rounds)
    ]


def image_seed(seed: int, prompt_id: int, number: int) -> int:
    """Seed of the image of a prompt and round."""
    return int(text_digest(f"{seed}-{prompt_id}-{number}")[:12], 16)


def load_pipeline(
    model: str | Path,
    *,
    revision: str = "",
    device: str = "cpu",
    safety_checker: bool = False,
    scheduler: Literal["pndm", "own"] = "pndm",
) -> DiffusionPipeline:
    """Load a Stable Diffusion 1, 2 or XL.

    Args:
        model: Folder or hub name.
        revision: Commit of a hub model.
        device: Where it computes.
        safety_checker: Whether to load the model's own, which blanks some images.
        scheduler: The paper's sampler, PNDM (arXiv:2202.09778), with the model's noise schedule and
            kind of prediction; or the sampler that the model comes with.

    Raises:
        ValueError: If the model is another one, has no safety checker while it is asked for, or
            starts from noise alone, which PNDM cannot.
    """
    disable_progress_bar()  # of the few parts that are loaded, gone in a blink
    pipeline = DiffusionPipeline.from_pretrained(
        str(model),
        revision=revision or None,
        **load_options(model, revision, safety_checker=safety_checker),
    )
    if scheduler == "pndm":
        config = pipeline.scheduler.config
        check_pndm(model, config)
        pipeline.scheduler = PNDMScheduler.from_config(config, skip_prk_steps=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


@torch.inference_mode()
def generate_batches(
    pipeline: DiffusionPipeline,
    requests: Sequence[ImageRequest],
    sampler: Sampler,
    *,
    batch_size: int,
    decode_batch_size: int | None = None,
    fill_batches: bool = False,
    on_step_end: Callable[..., dict] | None = None,
) -> Iterator[list[Picture]]:
    """Generate the requested images in order, a batch at a time.

    Noise is drawn on the CPU with the image's own seed, that of samplers that add some on the way
    as well, and every distinct prompt is encoded once: an image is the same in any batch, up to
    rounding.

    Args:
        pipeline: A loaded Stable Diffusion.
        requests: What to generate.
        sampler: Steps, guidance and size.
        batch_size: Images sampled at once.
        decode_batch_size: Images that the VAE decodes at once; None is all of a batch.
        fill_batches: Sample the last batch as full as the others and drop what is too much: a
            compiled UNet need not be compiled for its size.
        on_step_end: The pipeline's `callback_on_step_end`.

    Yields:
        The pictures of a batch, when they are done.
    """
    texts = encode_prompts(
        pipeline, [request.prompt.text for request in requests], batch_size=batch_size
    )
    for start in range(0, len(requests), batch_size):
        batch = requests[start : start + batch_size]
        sampled = [*batch]
        if fill_batches:
            sampled += [batch[-1]] * (batch_size - len(batch))
        generators = [torch.Generator().manual_seed(request.seed) for request in sampled]
        latents = pipeline(
            **texts.keywords([request.prompt.text for request in sampled]),
            latents=draw_noise(pipeline, generators, sampler),
            generator=generators,
            height=sampler.height,
            width=sampler.width,
            num_inference_steps=sampler.num_inference_steps,
            guidance_scale=sampler.guidance_scale,
            callback_on_step_end=on_step_end,
            output_type="latent",
        ).images[: len(batch)]
        decoded = decode_latents(pipeline, latents, batch_size=decode_batch_size or batch_size)
        yield [Picture(r, *picture) for r, picture in zip(batch, decoded, strict=True)]


def generate_images(
    pipeline: DiffusionPipeline,
    requests: Sequence[ImageRequest],
    sampler: Sampler,
    *,
    batch_size: int,
    decode_batch_size: int | None = None,
    on_step_end: Callable[..., dict] | None = None,
) -> list[Image.Image]:
    """The images of `generate_batches`, all of them in memory."""
    batches = generate_batches(
        pipeline,
        requests,
        sampler,
        batch_size=batch_size,
        decode_batch_size=decode_batch_size,
        on_step_end=on_step_end,
    )
    return [picture.image for batch in batches for picture in batch]


def draw_noise(
    pipeline: DiffusionPipeline, generators: Sequence[torch.Generator], sampler: Sampler
) -> Float[Tensor, "batch channels height width"]:
    """Initial latents in float32, of each image's own: the same for all models and precisions.

    Args:
        pipeline: Its UNet and VAE give the latents' shape.
        generators: On the CPU, one an image.
        sampler: With the images' size.
    """
    scale = pipeline.vae_scale_factor
    shape = (pipeline.unet.config.in_channels, sampler.height // scale, sampler.width // scale)
    noise = [torch.randn(shape, generator=generator) for generator in generators]
    return torch.stack(noise).to(pipeline.device)
