"""Fine-tune a UNet with the denoising, token and pixel losses."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import SchedulerMixin, UNet2DConditionModel
from diffusers.optimization import get_scheduler
from torch import nn

from tokencompose_core.attention.capture import capture_attention
from tokencompose_core.attention.layers import cross_attention_layers
from tokencompose_core.objectives.tokencompose import Objective, paper_losses, released_losses
from tokencompose_core.training.checkpoint import load_newest_checkpoint, save_checkpoint
from tokencompose_core.training.encode_shard import EncodedSamples
from tokencompose_core.training.order import batch_keys
from tokencompose_core.training.step import batch_maker, draw_timesteps, forward_losses
from tokencompose_core.training.trainable import Trainable, choose_trainable

Losses = dict[str, float]
OnStep = Callable[[int, int, Losses], None]


@dataclass(frozen=True)
class FinetuneSettings:
    """What decides a fine-tuning; names and meanings are those of `FinetuneConfig`."""

    variant: Literal["paper", "released"]
    token_weight: float
    pixel_weight: float
    layers: tuple[str, ...]
    trainable: Trainable
    lora_rank: int
    num_steps: int
    batch_size: int
    gradient_accumulation_steps: int
    gradient_checkpointing: bool
    learning_rate: float
    lr_scheduler: str
    lr_warmup_steps: int
    adam_beta1: float
    adam_beta2: float
    adam_weight_decay: float
    adam_epsilon: float
    max_grad_norm: float
    seed: int
    checkpoint_every_steps: int


@dataclass
class _State:
    """Where a run stands."""

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def finetune_unet(
    unet: UNet2DConditionModel,
    noise_scheduler: SchedulerMixin,
    samples: EncodedSamples,
    settings: FinetuneSettings,
    *,
    checkpoint_dir: Path,
    on_step: OnStep = lambda step, num_steps, losses: None,
) -> list[dict[str, float]]:
    """Train the UNet in place with Eq. 7 of TokenCompose (arXiv:2312.03626).

    The loss is the denoising loss plus, over all supervised layers, `token_weight` times the token
    loss and `pixel_weight` times the pixel loss. With both weights 0 it is plain fine-tuning; the
    token and pixel losses are measured all the same, without gradients.

    The order of samples, the noise and the timesteps are functions of seed, step and sample keys,
    so a run that was killed and resumed ends with the weights of one that was not.

    Args:
        unet: The network, on its device.
        noise_scheduler: The noise schedule of its Stable Diffusion.
        samples: Encoded samples.
        settings: Length, speed, weights.
        checkpoint_dir: Checkpoints are written here and resumed from here.
        on_step: Told of every optimizer step and its losses.

    Returns:
        For every optimizer step its losses: `denoising`, `token`, `pixel`, `total`, `inside` (share
        of attention inside the masks, mean over layers and tokens) and `grad_norm`.

    Raises:
        FloatingPointError: If a loss or a gradient is not finite; the last checkpoint is kept.
        ValueError: If the checkpoints are of a run with other settings, or the UNet lacks a layer.
    """
    device = unet.device
    unet.train()
    if settings.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    trained = choose_trainable(
        unet, settings.trainable, lora_rank=settings.lora_rank, seed=settings.seed
    )
    parameters = list(trained.values())
    optimizer = torch.optim.AdamW(
        parameters,
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        weight_decay=settings.adam_weight_decay,
        eps=settings.adam_epsilon,
    )
    schedule = get_scheduler(
        settings.lr_scheduler,
        optimizer,
        num_warmup_steps=settings.lr_warmup_steps,
        num_training_steps=settings.num_steps,
    )
    state = _resume(checkpoint_dir, settings, trained, optimizer, schedule)
    make_batch = batch_maker(samples, device)
    layers = cross_attention_layers(unet, settings.layers, samples.latents_mean.shape[-1])
    objective = choose_objective(settings.variant)
    with capture_attention(unet, layers) as attention:
        while state.step < settings.num_steps:
            losses: Losses = {}
            optimizer.zero_grad(set_to_none=True)
            for part in range(settings.gradient_accumulation_steps):
                micro_step = state.step * settings.gradient_accumulation_steps + part
                keys = batch_keys(samples.keys, settings.batch_size, settings.seed, micro_step)
                batch = make_batch(keys)
                # Random numbers are drawn on the CPU, so that they do not depend on the device.
                generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + micro_step)
                draws = torch.randn((2, *batch.mean.shape), generator=generator)
                try:
                    terms = forward_losses(
                        unet,
                        noise_scheduler,
                        batch,
                        draw_timesteps(noise_scheduler, len(batch.mean), generator),
                        draws,
                        attention,
                        objective,
                        grounding_gradients=settings.token_weight > 0 or settings.pixel_weight > 0,
                    )
                except FloatingPointError as error:
                    raise FloatingPointError(
                        f"step {state.step}: {error}. The last checkpoint is in {checkpoint_dir};"
                        " lower learning_rate or max_grad_norm"
                    ) from error
                terms["total"] = (
                    terms["denoising"]
                    + settings.token_weight * terms["token"]
                    + settings.pixel_weight * terms["pixel"]
                )
                (terms["total"] / settings.gradient_accumulation_steps).backward()
                for name, value in terms.items():
                    share = float(value.detach()) / settings.gradient_accumulation_steps
                    losses[name] = losses.get(name, 0.0) + share
            norm = nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
            # Clipped, such gradients would spoil every weight, and the next checkpoint with them.
            if not bool(torch.isfinite(norm)):
                raise FloatingPointError(
                    f"step {state.step}: the norm of the gradients is {float(norm)}, with losses"
                    f" {losses}. The last checkpoint is in {checkpoint_dir}; lower learning_rate"
                )
            optimizer.step()
            schedule.step()
            state.step += 1
            losses["grad_norm"] = float(norm)
            state.history.append({"step": state.step, **losses})
            on_step(state.step, settings.num_steps, losses)
            if state.step % settings.checkpoint_every_steps == 0:
                values = {
                    "settings": _deciding(settings),
                    "trained": {name: p.detach() for name, p in trained.items()},
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "step": state.step,
                    "history": state.history,
                }
                save_checkpoint(checkpoint_dir, state.step, values)
    unet.eval()
    return state.history


def choose_objective(variant: Literal["paper", "released"]) -> Objective:
    """The grounding terms of a config's objective.

    Raises:
        ValueError: If there is no such variant.
    """
    match variant:
        case "paper":
            return paper_losses
        case "released":
            return released_losses
    raise ValueError(f"variant {variant!r} is neither paper nor released")


def _resume(
    folder: Path, settings: FinetuneSettings, trained: dict[str, nn.Parameter], optimizer, schedule
) -> _State:
    saved = load_newest_checkpoint(folder)
    if saved is None:
        return _State()
    own = _deciding(settings)
    differing = [name for name, value in own.items() if saved["settings"].get(name) != value]
    if differing:
        raise ValueError(
            f"the checkpoints in {folder} are of a run with another {', '.join(differing)};"
            " remove them, or give the run a folder of its own"
        )
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(saved["trained"][name])
    optimizer.load_state_dict(saved["optimizer"])
    schedule.load_state_dict(saved["schedule"])
    return _State(saved["step"], saved["history"])


def _deciding(settings: FinetuneSettings) -> dict[str, Any]:
    values = {**asdict(settings), "layers": list(settings.layers)}
    del values["checkpoint_every_steps"]
    return values
