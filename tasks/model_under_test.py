"""A Stable Diffusion that is evaluated: what it is in keys, and how it is loaded."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from data_schemas.configs.evaluate_config import EvaluateConfig, SamplerConfig
from tasks.devices import Device, resolve_device
from tasks.stage import Input, open_store
from tokencompose_core.checkpoints.locate import identity, local_or_hub, require
from tokencompose_core.store.content_store import Store

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from tokencompose_core.evaluation.generate import Sampler


class ModelUnderTest(BaseModel):
    """A Stable Diffusion to evaluate.

    Attributes:
        label: Names it in tables and pictures; a model that is evaluated beside it has another.
        name: Folder or hub name for `from_pretrained`.
        revision: Commit of a hub model.
        stored: One of the store's, in place of a name.
        lora: File or folder of LoRA layers that `load_lora_weights` takes; added to its weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    name: str = ""
    revision: str = ""
    stored: Input | None = None
    lora: str = ""

    @property
    def identity(self) -> str:
        """What stands for it in keys.

        Raises:
            FileNotFoundError: If its LoRA layers are not on this machine.
        """
        model = self.stored.digest if self.stored else identity(self.name, self.revision)
        if not self.lora:
            return model
        return f"{model} lora {identity(str(require(self.lora)))}"

    @property
    def lineage(self) -> str:
        """Its key in the store, or its name."""
        return self.stored.key if self.stored else self.name

    def location(self, store: Store) -> str:
        """What `from_pretrained` takes."""
        return str(self.stored.path(store)) if self.stored else local_or_hub(self.name)


def load_model(
    model: ModelUnderTest, store: Store, sampler: SamplerConfig, device: Device
) -> "DiffusionPipeline":
    """Load a model as it samples: with its LoRA layers, in the precision and layout asked for.

    The last one stays loaded.
    """
    return _load(
        model.location(store),
        model.revision,
        model.lora,
        sampler.safety_checker,
        sampler.precision,
        sampler.compile_unet,
        resolve_device(device),
    )


def sampler_settings(sampler: SamplerConfig) -> "Sampler":
    """What the core takes of the settings."""
    from tokencompose_core.evaluation.generate import Sampler

    return Sampler(**sampler.model_dump(include=set(Sampler.__annotations__)))


def check_models(models: Sequence[ModelUnderTest], config: EvaluateConfig) -> None:
    """Refuse, before anything is computed, what cannot be loaded or told apart.

    Raises:
        ValueError: If two models share a label, or one is no Stable Diffusion, has no safety
            checker while it is asked for, or no file of LoRA layers where it should; or if the
            device cannot compute in the precision.
        FileNotFoundError: If a model's LoRA layers are not on this machine.
    """
    from tokencompose_core.checkpoints.pipeline_class import load_options
    from tokencompose_core.evaluation.prepare_pipeline import check_precision, find_lora

    check_precision(resolve_device(config.device), config.sampler.precision)
    labels = [model.label for model in models]
    if len(set(labels)) < len(labels):
        raise ValueError(f"models: two of {labels} have one label; give each its own")
    for model in models:
        if model.lora:
            find_lora(require(model.lora))
        load_options(
            model.location(open_store()),
            model.revision,
            safety_checker=config.sampler.safety_checker,
        )


@lru_cache(maxsize=1)
def _load(
    location: str,
    revision: str,
    lora: str,
    safety_checker: bool,
    precision,
    compile_unet: bool,
    device: str,
):
    from tokencompose_core.evaluation.generate import load_pipeline
    from tokencompose_core.evaluation.prepare_pipeline import (
        add_lora,
        check_precision,
        prepare_pipeline,
    )

    check_precision(device, precision)
    pipeline = load_pipeline(
        location, revision=revision, device=device, safety_checker=safety_checker
    )
    if lora:
        add_lora(pipeline, require(lora))
    return prepare_pipeline(pipeline, precision=precision, compile_unet=compile_unet)
