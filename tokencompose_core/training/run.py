"""A fine-tuning under way: steps, checkpoints, averages."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import SchedulerMixin, UNet2DConditionModel
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch import nn

from tokencompose_core.attention.capture import AttentionMaps
from tokencompose_core.objectives.tokencompose import Objective
from tokencompose_core.store.keys import text_digest
from tokencompose_core.training.checkpoint import (
    load_checkpoint,
    save_checkpoint,
)
from tokencompose_core.training.divergence import noticed_after_steps
from tokencompose_core.training.encode_shard import EncodedSamples
from tokencompose_core.training.optimizer import make_optimizer
from tokencompose_core.training.order import batch_order
from tokencompose_core.training.settings import FinetuneSettings
from tokencompose_core.training.step import (
    BatchMaker,
    batch_maker,
    draw,
    forward_losses,
    mean_losses,
)

Losses = dict[str, float]
# At the start fp16's scale is far too large, and halved at every overflow.
_MOST_SKIPPED_STEPS = 40
# What accelerate sets on a network for autocast, and to know it again.
_WRAPPED = ("forward", "_original_forward", "_is_accelerate_prepared")


class TrainingRun:
    """A training under way: everything that a checkpoint has to hold."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        trained: dict[str, nn.Parameter],
        noise_scheduler: SchedulerMixin,
        samples: EncodedSamples,
        objective: Objective,
        settings: FinetuneSettings,
        accelerator: Accelerator,
    ) -> None:
        self.unet = unet
        self.trained = trained
        self.parameters = list(trained.values())
        self.noise_scheduler = noise_scheduler
        self.samples = samples
        self.settings = settings
        self.accelerator = accelerator
        self.batch_keys = batch_order(samples.keys, settings.batch_size, settings.seed)
        self.make_batch: BatchMaker = batch_maker(samples, unet.device)
        self.objective = objective
        optimizer = make_optimizer(self.parameters, settings)
        self.schedule = get_scheduler(
            settings.lr_scheduler,
            optimizer,
            num_warmup_steps=settings.lr_warmup_steps,
            num_training_steps=settings.num_steps,
        )
        self.average = (
            EMAModel(self.parameters, decay=settings.ema_decay, foreach=True)
            if settings.ema_decay
            else None
        )
        self.plain = {name: unet.__dict__[name] for name in _WRAPPED if name in unet.__dict__}
        # The schedule is not prepared: accelerate would step it once for every process.
        self.network, self.optimizer = accelerator.prepare(unet, optimizer)
        self.step = 0
        self.skipped = 0
        self.history: list[dict[str, float]] = []

    def take_step(self, attention: AttentionMaps) -> Losses:
        """One optimizer step on as many batches as are accumulated."""
        settings, accelerator = self.settings, self.accelerator
        count = settings.gradient_accumulation_steps
        sums: dict[str, torch.Tensor] = {}
        for part in range(count):
            # Gradients travel between processes once a step.
            last = part == count - 1
            with nullcontext() if last else accelerator.no_sync(self.network):
                terms = self._forward(attention, self.step * count + part)
                accelerator.backward(terms["total"] / count)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value.detach().float() / count
        means = accelerator.reduce(torch.stack(list(sums.values())), reduction="mean").tolist()
        losses = mean_losses(dict(zip(sums, means, strict=True)))
        norm = self._apply_gradients(losses)
        # Not before the next step: a validation has no use for them.
        self.optimizer.zero_grad(set_to_none=True)
        if norm is not None:
            losses["grad_norm"] = norm
        self.step += 1
        self.history.append({"step": self.step, **losses})
        accelerator.log({**losses, "learning_rate": self.schedule.get_last_lr()[0]}, self.step)
        return losses

    def _forward(self, attention: AttentionMaps, number: int) -> dict[str, torch.Tensor]:
        settings, accelerator = self.settings, self.accelerator
        # Every process knows the whole batch and takes its share of it.
        keys = self.batch_keys(number)
        draws = draw(
            self.samples,
            self.noise_scheduler,
            settings.batch_size,
            seed=settings.seed * 1_000_003 + number,
            caption_dropout=settings.caption_dropout,
        )
        share = settings.batch_size // accelerator.num_processes
        rank = accelerator.process_index
        own = slice(rank * share, (rank + 1) * share)
        draws = draws.rows(own)
        # Nothing but a network with dropout draws from this source.
        torch.manual_seed(int(text_digest(f"{settings.seed}-{number}-{rank}")[:12], 16))
        try:
            terms = forward_losses(
                self.network,
                self.noise_scheduler,
                self.make_batch(keys[own], draws.dropped.tolist()),
                draws,
                attention,
                self.objective,
                snr_gamma=settings.snr_gamma,
            )
        except FloatingPointError as error:
            raise FloatingPointError(f"step {self.step}: {error}") from error
        total = terms["denoising"]
        for name, weight in settings.weights.items():
            if name in terms:
                total = total + weight * terms[name]
            elif weight:
                raise ValueError(
                    f"finetune.objective.{name}_weight is {weight:g}, but the objective"
                    f" {settings.variant!r} has no term {name}; set it to 0"
                )
        return {**terms, "total": total}

    def _apply_gradients(self, losses: Losses) -> float | None:
        """Take the step, and return the norm of the gradients; None if fp16 overflowed."""
        norm = self.accelerator.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
        norm = float(norm)
        scaled = self.accelerator.scaler is not None
        # Clipped, such gradients would spoil every weight, and the next checkpoint with them.
        if not math.isfinite(norm) and not scaled:
            raise FloatingPointError(
                f"step {self.step}: the norm of the gradients is {norm}, with losses {losses}"
            )
        self.optimizer.step()
        if self.accelerator.optimizer_step_was_skipped:
            self.skipped += 1
            if self.skipped > _MOST_SKIPPED_STEPS:
                raise FloatingPointError(
                    f"step {self.step}: fp16 gradients overflowed {self.skipped} times in a row"
                )
            return None
        self.skipped = 0
        self.schedule.step()
        if self.average:
            self.average.step(self.parameters)
        return norm

    def is_due(self, every: int, *, also_last: bool) -> bool:
        """Whether something that is done every so many steps is to be done now."""
        if self.step == self.settings.num_steps:
            return also_last
        return every > 0 and self.step % every == 0

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Make the UNet what would be saved now: averaged, not under autocast, not compiled."""
        if self.average:
            self.average.store(self.parameters)
            self.average.copy_to(self.parameters)
        self.unet.eval()
        wrapped = self._unwrap()
        try:
            with torch.compiler.set_stance("force_eager"):
                yield
        finally:
            self.unet.__dict__.update(wrapped)
            self.unet.train()
            if self.average:
                self.average.restore(self.parameters)

    def close(self) -> None:
        """Leave the UNet as a plain module, with the weights that are to be saved."""
        self._unwrap()
        for module in self.unet.modules():
            module._compiled_call_impl = None
        if self.average:
            self.average.copy_to(self.parameters)

    def _unwrap(self) -> dict[str, Any]:
        """Take what accelerate has set off the UNet, and return it.

        accelerate's own way would strip diffusers' decorator from `forward` as well.
        """
        own = self.unet.__dict__
        wrapped = {name: own.pop(name) for name in _WRAPPED if name in own}
        own.update(self.plain)
        return wrapped

    def save(self, folder: Path) -> None:
        """Write a checkpoint."""
        scaler = self.accelerator.scaler
        values = {
            "settings": self.settings.deciding(),
            "trained": {name: p.detach() for name, p in self.trained.items()},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "scaler": scaler.state_dict() if scaler else None,
            "step": self.step,
            "history": self.history,
        }
        noticed_after = noticed_after_steps(self.settings.num_steps)
        save_checkpoint(folder, self.step, values, noticed_after=noticed_after)

    def resume(self, folder: Path, step: int) -> None:
        """Go on from the checkpoint of a step.

        Raises:
            ValueError: If it is of a run with other settings.
            OSError: If the machine cannot read it.
        """
        saved = load_checkpoint(folder, step)
        own: dict[str, Any] = self.settings.deciding()
        differing = [name for name, value in own.items() if saved["settings"].get(name) != value]
        if differing:
            raise ValueError(
                f"the checkpoints in {folder} are of a run with another {', '.join(differing)};"
                " remove them, or give the run a folder of its own"
            )
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(saved["trained"][name])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        if self.average:
            self.average.load_state_dict(saved["average"])
            self.average.to(self.unet.device)
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(saved["scaler"])
        self.step, self.history = saved["step"], saved["history"]
