import pytest
import torch
from diffusers import DDPMScheduler

from tests.tokencompose_core.training.small_run import make_unet
from tokencompose_core.objectives.tokencompose import paper_losses
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
    for name in ("denoising", "token", "pixel"):
        assert parts[name] == pytest.approx(whole[name], rel=1e-4)
    assert parts["inside"] == pytest.approx(whole["inside"], rel=1e-4)
