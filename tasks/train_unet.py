"""Train the UNet of a config, in this process or in several, and look at it on the way."""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import DDPMScheduler, DiffusionPipeline
from torch.multiprocessing import ProcessExitedException
from transformers import CLIPTokenizerFast

from data_schemas.configs.finetune_config import FinetuneConfig
from tasks.devices import resolve_device
from tasks.progress import stop_if_asked
from tokencompose_core.checkpoints.locate import local_or_hub
from tokencompose_core.evaluation.generate import Sampler, load_pipeline
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.evaluation.validation import (
    Validation,
    load_validation,
    load_validations,
    save_validation,
    validate_prompts,
)
from tokencompose_core.objectives.choose_objective import choose_objective
from tokencompose_core.training.base_model import check_base_model
from tokencompose_core.training.checkpoint import agree_on_start
from tokencompose_core.training.encode_shard import EncodedSamples, read_encoded, select_samples
from tokencompose_core.training.finetune import finetune_unet
from tokencompose_core.training.order import held_out_keys
from tokencompose_core.training.processes import make_accelerator, run_processes
from tokencompose_core.training.settings import FinetuneSettings
from tokencompose_core.training.validate import validate_unet

OnStep = Callable[[int, dict[str, float]], None]
_VALIDATION_BATCH = 8


@dataclass(frozen=True)
class TrainingJob:
    """What a process needs to train, as plain values.

    Attributes:
        config: The model and how it is trained.
        encoded: Folders of encoded shards.
        work_dir: For checkpoints and validations; what is there already is taken up.
        log_dir: For trackers.
    """

    config: FinetuneConfig
    encoded: list[Path]
    work_dir: Path
    log_dir: Path


@dataclass(frozen=True)
class Trained:
    """What came of a job.

    Attributes:
        pipeline: The model with its trained UNet.
        num_samples: Samples of all shards.
        num_held_out: Those of them that were not trained on.
        history: Losses of every step.
        validations: The model before, during and after.
    """

    pipeline: DiffusionPipeline
    num_samples: int
    num_held_out: int
    history: list[dict[str, float]]
    validations: list[Validation]


def train_unet(job: TrainingJob, on_step: OnStep) -> Trained:
    """Train, and validate before, during and after.

    Several processes, and one that may be timed out, are children of this one.

    Raises:
        TimeoutError: If they took no step for `timeout_minutes`.
        ChildProcessError: If one of them was killed.
    """
    count, minutes = job.config.num_processes, job.config.timeout_minutes
    if count == 1 and not minutes:
        return _train(job, on_step, trackers=list(job.config.trackers))
    try:
        run_processes(
            _train_as_one_of,
            [job],
            count,
            lambda message: on_step(*message),
            on_wait=stop_if_asked,
            timeout_seconds=60.0 * minutes,
        )
    except TimeoutError as error:
        raise TimeoutError(
            f"the training took no step for finetune.timeout_minutes = {minutes:g} and was ended;"
            " it goes on from its last checkpoint when it is tried again"
        ) from error
    except ProcessExitedException as error:
        if error.signal_name != signal.SIGKILL.name:
            raise
        # An `OSError`, and so it is tried again.
        raise ChildProcessError(
            "a process of the training was killed, as the system does when this machine's memory"
            " is full; it goes on from its last checkpoint when it is tried again. If that happens"
            " again, lower finetune.num_processes or batch_size, or run less beside it"
        ) from error
    # They leave their last checkpoint, which this process takes up and ends with.
    return _train(job, on_step, trackers=[])


def _train_as_one_of(job: TrainingJob, send: Callable[[Any], None]) -> None:
    _train(job, lambda *message: send(message), trackers=list(job.config.trackers))


def _train(job: TrainingJob, on_step: OnStep, *, trackers: list[str]) -> Trained:
    config = job.config
    accelerator = make_accelerator(
        resolve_device(config.device),
        config.mixed_precision,
        trackers=tuple(trackers),
        log_dir=job.log_dir,
    )
    model = local_or_hub(config.base_model)
    check_base_model(
        model,
        revision=config.base_revision,
        resolution=config.resolution,
        layers=config.objective.layers,
        prompts=config.prompts_and_nouns,
    )
    samples, held_out = _split(read_encoded(job.encoded), config.validation_fraction)
    pipeline = load_pipeline(model, revision=config.base_revision, scheduler="own")
    # Only the main process draws; the others need no VAE and no text encoder beside the UNet.
    drawing = pipeline if accelerator.is_main_process else pipeline.unet
    drawing.to(accelerator.device)
    noise_scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    start_step = agree_on_start(job.work_dir, accelerator)
    # What an earlier run logged beyond its checkpoint is logged again. Such a run has left more in
    # the folder than the hidden lock of this one.
    next_step = start_step + 1 if any(job.work_dir.glob("[!.]*")) else 0
    accelerator.init_trackers(
        "tokencompose",
        config=_plain(config),
        init_kwargs={"tensorboard": {"purge_step": next_step}},
    )

    def validate(step: int) -> None:
        if not accelerator.is_main_process:
            return
        validation = load_validation(job.work_dir, step)
        if validation is None:
            validation = _validate(pipeline, noise_scheduler, held_out, config, step)
            save_validation(job.work_dir, validation)
        elif step < next_step:  # it was logged
            return
        held = {f"held_out/{name}": value for name, value in validation.held_out.items()}
        accelerator.log(held, step)
        if "tensorboard" in trackers and validation.images:
            images = np.stack([np.asarray(image) for image in validation.images])
            accelerator.get_tracker("tensorboard").log_images(
                {"validation": images}, step, dataformats="NHWC"
            )

    validate(0)
    history = finetune_unet(
        pipeline.unet,
        noise_scheduler,
        samples,
        choose_objective(config.objective),
        _settings(config),
        accelerator=accelerator,
        checkpoint_dir=job.work_dir,
        start_step=start_step,
        on_step=lambda step, num_steps, losses: on_step(step, losses),
        on_validation=validate,
    )
    validate(config.num_steps)
    accelerator.end_training()
    num_held_out = len(held_out.keys) if held_out else 0
    return Trained(
        pipeline,
        len(samples.keys) + num_held_out,
        num_held_out,
        history,
        load_validations(job.work_dir),
    )


def _split(
    samples: EncodedSamples, fraction: float
) -> tuple[EncodedSamples, EncodedSamples | None]:
    """Samples to train on, and those that are held out, if any; the joined ones are let go."""
    keys = held_out_keys(samples.keys, fraction)
    if not keys:
        return samples, None
    return select_samples(samples, set(samples.keys) - keys), select_samples(samples, keys)


def _validate(
    pipeline: DiffusionPipeline,
    noise_scheduler: DDPMScheduler,
    held_out: EncodedSamples | None,
    config: FinetuneConfig,
    step: int,
) -> Validation:
    losses = {}
    if held_out:
        losses = validate_unet(
            pipeline.unet,
            noise_scheduler,
            held_out,
            choose_objective(config.objective),
            layers=config.objective.layers,
        )
    tokenizer = pipeline.tokenizer
    if not tokenizer.is_fast:
        tokenizer = CLIPTokenizerFast.from_pretrained(
            local_or_hub(config.base_model),
            revision=config.base_revision or None,
            subfolder="tokenizer",
        )
    return validate_prompts(
        pipeline,
        tokenizer,
        [
            Prompt(number, one.prompt, tuple(one.nouns))
            for number, one in enumerate(config.validation_prompts)
        ],
        Sampler(50, 7.5, config.resolution, config.resolution),
        step=step,
        held_out=losses,
        seed=config.seed,
        batch_size=_VALIDATION_BATCH,
    )


def _settings(config: FinetuneConfig) -> FinetuneSettings:
    objective = config.objective
    values = {
        **config.model_dump(),
        "variant": objective.variant,
        "weights": objective.weights,
        "layers": tuple(objective.layers),
    }
    return FinetuneSettings(**{name: values[name] for name in FinetuneSettings.__annotations__})


def _plain(config: FinetuneConfig) -> dict[str, Any]:
    """Numbers and names of a config, as trackers take them."""
    values = {**config.model_dump(), **config.objective.model_dump()}
    return {k: v for k, v in values.items() if isinstance(v, int | float | str | bool)}
