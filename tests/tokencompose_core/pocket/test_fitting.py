from pathlib import Path

import pytest
import torch
from torch import nn

from tokencompose_core.pocket.distractors import DISTRACTORS, draw_distractor
from tokencompose_core.pocket.fitting import FitSettings, fit, shuffled_batches

SETTINGS = FitSettings(
    num_steps=20,
    learning_rate=0.05,
    warmup_steps=3,
    ema_decay=0.9,
    checkpoint_every_seconds=0.0,
    progress_every_steps=5,
)


def make_model():
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def losses(model):
    def of_step(step):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn((8, 3), generator=generator)
        return {"error": (model(x) - x.sum(dim=1, keepdim=True)).square().mean()}

    return of_step


def test_resumed_run_ends_where_an_undisturbed_one_does(tmp_path: Path):
    whole = make_model()
    history = fit(whole, losses(whole), SETTINGS)
    resumed = make_model()
    path = tmp_path / "c.pt"

    def die(step, num_steps, means):
        if step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(resumed, losses(resumed), SETTINGS, checkpoint_path=path, on_progress=die)
    resumed = make_model()
    again = fit(resumed, losses(resumed), SETTINGS, checkpoint_path=path)
    assert again[-1] == history[-1]
    assert torch.equal(whole.weight, resumed.weight)
    assert history[-1]["error"] < 0.2 * history[0]["error"]


def test_loss_that_is_not_finite_stops_the_run():
    model = make_model()
    with pytest.raises(FloatingPointError, match="step 0"):
        fit(model, lambda step: {"error": model.weight.sum() * float("nan")}, SETTINGS)


def test_every_epoch_is_a_permutation_of_its_own():
    batch_of = shuffled_batches(10, 3, seed=1)
    epochs = [torch.cat([batch_of(3 * e + i) for i in range(3)]).tolist() for e in range(3)]
    assert all(len(set(epoch)) == 9 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert torch.equal(batch_of(4), shuffled_batches(10, 3, seed=1)(4))
    with pytest.raises(ValueError, match="too few"):
        shuffled_batches(2, 3, seed=0)


@pytest.mark.parametrize("kind", DISTRACTORS)
def test_distractors_are_pictures_of_their_own(kind):
    import random

    first = draw_distractor(random.Random(1), kind, 64)
    assert first.shape == (64, 64, 3)
    assert first.dtype == "uint8"
    assert (first == draw_distractor(random.Random(1), kind, 64)).all()
    assert (first != draw_distractor(random.Random(2), kind, 64)).any()
