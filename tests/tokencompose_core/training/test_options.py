"""What a fine-tuning may do beyond the paper's settings."""

from dataclasses import replace

import pytest
import torch
from diffusers import DDPMScheduler

from tests.tokencompose_core.training.small_run import SETTINGS, make_unet, train
from tokencompose_core.objectives.denoising_loss import denoising_loss, min_snr_weights
from tokencompose_core.training.divergence import DivergenceError, check_denoising
from tokencompose_core.training.optimizer import make_optimizer, takes_fused
from tokencompose_core.training.step import batch_maker, draw

ONE = replace(SETTINGS, num_steps=1, gradient_accumulation_steps=1, batch_size=5)


def die_at(step):
    def on_step(number, num_steps, losses):
        if number == step:
            raise KeyboardInterrupt

    return on_step


def test_averaged_weights_are_what_is_saved(tmp_path, encoded):
    """The library's warm-up: the decay of step n is (1 + n) / (10 + n), at most ema_decay."""
    weights = []
    settings = replace(SETTINGS, num_steps=3)
    unet = make_unet()
    train(
        encoded,
        tmp_path / "plain",
        settings,
        unet=unet,
        on_step=lambda *_: weights.append(unet.conv_in.weight.detach().clone()),
    )
    average = weights[0]  # after the first step the average is the weights
    for n, weight in enumerate(weights[1:], start=1):
        decay = min(0.15, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * weight
    averaged, _ = train(encoded, tmp_path / "average", replace(settings, ema_decay=0.15))
    assert torch.allclose(averaged.conv_in.weight, average, atol=1e-7)
    assert not torch.allclose(averaged.conv_in.weight, weights[-1], atol=1e-7)


def test_average_is_resumed_and_shown_at_validation(tmp_path, encoded):
    settings = replace(SETTINGS, ema_decay=0.9, validation_every_steps=4)
    unet, seen = make_unet(), []
    whole, _ = train(
        encoded,
        tmp_path / "a",
        settings,
        unet=unet,
        on_validation=lambda step: seen.append((step, unet.conv_in.weight.detach().clone())),
    )
    assert [step for step, _ in seen] == [4]
    with pytest.raises(KeyboardInterrupt):
        train(encoded, tmp_path / "b", settings, on_step=die_at(5))
    resumed, _ = train(encoded, tmp_path / "b", settings)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    stopped, _ = train(encoded, tmp_path / "c", replace(settings, num_steps=4))
    assert torch.equal(seen[0][1], stopped.conv_in.weight)


def test_min_snr_weighs_samples_by_their_noise():
    scheduler = DDPMScheduler()
    timesteps = torch.tensor([10, 500, 900])
    signal = scheduler.alphas_cumprod[timesteps]
    ratio = signal / (1 - signal)
    assert ratio[0] > 5 > ratio[1]
    expected = torch.tensor([5.0 / ratio[0], 1.0, 1.0])
    assert torch.allclose(min_snr_weights(scheduler, timesteps, 5.0), expected, rtol=1e-4)
    velocity = DDPMScheduler(prediction_type="v_prediction")
    expected = torch.stack([5.0 / (ratio[0] + 1), *(ratio[1:] / (ratio[1:] + 1))])
    assert torch.allclose(min_snr_weights(velocity, timesteps, 5.0), expected, rtol=1e-4)
    predicted, target = torch.randn(2, 3, 4, 2, 2)
    errors = [float((predicted[i] - target[i]).square().mean()) for i in range(3)]
    weights = torch.tensor([0.5, 1.0, 2.0])
    assert float(denoising_loss(predicted, target, weights)) == pytest.approx(
        (0.5 * errors[0] + errors[1] + 2 * errors[2]) / 3, rel=1e-5
    )


def test_min_snr_lowers_the_loss_of_easy_steps_only(tmp_path, encoded):
    _, plain = train(encoded, tmp_path / "a", ONE)
    _, same = train(encoded, tmp_path / "b", replace(ONE, snr_gamma=1e9))
    _, lower = train(encoded, tmp_path / "c", replace(ONE, snr_gamma=0.01))
    assert same[0]["denoising"] == pytest.approx(plain[0]["denoising"], rel=1e-5)
    assert lower[0]["denoising"] < 0.9 * plain[0]["denoising"]
    assert lower[0]["token"] == plain[0]["token"]


def test_dropped_caption_is_the_empty_one_and_grounds_nothing(encoded):
    make_batch = batch_maker(encoded, torch.device("cpu"))
    keys = [encoded.keys[row] for row in (3, 1, 4)]
    batch = make_batch(keys, [False, True, False])
    states = batch.encoder_hidden_states
    assert torch.equal(states[0], encoded.encoder_hidden_states[3])
    assert torch.equal(states[1:2], encoded.empty_hidden_states)
    assert not torch.equal(encoded.encoder_hidden_states[1:2], encoded.empty_hidden_states)
    assert set(batch.tokens.sample.tolist()) == {0, 2}
    rows = torch.tensor([6, 7, 8, 9])
    for side, grid in batch.grids.items():
        assert torch.equal(grid, encoded.grids[side][rows])


def test_captions_are_dropped_as_often_as_asked(encoded):
    scheduler = DDPMScheduler()
    dropped = [
        draw(encoded, scheduler, 50, seed=seed, caption_dropout=0.2).dropped for seed in range(40)
    ]
    share = float(torch.cat(dropped).float().mean())
    assert share == pytest.approx(0.2, abs=0.04)
    assert not draw(encoded, scheduler, 50, seed=1).dropped.any()
    # What else is drawn does not depend on it.
    other = draw(encoded, scheduler, 50, seed=1, caption_dropout=0.9)
    assert torch.equal(other.normal, draw(encoded, scheduler, 50, seed=1).normal)


def test_run_without_any_caption_trains_on_the_denoising_loss(tmp_path, encoded):
    _, history = train(encoded, tmp_path, replace(ONE, caption_dropout=0.999999))
    assert history[0]["token"] == 0.0
    assert "inside" not in history[0]


def test_inside_counts_samples_with_phrases_only(tmp_path, encoded):
    kept = [row % 2 == 0 for row in range(len(encoded.keys)) for _ in range(2)]
    some = replace(
        encoded,
        positions=[p if i % 2 == 0 else [] for i, p in enumerate(encoded.positions)],
        grids={side: grid[torch.tensor(kept)] for side, grid in encoded.grids.items()},
    )
    _, history = train(some, tmp_path / "some", ONE)
    parts = replace(ONE, batch_size=1, gradient_accumulation_steps=5)
    _, alone = train(some, tmp_path / "alone", parts)
    assert history[0]["inside"] > 0.1
    # Other noise, so not equal; but three samples of five count, wherever they are.
    assert alone[0]["inside"] == pytest.approx(history[0]["inside"], rel=0.2)


def test_rising_denoising_loss_is_noticed():
    falling = [{"denoising": 1.0 / (1 + step)} for step in range(100)]
    check_denoising(falling, 100, 1.5)
    rising = [{"denoising": 0.1 + 0.004 * step} for step in range(100)]
    with pytest.raises(DivergenceError, match=r"step 100: .*over 20 steps.*0\.1380 to 0\.4580"):
        check_denoising(rising, 100, 3.0)
    check_denoising(rising, 100, 0.0)
    check_denoising(rising[:39], 100, 1.1)


def test_diverging_run_stops_with_its_last_good_checkpoint(tmp_path, encoded):
    settings = replace(
        SETTINGS,
        num_steps=100,
        gradient_accumulation_steps=1,
        batch_size=2,
        learning_rate=1e-4,
        max_denoising_rise=2.0,
        checkpoint_every_steps=10,
    )
    unet = make_unet()

    @torch.no_grad()
    def spoil(step, num_steps, losses):
        if step >= 30:
            unet.conv_out.weight.mul_(1.1)

    with pytest.raises(
        DivergenceError, match=r"has risen .* checkpoint of step \d+, .*run; lower .* begins anew"
    ):
        train(encoded, tmp_path, settings, unet=unet, on_step=spoil)
    steps = [int(path.stem.split("-")[1]) for path in (tmp_path / "run").iterdir()]
    assert 0 < max(steps) < 30


def test_compiled_blocks_train_the_same_and_are_handed_back_uncompiled(tmp_path, encoded):
    settings = replace(SETTINGS, num_steps=3, gradient_checkpointing=True, validation_every_steps=2)
    plain, history = train(encoded, tmp_path / "a", settings)
    unet = make_unet()
    images = []
    compiled, again = train(
        encoded,
        tmp_path / "b",
        replace(settings, compile_blocks=True),
        unet=unet,
        # Another shape than that of training, inside of it.
        on_validation=lambda step: images.append(
            unet(torch.zeros(1, 4, 4, 4), 1, torch.zeros(1, 16, 16)).sample.shape
        ),
    )
    assert images == [(1, 4, 4, 4)]
    for row, other in zip(history, again, strict=True):
        assert row["total"] == pytest.approx(other["total"], rel=1e-4)
    for name, value in plain.state_dict().items():
        assert torch.allclose(value, compiled.state_dict()[name], atol=1e-4), name
    assert all(module._compiled_call_impl is None for module in compiled.modules())


def test_step_is_fused_on_a_gpu_where_none_is_skipped():
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert takes_fused(gpu, "no")
    assert takes_fused(gpu, "bf16")
    assert not takes_fused(gpu, "fp16")
    assert not takes_fused(cpu, "no")
    (group,) = make_optimizer([torch.nn.Parameter(torch.zeros(2))], SETTINGS).param_groups
    assert (group["fused"], group["foreach"]) == (None, None)


def test_optimizer_with_8_bit_states_trains(tmp_path, encoded):
    pytest.importorskip("bitsandbytes", reason="optional: pip install bitsandbytes")
    settings = replace(SETTINGS, num_steps=6, optimizer="adamw_8bit")
    _, precise = train(encoded, tmp_path / "a", replace(settings, optimizer="adamw"))
    whole, coarse = train(encoded, tmp_path / "b", settings)
    assert coarse[-1]["total"] == pytest.approx(precise[-1]["total"], rel=0.05)
    with pytest.raises(KeyboardInterrupt):
        train(encoded, tmp_path / "c", settings, on_step=die_at(5))
    resumed, _ = train(encoded, tmp_path / "c", settings)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
