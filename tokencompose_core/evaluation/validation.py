"""What a model in training draws, where its nouns look, and how it does on held-out samples."""

import json
import os
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
from tokencompose_core.store.open_image import is_fault_of_machine

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
    path = _path(folder, validation.step)
    partial = path.with_suffix(".partial")
    arrays: dict[str, Any] = {
        _IMAGES: np.array([np.asarray(image) for image in validation.images], dtype=np.uint8),
        _HELD_OUT: np.array(json.dumps(validation.held_out)),
        **{f"{_ATTENTION}{i}": maps for i, maps in enumerate(validation.attention)},
    }
    with partial.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_validations(folder: Path) -> list[Validation]:
    """Read all that were saved in the folder, in the order of their steps."""
    steps = sorted(int(path.stem.split("-")[1]) for path in folder.glob("validation-*.npz"))
    return [one for one in (load_validation(folder, step) for step in steps) if one is not None]


def load_validation(folder: Path, step: int) -> Validation | None:
    """Read that of a step; None if there is none, or it is damaged.

    Raises:
        OSError: If the machine cannot read it.
    """
    try:
        with np.load(_path(folder, step)) as values:
            return Validation(
                step=step,
                images=[Image.fromarray(image) for image in values[_IMAGES]],
                attention=[values[f"{_ATTENTION}{i}"] for i in range(len(values) - 2)],
                held_out=json.loads(str(values[_HELD_OUT])),
            )
    except FileNotFoundError:
        return None
    except Exception as error:  # a byte that changed may be taken for anything
        if isinstance(error, MemoryError) or is_fault_of_machine(error):
            raise
        return None


def _path(folder: Path, step: int) -> Path:
    return folder / f"validation-{step:08d}.npz"
