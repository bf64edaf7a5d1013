"""Generate images whose noise depends on prompt and round, and on nothing else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, PNDMScheduler
from diffusers.utils.logging import disable_progress_bar
from PIL import Image

from tokencompose_core.checkpoints.pipeline_class import load_options
from tokencompose_core.evaluation.prompts import Prompt
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


def request_images(prompts: Sequence[Prompt], num_rounds: int, seed: int) -> list[ImageRequest]:
    """One image of each prompt a round, every one with a seed of its own."""
    return [
        ImageRequest(prompt, number, image_seed(seed, prompt.prompt_id, number))
        for prompt in prompts
        for number in range(num_rounds)
    ]


def image_seed(seed: int, prompt_id: int, number: int) -> int:
    """Seed of the image of a prompt and round."""
    return int(text_digest(f"{seed}-{prompt_id}-{number}")[:12], 16)


def load_pipeline(
    model: str | Path, *, revision: str = "", device: str = "cpu"
) -> DiffusionPipeline:
    """Load a Stable Diffusion 1, 2 or XL with the paper's sampler, PNDM.

    The sampler keeps the model's noise schedule and its kind of prediction. There is no safety
    checker: it would blank images, which then count as failures of composition.

    Raises:
        ValueError: If the model is another one.
    """
    disable_progress_bar()  # of the few parts that are loaded, gone in a blink
    pipeline = DiffusionPipeline.from_pretrained(
        str(model), revision=revision or None, **load_options(model, revision)
    )
    pipeline.scheduler = PNDMScheduler.from_config(pipeline.scheduler.config, skip_prk_steps=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


@torch.inference_mode()
def generate_images(
    pipeline: DiffusionPipeline,
    requests: Sequence[ImageRequest],
    sampler: Sampler,
    *,
    batch_size: int,
    on_batch: Callable[[int], None] = lambda count: None,
    on_step_end: Callable[..., dict] | None = None,
) -> list[Image.Image]:
    """Generate the requested images in order.

    Initial noise is drawn on the CPU with the image's own seed, so an image is the same in any
    batch, up to rounding.

    Args:
        pipeline: A loaded Stable Diffusion.
        requests: What to generate.
        sampler: Steps, guidance and size.
        batch_size: Images generated at once.
        on_batch: Told how many images were made.
        on_step_end: The pipeline's `callback_on_step_end`.
    """
    images: list[Image.Image] = []
    for start in range(0, len(requests), batch_size):
        batch = requests[start : start + batch_size]
        images += pipeline(
            [request.prompt.text for request in batch],
            height=sampler.height,
            width=sampler.width,
            num_inference_steps=sampler.num_inference_steps,
            guidance_scale=sampler.guidance_scale,
            generator=[torch.Generator().manual_seed(request.seed) for request in batch],
            callback_on_step_end=on_step_end,
        ).images
        on_batch(len(batch))
    return images
