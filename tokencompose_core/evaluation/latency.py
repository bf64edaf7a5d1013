"""Seconds that an image takes, one image at a time."""

import time
from collections.abc import Callable

from diffusers import DiffusionPipeline

from tokencompose_core.evaluation.generate import Sampler, generate_images, request_images
from tokencompose_core.evaluation.prompts import Prompt

# Text encoders read all their tokens, of a short prompt, too: which one it is makes no difference.
_PROMPT = Prompt(0, "a photo of a cat, a wine glass, and a kite.", ())


def time_images(
    pipeline: DiffusionPipeline,
    sampler: Sampler,
    *,
    num_images: int,
    num_warmup: int,
    on_image: Callable[[int], None] = lambda count: None,
) -> list[float]:
    """Generate images one by one and time each, from its prompt to its pixels.

    That is Table 1's latency in TokenCompose (arXiv:2312.03626): text encoder, all steps of the
    sampler with guidance, and VAE. Writing a file is not in it.

    Args:
        pipeline: A loaded Stable Diffusion.
        sampler: Steps, guidance and size.
        num_images: How many are timed.
        num_warmup: How many are generated before.
        on_image: Told of each image.

    Returns:
        Seconds of each timed image.
    """
    seconds = []
    for request in request_images([_PROMPT], num_warmup + num_images, seed=0):
        start = time.perf_counter()
        # Its pixels are on the CPU when it returns, so a GPU has done all of its work.
        generate_images(pipeline, [request], sampler, batch_size=1)
        seconds.append(time.perf_counter() - start)
        on_image(1)
    return seconds[num_warmup:]
