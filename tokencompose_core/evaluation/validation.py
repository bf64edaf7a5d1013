"""What a model in training draws, where its nouns look, and how it does on held-out samples."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import DiffusionPipeline
from jaxtyping import Float
from PIL import Image
from transformers import PreTrainedTokenizerFast

from tokencompose_core.evaluation.generate import Sampler, request_images
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.evaluation.record_attention import record_attention

_HELD_OUT = "held_out"
_IMAGES = "images"
_ATTENTION = "attention_"


@dataclass(frozen=True)
class Validation:
    """A model after some steps of training.

    Attributes:
        step: How many.
        images: Of the prompts, from the same noise at every step.
        attention: For each prompt the maps of its nouns, means over timesteps, heads and the layers
            of middle block and decoder.
        held_out: Losses on held-out samples.
    """

    step: int
    images: list[Image.Image]
    attention: list[Float[np.ndarray, "height width nouns"]]
    held_out: Mapping[str, float]


def validate_prompts(
    pipeline: DiffusionPipeline,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Prompt],
    sampler: Sampler,
    *,
    step: int,
    held_out: Mapping[str, float],
    seed: int,
    batch_size: int,
) -> Validation:
    """Draw prompts with a model as it is now.

    Args:
        pipeline: The model.
        tokenizer: The fast tokenizer of its text encoder.
        prompts: What to draw; their categories are the nouns.
        sampler: Steps, guidance and size.
        step: Steps it was trained.
        held_out: What was measured on held-out samples.
        seed: Seed of the noise.
        batch_size: Images drawn at once.
    """
    records = record_attention(
        pipeline,
        tokenizer,
        request_images(prompts, 1, seed),
        sampler,
        batch_size=batch_size,
        average_heads=True,
    )
    return Validation(
        step=step,
        images=[record.image for record in records],
        attention=[record.by_timestep().mean(dim=0).numpy() for record in records],
        held_out=dict(held_out),
    )


def save_validation(folder: Path, validation: Validation) -> None:
    """Write a file of its own into the folder, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = validation_path(folder, validation.step)
    partial = path.with_suffix(".partial")
    arrays: dict[str, Any] = {
        _IMAGES: np.array([np.asarray(image) for image in validation.images], dtype=np.uint8),
        _HELD_OUT: np.array(json.dumps(validation.held_out)),
        **{f"{_ATTENTION}{i}": maps for i, maps in enumerate(validation.attention)},
    }
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    partial.replace(path)


def load_validations(folder: Path) -> list[Validation]:
    """Read all that were saved in the folder, in the order of their steps."""
    validations = []
    for path in sorted(folder.glob("validation-*.npz")):
        with np.load(path) as values:
            validations.append(
                Validation(
                    step=int(path.stem.split("-")[1]),
                    images=[Image.fromarray(image) for image in values[_IMAGES]],
                    attention=[values[f"{_ATTENTION}{i}"] for i in range(len(values) - 2)],
                    held_out=json.loads(str(values[_HELD_OUT])),
                )
            )
    return validations


def validation_path(folder: Path, step: int) -> Path:
    """Where the validation of a step is saved."""
    return folder / f"validation-{step:08d}.npz"
