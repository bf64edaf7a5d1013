"""One training loop for the small models of the pocket world."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

OnProgress = Callable[[int, int, dict[str, float]], None]
"""Called as `on_progress(step, num_steps, means of the losses since the last call)`."""


@dataclass(frozen=True)
class FitSettings:
    """How long and how fast a model is trained.

    Attributes:
        num_steps: Optimizer steps.
        learning_rate: Peak of the schedule, reached after `warmup_steps`.
        warmup_steps: Steps of linear warm-up, from which a cosine falls to a hundredth.
        weight_decay: AdamW's.
        ema_decay: Decay of the averaged weights that `fit` leaves in the model; 0 for none.
        max_grad_norm: Gradients are clipped to this norm.
        checkpoint_every_seconds: Wall-clock time between checkpoints.
        progress_every_steps: Steps between two calls of `on_progress`.
    """

    num_steps: int
    learning_rate: float
    warmup_steps: int = 100
    weight_decay: float = 1e-2
    ema_decay: float = 0.0
    max_grad_norm: float = 1.0
    checkpoint_every_seconds: float = 120.0
    progress_every_steps: int = 50


def fit(
    model: nn.Module,
    losses_of_step: Callable[[int], dict[str, Tensor]],
    settings: FitSettings,
    *,
    checkpoint_path: Path | None = None,
    on_progress: OnProgress = lambda step, num_steps, losses: None,
) -> list[dict[str, float]]:
    """Minimise the sum of the losses with AdamW, and leave the averaged weights in `model`.

    Args:
        model: Trained in place.
        losses_of_step: Named losses of a step. The batch must be a function of the step alone, so
            that a resumed run sees what an undisturbed one would.
        settings: Length and speed.
        checkpoint_path: File to write the state to and to resume from, if it exists.
        on_progress: Told of progress.

    Returns:
        The means that were given to `on_progress`, with their step, in order.

    Raises:
        FloatingPointError: If a loss is not finite.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, settings))
    average = (
        AveragedModel(
            model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay), use_buffers=True
        )
        if settings.ema_decay
        else None
    )
    history: list[dict[str, float]] = []
    start = 0
    if checkpoint_path is not None and checkpoint_path.is_file():
        state = torch.load(checkpoint_path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        if average is not None:
            average.load_state_dict(state["average"])
        start, history = state["step"], state["history"]

    sums: dict[str, float] = {}
    counted = 0
    saved_at = time.monotonic()
    model.train()
    for step in range(start, settings.num_steps):
        losses = losses_of_step(step)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            raise FloatingPointError(
                f"step {step}: the losses are { {k: v.item() for k, v in losses.items()} };"
                " lower the learning rate"
            )
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
        optimizer.step()
        schedule.step()
        if average is not None:
            # A short memory at first, so that the random initial weights are soon forgotten.
            average.multi_avg_fn = get_ema_multi_avg_fn(
                min(settings.ema_decay, (1 + step) / (10 + step))
            )
            average.update_parameters(model)
        counted += 1
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        if (step + 1) % settings.progress_every_steps == 0 or step + 1 == settings.num_steps:
            means = {name: value / counted for name, value in sums.items()}
            history.append({"step": step + 1, **means})
            on_progress(step + 1, settings.num_steps, means)
            sums, counted = {}, 0
        if (
            checkpoint_path is not None
            and time.monotonic() - saved_at > settings.checkpoint_every_seconds
        ):
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "average": average.state_dict() if average is not None else {},
                "step": step + 1,
                "history": history,
            }
            partial = checkpoint_path.with_suffix(".partial")
            torch.save(state, partial)
            partial.replace(checkpoint_path)
            saved_at = time.monotonic()
    if average is not None:
        model.load_state_dict(average.module.state_dict())
    model.eval()
    return history


def _rate(step: int, settings: FitSettings) -> float:
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.num_steps - settings.warmup_steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def shuffled_batches(count: int, batch_size: int, seed: int) -> Callable[[int], Tensor]:
    """Indices of the batch of a step: every epoch a permutation of its own.

    Args:
        count: Number of samples.
        batch_size: Samples a batch; the last, smaller batch of an epoch is left out.
        seed: Seed of all permutations.

    Returns:
        A function from step to a tensor of `batch_size` indices.

    Raises:
        ValueError: If there are fewer samples than a batch needs.
    """
    if count < batch_size:
        raise ValueError(f"{count} samples are too few for batches of {batch_size}")
    per_epoch = count // batch_size
    order: dict[int, Tensor] = {}

    def batch_of(step: int) -> Tensor:
        epoch, position = divmod(step, per_epoch)
        if epoch not in order:
            order.clear()
            generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
            order[epoch] = torch.randperm(count, generator=generator)
        return order[epoch][position * batch_size : (position + 1) * batch_size]

    return batch_of


def batched(count: int, batch_size: int) -> Iterator[slice]:
    """Slices that cover `range(count)` in order."""
    for start in range(0, count, batch_size):
        yield slice(start, min(start + batch_size, count))
