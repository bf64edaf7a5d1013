"""Stage `finetune`: a Stable Diffusion whose nouns know their places."""

import json
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from prefect import get_run_logger, task
from prefect.client.schemas.objects import State

from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.manifest import Manifest
from tasks.cards import MOST_IMAGE_BYTES, close_stage
from tasks.kept_models import release_models
from tasks.progress import Progress
from tasks.stage import STAGE_OPTIONS, Input, Spec, reuse_or_publish, run_stage
from tokencompose_core.checkpoints.locate import identity
from tokencompose_core.store.content_store import Store
from tokencompose_core.training.loss_names import loss_names

if TYPE_CHECKING:
    from tasks.train_unet import Trained

MODEL_FOLDER = "model/"
LORA_FOLDER = "lora/"
LOSSES_NAME = "losses.json"
_TRAINING_PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "peft")
_OUTSIDE_KEY = {
    "profile",
    "device",
    "num_processes",
    "timeout_minutes",
    "trackers",
    "checkpoint_every_steps",
    "encode_batch_size",
    "base_model",
    "base_revision",
    "resolution",
    "mask_reduction",
}


def deciding_settings(config: FinetuneConfig) -> dict[str, Any]:
    """What is in the key.

    A field with a default stands there only where it differs from it, so that one which is added
    later, as the weight of another term, leaves the models there that were made before it.
    """
    return config.model_dump(exclude=_OUTSIDE_KEY, exclude_defaults=True)


class FinetuneSpec(Spec):
    """Encoded shards to train on, and how."""

    stage: ClassVar[str] = "finetune"
    version: ClassVar[int] = 3
    keeps_checkpoints: ClassVar[bool] = True

    encoded: list[Input]
    config: FinetuneConfig
    label: str

    def parts(self) -> dict[str, Any]:
        """The samples, the base model and the settings of the training."""
        return {
            "encoded": [shard.digest for shard in self.encoded],
            "model": identity(self.config.base_model, self.config.base_revision),
            "settings": deciding_settings(self.config),
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
        the losses of every step; curves, and fixed prompts and their nouns' attention before,
        during and after.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tasks.train_unet import TrainingJob, train_unet
        from tokencompose_core.reports.charts import draw_losses
        from tokencompose_core.reports.contact_sheet import jpeg_under
        from tokencompose_core.reports.validation_sheet import draw_noun_attention, draw_samples
        from tokencompose_core.training.model_card import write_model_card
        from tokencompose_core.training.trainable import save_model

        # Here, in the process that trains: with Dask it is not that of the flow.
        release_models()
        config = spec.config
        if never_at_full_rate(config):
            get_run_logger().warning(
                "%s: lr_warmup_steps is %d of %d steps, so learning_rate %g is never reached",
                spec.title,
                config.lr_warmup_steps,
                config.num_steps,
                config.learning_rate,
            )
        job = TrainingJob(
            config=config,
            encoded=[shard.path(store) for shard in spec.encoded],
            work_dir=store.work_dir(spec.key),
            log_dir=store.log_dir(spec.key),
        )
        with Progress(spec.title, config.num_steps, "steps") as progress:
            trained = train_unet(
                job,
                lambda step, losses: progress.reach(
                    step,
                    " ".join(f"{name} {losses[name]:.4f}" for name in loss_names([losses])),
                ),
            )
        save_model(trained.pipeline, config.trainable, folder / MODEL_FOLDER, folder / LORA_FOLDER)
        measured = _measure(trained)
        write_model_card(
            folder / MODEL_FOLDER,
            # Of a folder the name alone: where it lies is nobody else's business.
            base_model=Path(config.base_model).name
            if Path(config.base_model).is_dir()
            else config.base_model,
            terms=config.objective.trained_terms,
            # The card is part of the model's digest: what is outside the key stays outside of it.
            settings=deciding_settings(config),
            data_digests=[shard.digest for shard in spec.encoded],
            measured=measured,
            versions={name: package_version(name) for name in _TRAINING_PACKAGES},
        )
        (folder / LOSSES_NAME).write_text(json.dumps(trained.history, allow_nan=False), "utf-8")
        validations = trained.validations
        held_out = {v.step: v.held_out for v in validations}
        names = loss_names([*trained.history, *held_out.values()])
        draw_losses(trained.history, names, folder / "losses.png", held_out)
        prompts = config.validation_prompts
        if prompts:
            steps, images = [v.step for v in validations], [v.images for v in validations]
            samples = draw_samples([one.prompt for one in prompts], steps, images)
            attention = draw_noun_attention(
                [one.nouns for one in prompts], steps, images, [v.attention for v in validations]
            )
            for name, sheet in (("samples.jpg", samples), ("nouns.jpg", attention)):
                (folder / name).write_bytes(jpeg_under(sheet, MOST_IMAGE_BYTES))
        return {
            "num_in": trained.num_samples,
            "num_out": trained.num_samples,
            "facts": {"steps": config.num_steps, "held out": trained.num_held_out, **measured},
        }

    inputs = {shard.key: shard.digest for shard in spec.encoded}
    return reuse_or_publish(spec, write, inputs)


def never_at_full_rate(config: FinetuneConfig) -> bool:
    """Whether a training ends before its warm-up does: a trial of few steps, or an oversight."""
    return 0 < config.lr_warmup_steps >= config.num_steps


def _measure(trained: "Trained") -> dict[str, float]:
    """Losses on held-out samples before and after, and of the last tenth of the steps."""
    first = trained.validations[0]
    measured = {
        f"{name} (held out, {when})": validation.held_out[name]
        for name in loss_names([first.held_out])
        for when, validation in zip(
            ("before", "after"), (first, trained.validations[-1]), strict=True
        )
        if name in validation.held_out
    }
    last = trained.history[-max(1, len(trained.history) // 10) :]
    for name in loss_names(last):
        values = [row[name] for row in last if name in row]
        if values:
            measured[f"{name} (last tenth)"] = sum(values) / len(values)
    return measured


def finetune_unet(encoded: list[Input], config: FinetuneConfig, label: str) -> Input:
    """Fine-tune on all shards and return the folder of the model in the store."""
    spec = FinetuneSpec(encoded=encoded, config=config, label=label)
    outcomes = run_stage(finetune_on_shards, [spec])
    close_stage(outcomes, label)
    return Input.of(outcomes[0].manifest, MODEL_FOLDER)
