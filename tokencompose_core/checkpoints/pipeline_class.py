"""Which of diffusers' pipelines the project fine-tunes and evaluates."""

from pathlib import Path
from typing import Any

import diffusers
from diffusers import DiffusionPipeline, SchedulerMixin


def load_options(model: str | Path, revision: str = "") -> dict[str, Any]:
    """Keywords with which `DiffusionPipeline.from_pretrained` loads a model as it was trained.

    Nothing but the images of the UNet shall count: no safety checker, which would blank some of
    them, and no watermark, which depends on the packages of the machine.

    Args:
        model: Folder or hub name.
        revision: Commit of a hub model.

    Raises:
        ValueError: If the model is no Stable Diffusion 1, 2 or XL.
    """
    config = DiffusionPipeline.load_config(str(model), revision=revision or None)
    name = config["_class_name"]
    match name:
        case "StableDiffusionPipeline":
            return {"safety_checker": None, "requires_safety_checker": False}
        case "StableDiffusionXLPipeline":
            return {"add_watermarker": False}
    raise ValueError(
        f"{model} is a {name}; expected a StableDiffusionPipeline (Stable Diffusion 1 or 2) or a"
        " StableDiffusionXLPipeline. Name another model"
    )


def load_scheduler(model: str | Path, revision: str = "") -> SchedulerMixin:
    """The sampler that a model comes with.

    Args:
        model: Folder or hub name.
        revision: Commit of a hub model.
    """
    where = {"pretrained_model_name_or_path": str(model), "revision": revision or None}
    _, name = DiffusionPipeline.load_config(**where)["scheduler"]
    return getattr(diffusers, name).from_pretrained(**where, subfolder="scheduler")
