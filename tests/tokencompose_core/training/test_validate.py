from dataclasses import replace

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


def test_inside_is_the_mean_over_samples_with_phrases(encoded):
    """Share of a token's mean map over heads, mean over layers, tokens, timesteps and samples."""
    kept = torch.tensor([row != 1 for row in range(5) for _ in range(2)])
    some = replace(
        encoded,
        positions=[[] if row == 1 else own for row, own in enumerate(encoded.positions)],
        grids={side: grid[kept] for side, grid in encoded.grids.items()},
    )
    unet, scheduler = make_unet(), DDPMScheduler()
    with torch.no_grad():
        for name, weights in unet.named_parameters():
            if ".attn2.to_" in name:  # or all heads would look almost everywhere alike
                weights.mul_(4.0)
    found = validate_unet(
        unet, scheduler, some, paper_losses, layers=("mid", "up"), timesteps=(200, 700)
    )
    draws = torch.randn((2, 5, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    layers = cross_attention_layers(unet, ("mid", "up"), 8)
    of_samples = []
    for row in (0, 2, 3, 4):
        of_tokens = []
        latents = encoded.latents_mean[row] + encoded.latents_deviation[row] * draws[0, row]
        for timestep in (200, 700):
            noisy = scheduler.add_noise(latents, draws[1, row], torch.tensor([timestep]))
            states = encoded.encoder_hidden_states[row : row + 1]
            with torch.no_grad(), capture_attention(unet, layers) as attention:
                unet(noisy[None], timestep, states)
            for phrase, positions in enumerate(encoded.positions[row]):
                for position in positions:
                    shares = []
                    for maps in attention.maps.values():
                        mean = sum(maps[0, :, :, :, position]) / maps.shape[1]
                        mask = encoded.grids[maps.shape[2]][2 * row + phrase]
                        shares.append(float(mean[mask].sum() / mean.sum()))
                    of_tokens.append(sum(shares) / len(shares))
        of_samples.append(sum(of_tokens) / len(of_tokens))
    assert found["inside"] == pytest.approx(sum(of_samples) / len(of_samples), rel=1e-4)


def test_nothing_is_dropped_in_a_validation(encoded):
    found = [
        validate_unet(
            make_unet(dropout).train(), DDPMScheduler(), encoded, paper_losses, layers=("mid",)
        )
        for dropout in (0.0, 0.5)
    ]
    assert found[1] == pytest.approx(found[0], rel=1e-5)
