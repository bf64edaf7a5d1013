"""Stage `finetune`: a Stable Diffusion whose nouns know their places."""

import json
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.client.schemas.objects import State

from data_schemas.configs.finetune_config import FinetuneConfig, ObjectiveConfig
from data_schemas.manifest import Manifest
from tasks.cards import close_stage
from tasks.devices import resolve_device
from tasks.progress import Progress
from tasks.stage import PACKAGES, STAGE_OPTIONS, Input, Spec, reuse_or_publish, run_stage
from tokencompose_core.checkpoints.locate import identity, local_or_hub
from tokencompose_core.store.content_store import Store

MODEL_FOLDER = "model/"
LORA_FOLDER = "lora/"
LOSSES_NAME = "losses.json"
_PREVIEW_BATCH = 4
_OUTSIDE_KEY = {
    "profile",
    "device",
    "checkpoint_every_steps",
    "encode_batch_size",
    "base_model",
    "base_revision",
    "resolution",
    "mask_reduction",
}


class FinetuneSpec(Spec):
    """Encoded shards to train on, and how."""

    stage: ClassVar[str] = "finetune"
    version: ClassVar[int] = 2

    encoded: list[Input]
    config: FinetuneConfig
    label: str

    def parts(self) -> dict[str, Any]:
        """The samples, the base model and the settings of the training."""
        return {
            "encoded": [shard.digest for shard in self.encoded],
            "model": identity(self.config.base_model, self.config.base_revision),
            "settings": self.config.model_dump(exclude=_OUTSIDE_KEY),
        }

    @property
    def title(self) -> str:
        """Stage and what is compared."""
        return f"finetune {self.label}"


@task(name="finetune-unet", **STAGE_OPTIONS)
def finetune_on_shards(spec: FinetuneSpec) -> Manifest | State:
    """Fine-tune the UNet, resuming from the newest checkpoint if there is one.

    Reads: encoded shards and the base model.
    Writes: `model/`, a diffusers folder; `lora/`, if LoRA layers were trained; `losses.json` with
        the losses of every step; curves, and samples of fixed prompts before and after.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from diffusers import DDPMScheduler

        from tokencompose_core.evaluation.generate import (
            Sampler,
            generate_images,
            load_pipeline,
            request_images,
        )
        from tokencompose_core.evaluation.prompts import Prompt
        from tokencompose_core.reports.charts import draw_losses
        from tokencompose_core.reports.contact_sheet import draw_sheet
        from tokencompose_core.training.encode_shard import read_encoded, select_samples
        from tokencompose_core.training.finetune import (
            FinetuneSettings,
            choose_objective,
            finetune_unet,
        )
        from tokencompose_core.training.model_card import write_model_card
        from tokencompose_core.training.order import held_out_keys
        from tokencompose_core.training.trainable import save_model
        from tokencompose_core.training.validate import validate_unet

        config = spec.config
        samples = read_encoded([shard.path(store) for shard in spec.encoded])
        pipeline = load_pipeline(
            local_or_hub(config.base_model),
            revision=config.base_revision,
            device=resolve_device(config.device),
        )
        previews = request_images(
            [Prompt(i, text, ()) for i, text in enumerate(config.preview_prompts)], 1, config.seed
        )
        sampler = Sampler(50, 7.5, config.resolution, config.resolution)
        held_out = held_out_keys(samples.keys, config.validation_fraction)
        noise_scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)

        def validate() -> dict[str, float]:
            if not held_out:
                return {}
            return validate_unet(
                pipeline.unet,
                noise_scheduler,
                select_samples(samples, held_out),
                choose_objective(config.objective.variant),
                layers=config.objective.layers,
            )

        before = generate_images(pipeline, previews, sampler, batch_size=_PREVIEW_BATCH)
        validated_before = validate()
        with Progress(spec.title, config.num_steps, "steps") as progress:
            history = finetune_unet(
                pipeline.unet,
                noise_scheduler,
                select_samples(samples, set(samples.keys) - held_out),
                _settings(config, FinetuneSettings),
                checkpoint_dir=store.work_dir(spec.key),
                on_step=lambda step, num_steps, losses: progress.reach(
                    step, " ".join(f"{name} {losses[name]:.4f}" for name in _SHOWN)
                ),
            )
        validated_after = validate()
        after = generate_images(pipeline, previews, sampler, batch_size=_PREVIEW_BATCH)
        save_model(pipeline, config.trainable, folder / MODEL_FOLDER, folder / LORA_FOLDER)
        last = history[-max(1, len(history) // 10) :]
        measured = {
            **{
                f"{name} (held out, {when})": values[name]
                for name in _SHOWN
                for when, values in (("before", validated_before), ("after", validated_after))
                if name in values
            },
            **{f"{name} (last tenth)": sum(r[name] for r in last) / len(last) for name in _SHOWN},
        }
        write_model_card(
            folder / MODEL_FOLDER,
            # Of a folder the name alone: where it lies is nobody else's business.
            base_model=Path(config.base_model).name
            if Path(config.base_model).is_dir()
            else config.base_model,
            settings=config.model_dump(exclude={"device", "base_model"}),
            data_digests=[shard.digest for shard in spec.encoded],
            measured=measured,
            versions={name: package_version(name) for name in PACKAGES},
        )
        (folder / LOSSES_NAME).write_text(json.dumps(history), "utf-8")
        draw_losses(history, folder / "losses.png")
        draw_sheet(
            [*before, *after],
            [f"before: {text}" for text in config.preview_prompts]
            + [f"after: {text}" for text in config.preview_prompts],
            columns=len(previews),
            side=128,
            label_lines=4,
        ).save(folder / "samples.jpg", quality=85)
        return {
            "num_in": len(samples.keys),
            "num_out": len(samples.keys),
            "facts": {"steps": config.num_steps, "held out": len(held_out), **measured},
        }

    inputs = {shard.key: shard.digest for shard in spec.encoded}
    return reuse_or_publish(spec, write, inputs)


_SHOWN = ("denoising", "token", "pixel", "inside")


def _settings(config: FinetuneConfig, settings_type):
    values = config.model_dump()
    objective: ObjectiveConfig = config.objective
    return settings_type(
        variant=objective.variant,
        token_weight=objective.token_weight,
        pixel_weight=objective.pixel_weight,
        layers=tuple(objective.layers),
        **{
            name: values[name]
            for name in settings_type.__dataclass_fields__
            if name not in ("variant", "token_weight", "pixel_weight", "layers")
        },
    )


def finetune_unet(encoded: list[Input], config: FinetuneConfig, label: str) -> Input:
    """Fine-tune on all shards and return the folder of the model in the store."""
    spec = FinetuneSpec(encoded=encoded, config=config, label=label)
    outcomes = run_stage(finetune_on_shards, [spec])
    close_stage(outcomes, label)
    return Input.of(outcomes[0].manifest, MODEL_FOLDER)
