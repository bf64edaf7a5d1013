import json
from dataclasses import replace

import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image

from tests.tokencompose_core.training.small_run import SETTINGS, make_unet, train
from tokencompose_core.attention.capture import capture_attention
from tokencompose_core.attention.layers import cross_attention_layers
from tokencompose_core.objectives.tokencompose import paper_losses, released_losses
from tokencompose_core.reports.charts import draw_losses
from tokencompose_core.training.loss_names import loss_names
from tokencompose_core.training.order import batch_order
from tokencompose_core.training.step import batch_maker, draw, forward_losses


def test_total_is_eq_7_and_first_step_equals_a_slow_loop(tmp_path, encoded):
    settings = replace(SETTINGS, num_steps=1, gradient_accumulation_steps=1, batch_size=5)
    _, history = train(encoded, tmp_path, settings)
    row = history[0]
    assert row["total"] == pytest.approx(
        row["denoising"] + 0.05 * row["token"] + 0.01 * row["pixel"], rel=1e-6
    )
    keys = batch_order(encoded.keys, 5, settings.seed)(0)
    rows = [encoded.keys.index(key) for key in keys]
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003)
    draws = torch.randn((2, 5, 4, 8, 8), generator=generator)
    timesteps = torch.randint(0, 1000, (5,), generator=generator)
    unet = make_unet().train()
    latents = encoded.latents_mean[rows] + encoded.latents_deviation[rows] * draws[0]
    noisy = DDPMScheduler().add_noise(latents, draws[1], timesteps)
    layers = cross_attention_layers(unet, ("mid", "up"), 8)
    with torch.no_grad(), capture_attention(unet, layers) as attention:
        predicted = unet(noisy, timesteps, encoded.encoder_hidden_states[rows]).sample
    assert row["denoising"] == pytest.approx(
        float((predicted - draws[1]).square().mean()), rel=1e-5
    )
    token = 0.0
    for maps in attention.maps.values():
        for number, source in enumerate(rows):
            terms = []
            for phrase, positions in enumerate(encoded.positions[source]):
                mask = encoded.grids[maps.shape[2]][2 * source + phrase]
                for position in positions:
                    own = maps[number, :, :, :, position].mean(dim=0)
                    terms.append((1 - float((own * mask).sum() / own.sum())) ** 2)
            token += sum(terms) / len(terms) / 5
    assert row["token"] == pytest.approx(token, rel=1e-4)


def test_accumulated_gradient_is_the_mean_of_those_of_its_batches(tmp_path, encoded):
    settings = replace(SETTINGS, num_steps=1, batch_size=2, gradient_accumulation_steps=3)
    _, history = train(encoded, tmp_path, settings)
    unet, scheduler = make_unet().train(), DDPMScheduler()
    make_batch = batch_maker(encoded, torch.device("cpu"))
    layers = cross_attention_layers(unet, settings.layers, 8)
    gradients, totals = [], []
    for number in range(3):
        keys = batch_order(encoded.keys, 2, settings.seed)(number)
        with capture_attention(unet, layers) as attention:
            terms = forward_losses(
                unet,
                scheduler,
                make_batch(keys, [False, False]),
                draw(encoded, scheduler, 2, seed=settings.seed * 1_000_003 + number),
                attention,
                paper_losses,
            )
        total = terms["denoising"] + 0.05 * terms["token"] + 0.01 * terms["pixel"]
        of_batch = torch.autograd.grad(total, list(unet.parameters()))
        gradients.append(torch.cat([gradient.flatten() for gradient in of_batch]))
        totals.append(float(total.detach()))
    mean = torch.stack(gradients).mean(dim=0)
    assert history[0]["grad_norm"] == pytest.approx(float(mean.norm()), rel=1e-5)
    assert history[0]["total"] == pytest.approx(sum(totals) / 3, rel=1e-5)
    assert float(gradients[0].norm()) != pytest.approx(float(mean.norm()), rel=1e-2)


def test_no_gradients_are_held_while_the_network_is_validated(tmp_path, encoded):
    unet, held = make_unet(), []
    train(
        encoded,
        tmp_path,
        replace(SETTINGS, num_steps=3, validation_every_steps=2),
        unet=unet,
        on_validation=lambda step: held.extend(p.grad for p in unet.parameters()),
    )
    assert len(held) > 0
    assert all(gradient is None for gradient in [*held, *(p.grad for p in unet.parameters())])


def test_checkpointing_changes_nothing_but_memory(tmp_path, encoded):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain, _ = train(encoded, tmp_path / "a", replace(SETTINGS, num_steps=2))
    saving, _ = train(
        encoded, tmp_path / "b", replace(SETTINGS, num_steps=2, gradient_checkpointing=True)
    )
    for name, value in plain.state_dict().items():
        assert torch.allclose(value, saving.state_dict()[name], atol=1e-5), name


def test_losses_make_attention_fall_into_the_masks(tmp_path, encoded):
    settings = replace(
        SETTINGS,
        num_steps=60,
        gradient_accumulation_steps=1,
        batch_size=5,
        weights={"token": 1.0, "pixel": 0.0},
        learning_rate=5e-3,
    )
    _, history = train(encoded, tmp_path, settings)
    assert history[-1]["inside"] > history[0]["inside"] + 0.15


def test_without_weights_the_losses_are_measured_and_do_not_train(tmp_path, encoded):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain = replace(SETTINGS, num_steps=2, weights={"token": 0.0, "pixel": 0.0})
    first, history = train(encoded, tmp_path / "a", plain)
    assert history[0]["token"] > 0
    assert history[0]["total"] == pytest.approx(history[0]["denoising"])
    blind = replace(encoded, positions=[[] for _ in encoded.keys])
    second, history = train(blind, tmp_path / "b", plain)
    assert history[0]["token"] == 0.0
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_loss_that_is_not_finite_stops_the_run_with_its_checkpoint(tmp_path, encoded):
    spoilt = replace(encoded, latents_mean=encoded.latents_mean * float("nan"))
    with pytest.raises(FloatingPointError, match=r"step 0.* No checkpoint is in .*run; lower"):
        train(spoilt, tmp_path)


def test_gradient_that_is_not_finite_stops_the_run_before_it_spoils_weights(tmp_path, encoded):
    unet = make_unet()
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    unet.conv_in.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(FloatingPointError, match="step 0: the norm of the gradients is"):
        train(encoded, tmp_path, unet=unet)
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())


def test_released_variant_trains_with_its_own_losses(tmp_path, encoded):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = replace(SETTINGS, num_steps=1)
    _, paper = train(encoded, tmp_path / "a", one)
    _, released = train(encoded, tmp_path / "b", one, objective=released_losses)
    assert released[0]["denoising"] == paper[0]["denoising"]
    # Two decoder layers of each size: the released pixel loss averages them, the paper's adds them.
    assert released[0]["pixel"] < 0.8 * paper[0]["pixel"]
    assert released[0]["token"] != paper[0]["token"]


def test_objective_with_another_term_trains_with_its_weight(tmp_path, encoded):
    def seen(maps, tokens, grids):
        """How much nouns are looked at, wherever."""
        return {"seen": torch.stack([columns.mean() for columns in maps.values()]).mean()}

    settings = replace(SETTINGS, num_steps=40, learning_rate=5e-3, weights={"seen": 20.0})
    _, history = train(encoded, tmp_path, settings, objective=seen)
    assert history[0]["total"] == pytest.approx(
        history[0]["denoising"] + 20 * history[0]["seen"], rel=1e-6
    )
    assert history[-1]["seen"] < 0.8 * history[0]["seen"]
    assert loss_names(history) == ["denoising", "seen", "inside"]
    draw_losses(history, loss_names(history), tmp_path / "losses.png")
    # Three panels, where TokenCompose has four.
    assert Image.open(tmp_path / "losses.png").size == (720, 208)


def test_term_with_the_name_of_another_figure_is_refused(tmp_path, encoded):
    def seen(maps, tokens, grids):
        return {"inside": torch.stack([columns.mean() for columns in maps.values()]).mean()}

    with pytest.raises(ValueError, match=r"terms called \['inside'\]"):
        train(encoded, tmp_path, objective=seen)


def test_weight_of_a_term_that_the_objective_lacks_is_refused(tmp_path, encoded):
    settings = replace(SETTINGS, weights={"token": 1.0, "overlap": 0.5})
    with pytest.raises(
        ValueError, match=r"overlap_weight is 0\.5, but the objective 'paper' has no"
    ):
        train(encoded, tmp_path, settings)


def test_layers_that_the_unet_lacks_are_refused(tmp_path, encoded):
    with pytest.raises(ValueError, match="'up_16'; it has down_8, down_4, mid_4, up_4, up_8"):
        train(encoded, tmp_path, replace(SETTINGS, layers=("mid", "up_16")))


def test_history_is_plain_json(tmp_path, encoded):
    _, history = train(encoded, tmp_path, replace(SETTINGS, num_steps=1))
    assert set(json.loads(json.dumps(history))[0]) == {
        "step",
        "denoising",
        "token",
        "pixel",
        "inside",
        "total",
        "grad_norm",
    }
