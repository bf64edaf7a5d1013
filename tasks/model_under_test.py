"""A Stable Diffusion that is evaluated: what it is in keys, and how it is loaded."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from data_schemas.configs.evaluate_config import EvaluateConfig, SamplerConfig
from tasks.devices import Device, resolve_device
from tasks.finetune_unet import MODEL_FOLDER
from tasks.kept_models import keep_last
from tasks.stage import Input, note_use, open_store
from tasks.whole_key import whole_key
from tokencompose_core.checkpoints.hub_access import naming_field, require_in_reach
from tokencompose_core.checkpoints.locate import identity, local_or_hub, require
from tokencompose_core.store.content_store import Store

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from tokencompose_core.evaluation.generate import Sampler


def _find_stored(stored: Any) -> Any:
    """What a key of the store, or its beginning, stands for: the model of that fine-tuning."""
    if not isinstance(stored, str):
        return stored
    stored = whole_key(open_store(), stored)
    note_use([stored])
    manifest = open_store().find(stored)
    if manifest is None or not manifest.names("model_index.json"):
        if stored.startswith("dataset-v"):
            raise ValueError(
                f"{stored!r} is a data set, and no model; the flow `finetune` trains one on it"
                " first, and returns the model's key"
            )
        raise ValueError(
            f"the store {open_store().root} has no model {stored!r}; the flow `finetune` returns"
            " its key, and the card of its stage shows it"
        )
    return Input.of(manifest, MODEL_FOLDER)


class ModelUnderTest(BaseModel):
    """A Stable Diffusion to evaluate, by its name or out of the store.

    Attributes:
        label: Names it in tables and pictures; a model that is evaluated beside it has another.
        name: Folder or hub name for `from_pretrained`.
        revision: Commit of a hub model.
        stored: One of the store's, in place of a name; its key, or the beginning of it, is enough.
        lora: File or folder of LoRA layers that `load_lora_weights` takes; added to its weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    name: str = ""
    revision: str = ""
    stored: Annotated[
        Input | None, BeforeValidator(_find_stored, json_schema_input_type=Input | str | None)
    ] = None
    lora: str = ""

    @model_validator(mode="after")
    def _is_one_model(self) -> Self:
        if bool(self.name) == (self.stored is not None):
            raise ValueError(
                f"model {self.label!r}: give either its name, or stored with its key in the store"
            )
        return self

    @property
    def identity(self) -> str:
        """What stands for it in keys.

        Raises:
            FileNotFoundError: If its LoRA layers are not on this machine.
        """
        return " lora ".join(self.inputs.values())

    @property
    def inputs(self) -> dict[str, str]:
        """Digests of what it is made of, by its key in the store or its name, and of its LoRA.

        Raises:
            FileNotFoundError: If its LoRA layers are not on this machine.
        """
        if self.stored:
            own = {self.stored.key: self.stored.digest}
        else:
            own = {self.name: identity(self.name, self.revision)}
        if self.lora:
            own[f"lora {self.lora}"] = identity(str(require(self.lora)))
        return own

    def location(self, store: Store) -> str:
        """What `from_pretrained` takes."""
        return str(self.stored.path(store)) if self.stored else local_or_hub(self.name)


def inputs_of(models: Sequence[ModelUnderTest]) -> dict[str, str]:
    """Digests of what models are made of; what several share is there once."""
    return {name: digest for model in models for name, digest in model.inputs.items()}


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
        model.identity,
        sampler.safety_checker,
        sampler.scheduler,
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
            checker while it is asked for, a noise schedule that is not for the sampler, or no file
            of LoRA layers where it should; or if the device cannot compute in the precision.
        FileNotFoundError: If a model, a file of its folder or its LoRA layers are not on this
            machine, and no hub may be asked for the model.
    """
    from tokencompose_core.checkpoints.pipeline_class import (
        check_pndm,
        load_options,
        read_scheduler_config,
    )
    from tokencompose_core.evaluation.prepare_pipeline import check_precision, find_lora

    check_precision(resolve_device(config.device), config.sampler.precision)
    labels = [model.label for model in models]
    if len(set(labels)) < len(labels):
        raise ValueError(f"models: two of {labels} have one label; give each its own")
    for model in models:
        if model.lora:
            find_lora(require(model.lora))
        field = f"models.{model.label}"
        if model.name:
            require_in_reach(field, model.name, "model_index.json", model.revision)
        with naming_field(field, model.name):
            where = model.location(open_store())
            load_options(where, model.revision, safety_checker=config.sampler.safety_checker)
            if config.sampler.scheduler == "pndm":
                check_pndm(where, read_scheduler_config(where, model.revision))


@keep_last
def _load(
    location: str,
    revision: str,
    lora: str,
    content: str,
    safety_checker: bool,
    scheduler,
    precision,
    compile_unet: bool,
    device: str,
):
    """The model; its content sees to it that one which has changed is loaded again."""
    from tokencompose_core.evaluation.generate import load_pipeline
    from tokencompose_core.evaluation.prepare_pipeline import (
        add_lora,
        check_precision,
        prepare_pipeline,
    )

    check_precision(device, precision)
    pipeline = load_pipeline(
        location,
        revision=revision,
        device=device,
        safety_checker=safety_checker,
        scheduler=scheduler,
    )
    if lora:
        add_lora(pipeline, require(lora))
    return prepare_pipeline(pipeline, precision=precision, compile_unet=compile_unet)
