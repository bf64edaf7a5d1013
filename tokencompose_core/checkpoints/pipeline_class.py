"""Which of diffusers' pipelines the project fine-tunes and evaluates."""

from pathlib import Path
from typing import Any

import diffusers
from diffusers import DiffusionPipeline, SchedulerMixin

_PIPELINES: dict[str, dict[str, Any]] = {
    "StableDiffusionPipeline": {"safety_checker": None, "requires_safety_checker": False},
    "StableDiffusionXLPipeline": {"add_watermarker": False},
}


def load_options(
    model: str | Path, revision: str = "", *, safety_checker: bool = False
) -> dict[str, Any]:
    """Keywords with which `DiffusionPipeline.from_pretrained` loads a model as it was trained.

    Nothing but the images of the UNet shall count: no safety checker, which would blank some of
    them, unless it is asked for, and no watermark, which depends on the packages of the machine.

    Args:
        model: Folder or hub name.
        revision: Commit of a hub model.
        safety_checker: Load the model's own.

    Raises:
        ValueError: If the model is no Stable Diffusion 1, 2 or XL, or has no safety checker while
            it is asked for.
    """
    config = DiffusionPipeline.load_config(str(model), revision=revision or None)
    name = config["_class_name"]
    if name not in _PIPELINES:
        raise ValueError(
            f"{model} is a {name}; expected a StableDiffusionPipeline (Stable Diffusion 1 or 2) or"
            " a StableDiffusionXLPipeline. Name another model"
        )
    if safety_checker:
        library, _ = config.get("safety_checker") or (None, None)
        if library is None:
            raise ValueError(
                f"{model} has no safety checker, and sampler.safety_checker asks for it; set it to"
                " false, or name a model whose model_index.json lists one"
            )
        return {}
    return dict(_PIPELINES[name])


def load_scheduler(model: str | Path, revision: str = "") -> SchedulerMixin:
    """The sampler that a model comes with.

    Args:
        model: Folder or hub name.
        revision: Commit of a hub model.
    """
    where = {"pretrained_model_name_or_path": str(model), "revision": revision or None}
    _, name = DiffusionPipeline.load_config(**where)["scheduler"]
    return getattr(diffusers, name).from_pretrained(**where, subfolder="scheduler")
