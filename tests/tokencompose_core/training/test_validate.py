import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image

from tests.tokencompose_core.training.small_run import encode, make_unet
from tokencompose_core.attention.capture import capture_attention
from tokencompose_core.attention.layers import cross_attention_layers
from tokencompose_core.objectives.tokencompose import paper_losses
from tokencompose_core.shards.read_shard import GroundedSample
from tokencompose_core.training.validate import validate_unet


def test_validation_is_the_mean_over_samples_and_timesteps(encoded):
    unet, scheduler = make_unet(), DDPMScheduler()
    whole = validate_unet(
        unet, scheduler, encoded, paper_losses, layers=("mid", "up"), timesteps=(100, 800)
    )
    assert unet.training
    draws = torch.randn((2, 5, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    latents = encoded.latents_mean + encoded.latents_deviation * draws[0]
    errors = []
    for timestep in (100, 800):
        for row in range(5):
            noisy = scheduler.add_noise(latents[row], draws[1, row], torch.tensor([timestep]))
            with torch.no_grad():
                predicted = unet(
                    noisy[None], timestep, encoded.encoder_hidden_states[row : row + 1]
                ).sample
            errors.append(float((predicted[0] - draws[1, row]).square().mean()))
    assert whole["denoising"] == pytest.approx(sum(errors) / len(errors), rel=1e-4)
    parts = validate_unet(
        unet,
        scheduler,
        encoded,
        paper_losses,
        layers=("mid", "up"),
        timesteps=(100, 800),
        batch_size=2,
    )
    for name in ("denoising", "token", "pixel", "inside", "preference"):
        assert parts[name] == pytest.approx(whole[name], rel=1e-4)


def test_preference_is_the_mean_over_nouns_layers_and_timesteps(frozen_parts):
    left, right = np.zeros((16, 16), dtype=bool), np.zeros((16, 16), dtype=bool)
    left[:, :8] = right[:, 8:] = True
    image = Image.new("RGB", (16, 16))
    nouns = [(2, 5), (12, 15)]
    two = GroundedSample("a", image, "A cat and a dog.", nouns, [left, right])
    alone = GroundedSample("b", image, "A cat sits.", [(2, 5)], [left])
    samples, _ = encode(frozen_parts, [two, alone])
    unet, scheduler = make_unet(), DDPMScheduler()
    measured = validate_unet(
        unet, scheduler, samples, paper_losses, layers=("mid", "up"), timesteps=(100, 800)
    )
    names = cross_attention_layers(unet, ("mid", "up"), samples.latents_mean.shape[-1])
    draws = torch.randn(
        (2, *samples.latents_mean.shape), generator=torch.Generator().manual_seed(0)
    )
    latents = samples.latents_mean + samples.latents_deviation * draws[0]
    preferences = []
    for timestep in (100, 800):
        noisy = scheduler.add_noise(latents[:1], draws[1, :1], torch.tensor([timestep]))
        with torch.no_grad(), capture_attention(unet, names) as attention:
            attention.select(torch.tensor([[2, 5]]))  # "cat" and "dog" after the start
            unet(noisy, timestep, samples.encoder_hidden_states[:1])
            for captured in attention.maps.values():
                cat, dog = captured[0].mean(dim=0).permute(2, 0, 1)
                half = cat.shape[1] // 2
                for own, other in (
                    (cat[:, :half], cat[:, half:]),
                    (dog[:, half:], dog[:, :half]),
                ):
                    preferences.append(float(own.mean() / (own.mean() + other.mean())))
    assert len(preferences) == 2 * 2 * len(names)
    assert measured["preference"] == pytest.approx(sum(preferences) / len(preferences), rel=1e-4)
    single = validate_unet(
        unet, scheduler, encode(frozen_parts, [alone])[0], paper_losses, layers=("mid", "up")
    )
    assert "preference" not in single
