"""Fine-tune a UNet with the denoising, token and pixel losses."""

from collections.abc import Callable
from pathlib import Path

from accelerate import Accelerator
from diffusers import SchedulerMixin, UNet2DConditionModel

from tokencompose_core.attention.capture import capture_attention
from tokencompose_core.attention.layers import cross_attention_layers
from tokencompose_core.objectives.tokencompose import Objective
from tokencompose_core.training.checkpoint import newest_step, remove_checkpoints_after
from tokencompose_core.training.divergence import (
    DivergenceError,
    check_denoising,
    noticed_after_steps,
)
from tokencompose_core.training.encode_shard import EncodedSamples
from tokencompose_core.training.run import Losses, TrainingRun
from tokencompose_core.training.settings import FinetuneSettings
from tokencompose_core.training.trainable import choose_trainable

OnStep = Callable[[int, int, Losses], None]
OnValidation = Callable[[int], None]


def finetune_unet(
    unet: UNet2DConditionModel,
    noise_scheduler: SchedulerMixin,
    samples: EncodedSamples,
    objective: Objective,
    settings: FinetuneSettings,
    *,
    accelerator: Accelerator,
    checkpoint_dir: Path,
    start_step: int,
    on_step: OnStep = lambda step, num_steps, losses: None,
    on_validation: OnValidation = lambda step: None,
) -> list[dict[str, float]]:
    """Train the UNet in place with Eq. 7 of TokenCompose (arXiv:2312.03626).

    The loss is the denoising loss plus every term of the objective times its weight. With all
    weights 0 it is plain fine-tuning; the terms are measured all the same, without gradients.

    The order of samples, the noise and the timesteps are functions of seed, step and sample keys,
    and so is what a UNet with dropout drops, so a run that was killed and resumed ends with the
    weights of one that was not. Several processes share each batch; how many they are changes
    nothing but rounding, and what is dropped.

    Args:
        unet: The network, on its device.
        noise_scheduler: The noise schedule of its Stable Diffusion.
        samples: Encoded samples.
        objective: The grounding terms.
        settings: Length, speed, weights.
        accelerator: Made by `make_accelerator` for this training; says which process this is.
        checkpoint_dir: Checkpoints are written here and resumed from here.
        start_step: Of the checkpoint to go on from, as `agree_on_start` says; 0 to begin.
        on_step: Told of every optimizer step and its losses, in the main process.
        on_validation: Called every `validation_every_steps` steps but the last, in the main
            process, while the UNet has the weights that would be saved.

    Returns:
        For every optimizer step its losses: `denoising`, the terms of the objective, `total`,
        `inside` (share of attention inside the masks, see `inside_shares`) and `grad_norm`.

    Raises:
        FloatingPointError: If a loss or a gradient is not finite.
        DivergenceError: If the denoising loss rises too far. After both, the checkpoints left are
            from `noticed_after_steps` before, since later ones may be spoilt.
        ValueError: If the checkpoints are of a run with other settings, the UNet lacks a layer, the
            processes cannot share a batch evenly, or the objective lacks a term that has a weight.
    """
    if settings.batch_size % accelerator.num_processes:
        raise ValueError(
            f"finetune.batch_size {settings.batch_size} cannot be shared by"
            f" {accelerator.num_processes} processes; change it, or num_processes"
        )
    layers = cross_attention_layers(unet, settings.layers, samples.latents_mean.shape[-1])
    unet.train()
    if settings.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    trained = choose_trainable(
        unet, settings.trainable, lora_rank=settings.lora_rank, seed=settings.seed
    )
    run = TrainingRun(unet, trained, noise_scheduler, samples, objective, settings, accelerator)
    if start_step:
        run.resume(checkpoint_dir, start_step)
    with capture_attention(unet, layers, gradients=settings.is_grounded) as attention:
        if settings.compile_blocks:
            unet.compile_repeated_blocks(dynamic=False)
        try:
            while run.step < settings.num_steps:
                losses = run.take_step(attention)
                check_denoising(run.history, settings.num_steps, settings.max_denoising_rise)
                if accelerator.is_main_process:
                    on_step(run.step, settings.num_steps, losses)
                    if run.is_due(settings.validation_every_steps, also_last=False):
                        with attention.pause(), run.validating():
                            on_validation(run.step)
                    if run.is_due(settings.checkpoint_every_steps, also_last=True):
                        run.save(checkpoint_dir)
        except (FloatingPointError, DivergenceError) as error:
            good = run.step - noticed_after_steps(settings.num_steps)
            remove_checkpoints_after(checkpoint_dir, good)
            step = newest_step(checkpoint_dir)
            left = f"The checkpoint of step {step}, from before," if step else "No checkpoint"
            raise type(error)(
                f"{error}. {left} is in {checkpoint_dir}; lower learning_rate, max_grad_norm or the"
                " weights of the objective: a run with changed settings begins anew"
            ) from error
        finally:
            run.close()
    unet.eval()
    return run.history
