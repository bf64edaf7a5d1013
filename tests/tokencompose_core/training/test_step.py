"""Steps of a training against a plain loop."""

from dataclasses import replace

import pytest
import torch
from diffusers import DDPMScheduler

from tests.tokencompose_core.training.small_run import SETTINGS, make_unet, train
from tokencompose_core.training.order import batch_order
from tokencompose_core.training.step import Draws, batch_maker

NUM_STEPS, NUM_PARTS, NUM_WARMUP = 5, 2, 2
PLAIN = replace(
    SETTINGS,
    weights={"token": 0.0, "pixel": 0.0},
    num_steps=NUM_STEPS,
    gradient_accumulation_steps=NUM_PARTS,
    learning_rate=2e-3,
    lr_scheduler="linear",
    lr_warmup_steps=NUM_WARMUP,
    adam_beta1=0.7,
    adam_beta2=0.9,
    adam_weight_decay=0.5,
    adam_epsilon=1e-3,
    max_grad_norm=0.3,
)


def test_weights_after_some_steps_are_those_of_a_plain_loop(tmp_path, encoded):
    """Clipped gradients of accumulated batches, AdamW (arXiv:1711.05101) and a linear schedule."""
    trained, history = train(encoded, tmp_path, PLAIN)
    unet, scheduler = make_unet().train(), DDPMScheduler()
    start = [p.detach().clone() for p in unet.parameters()]
    batch_keys = batch_order(encoded.keys, PLAIN.batch_size, PLAIN.seed)
    first = [torch.zeros_like(p) for p in unet.parameters()]
    second = [torch.zeros_like(p) for p in unet.parameters()]
    norms = []
    for step in range(NUM_STEPS):
        for part in range(NUM_PARTS):
            number = NUM_PARTS * step + part
            rows = [encoded.keys.index(key) for key in batch_keys(number)]
            generator = torch.Generator().manual_seed(PLAIN.seed * 1_000_003 + number)
            normal, noise = torch.randn((2, len(rows), 4, 8, 8), generator=generator)
            timesteps = torch.randint(0, 1000, (len(rows),), generator=generator)
            latents = encoded.latents_mean[rows] + encoded.latents_deviation[rows] * normal
            noisy = scheduler.add_noise(latents, noise, timesteps)
            predicted = unet(noisy, timesteps, encoded.encoder_hidden_states[rows]).sample
            ((predicted - noise).square().mean() / NUM_PARTS).backward()
        gradients = [p.grad for p in unet.parameters()]
        norms.append(float(torch.cat([g.flatten() for g in gradients]).norm()))
        shorter = min(1.0, PLAIN.max_grad_norm / norms[-1])
        warming = step / NUM_WARMUP
        falling = (NUM_STEPS - step) / (NUM_STEPS - NUM_WARMUP)
        rate = PLAIN.learning_rate * (warming if step < NUM_WARMUP else falling)
        with torch.no_grad():
            for p, g, m, v in zip(unet.parameters(), gradients, first, second, strict=True):
                g.mul_(shorter)
                m.copy_(0.7 * m + 0.3 * g)
                v.copy_(0.9 * v + 0.1 * g**2)
                mean, square = m / (1 - 0.7 ** (step + 1)), v / (1 - 0.9 ** (step + 1))
                p.copy_(p - rate * 0.5 * p - rate * mean / (square.sqrt() + 1e-3))
                p.grad = None
    assert min(norms) > PLAIN.max_grad_norm, "every gradient was to be shortened"
    assert [row["grad_norm"] for row in history] == pytest.approx(norms, rel=1e-4)
    for before, own, expected in zip(start, trained.parameters(), unet.parameters(), strict=True):
        way = float((expected.detach() - before).norm())
        assert float((own - expected).detach().norm()) < 1e-3 * way


def test_rows_of_draws_are_those_of_the_same_samples():
    normal = torch.arange(2 * 6).reshape(2, 6, 1, 1, 1).float()
    whole = Draws(normal, torch.arange(6) + 100, torch.tensor([True, False, False] * 2))
    own = whole.rows(slice(2, 4))
    assert own.normal.flatten().tolist() == [2, 3, 8, 9]
    assert own.timesteps.tolist() == [102, 103]
    assert own.dropped.tolist() == [False, True]


def test_every_forward_pass_drops_something_else(tmp_path, encoded):
    unet, patterns = make_unet(dropout=0.5), []
    dropouts = [m for m in unet.modules() if isinstance(m, torch.nn.Dropout) and m.p > 0]
    dropouts[0].register_forward_hook(
        lambda module, given, output: patterns.append((output == 0).flatten().tolist())
    )
    train(encoded, tmp_path, PLAIN, unet)
    assert len(patterns) == NUM_STEPS * NUM_PARTS
    assert len({tuple(pattern) for pattern in patterns}) == len(patterns)


def test_dropped_caption_is_dropped_from_all_that_sdxl_is_told(encoded):
    """Its pooled state is the empty caption's; the sizes of the image stay its own."""
    pooled = torch.arange(5.0)[:, None].repeat(1, 3) + 1.0
    sizes = torch.arange(30.0).reshape(5, 6)
    told = replace(
        encoded,
        added_conditions={"text_embeds": pooled, "time_ids": sizes},
        empty_conditions={"text_embeds": torch.full((1, 3), -1.0)},
    )
    keys = [encoded.keys[row] for row in (3, 1, 4)]
    batch = batch_maker(told, torch.device("cpu"))(keys, [False, True, False])
    assert batch.added_conditions["text_embeds"][:, 0].tolist() == [4.0, -1.0, 5.0]
    assert torch.equal(batch.added_conditions["time_ids"], sizes[[3, 1, 4]])
    assert pooled[1, 0] == 2.0, "the samples keep their captions"
