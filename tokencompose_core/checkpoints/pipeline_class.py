"""Which of diffusers' pipelines the project fine-tunes and evaluates.

A run that finds all its outputs looks at the models' folders alone: diffusers, which takes ten
seconds to import, is imported where it is needed.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokencompose_core.checkpoints.check_folder import check_folder
from tokencompose_core.checkpoints.check_weights import check_part

_PIPELINES: dict[str, dict[str, Any]] = {
    "StableDiffusionPipeline": {"safety_checker": None, "requires_safety_checker": False},
    "StableDiffusionXLPipeline": {"add_watermarker": False},
}

# The last one is diffusers' own module, where safety checkers are.
_LIBRARIES = frozenset({"diffusers", "transformers", "stable_diffusion"})


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
            it is asked for; or if it wants code of its own to be run.
        FileNotFoundError: If files of a part that will be loaded are missing.
    """
    check_folder(model)
    config = _read_config(model, revision)
    name = config.get("_class_name")
    if not isinstance(name, str) or name not in _PIPELINES:
        raise ValueError(
            f"{model} is a {name}; expected a StableDiffusionPipeline (Stable Diffusion 1 or 2) or"
            " a StableDiffusionXLPipeline. Name another model"
        )
    _check_libraries(model, config)
    if safety_checker:
        library, _ = config.get("safety_checker") or (None, None)
        if library is None:
            raise ValueError(
                f"{model} has no safety checker, and sampler.safety_checker asks for it; set it to"
                " false, or name a model whose model_index.json lists one"
            )
    options = {} if safety_checker else dict(_PIPELINES[name])
    for part, library, _ in _parts(config):
        if part not in options:
            check_part(model, part, library, revision=revision)
    return options


def _read_config(model: str | Path, revision: str) -> Mapping[str, Any]:
    path = Path(model) / "model_index.json"
    if path.is_file():
        config = json.loads(path.read_text("utf-8"))
        if not isinstance(config, dict):
            raise ValueError(f"{path}: a table of a pipeline's parts is needed")
        return config
    from diffusers import DiffusionPipeline

    return DiffusionPipeline.load_config(str(model), revision=revision or None)


def _check_libraries(model: str | Path, config: Mapping[str, Any]) -> None:
    """Refuse parts that are of no library which this project uses.

    diffusers imports whatever package a part names, and looks for code of the model's own.
    """
    for part, library, kind in _parts(config):
        if library not in _LIBRARIES:
            raise ValueError(
                f"{model}: its {part} is a {kind} of {library!r}, but parts are of"
                f" {sorted(_LIBRARIES)} only, for others may run any program"
            )


def _parts(config: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """The parts that a pipeline has, each with its library and its class."""
    for part, described in config.items():
        if isinstance(described, list | tuple) and not part.startswith("_"):
            library = described[0] if described else None
            if library is not None:
                yield part, library, described[-1]


def read_scheduler_config(model: str | Path, revision: str = "") -> Mapping[str, Any]:
    """The noise schedule and the sampler that a model comes with.

    Args:
        model: Folder or hub name.
        revision: Commit of a hub model.
    """
    path = Path(model) / "scheduler" / "scheduler_config.json"
    if path.is_file():
        return json.loads(path.read_text("utf-8"))
    from diffusers import DDPMScheduler

    return DDPMScheduler.load_config(str(model), revision=revision or None, subfolder="scheduler")


def check_pndm(model: str | Path, scheduler: Mapping[str, Any]) -> None:
    """Refuse a noise schedule that PNDM cannot follow.

    One that ends in noise alone (arXiv:2305.08891) would have it divide by zero; diffusers' has no
    such schedule, and would sample with that of another model.

    Args:
        model: Folder or hub name, for the message.
        scheduler: Config of the model's sampler.

    Raises:
        ValueError: If it has such a schedule.
    """
    if scheduler.get("rescale_betas_zero_snr"):
        raise ValueError(
            f"{model} has a noise schedule that ends in noise alone (rescale_betas_zero_snr), which"
            " PNDM cannot follow; set sampler.scheduler to own"
        )
