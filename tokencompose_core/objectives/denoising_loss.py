"""The denoising loss of latent diffusion."""

import torch.nn.functional as F
from diffusers import SchedulerMixin
from jaxtyping import Float, Int
from torch import Tensor


def denoising_target(
    noise_scheduler: SchedulerMixin,
    latents: Float[Tensor, "batch channels height width"],
    noise: Float[Tensor, "batch channels height width"],
    timesteps: Int[Tensor, " batch"],
) -> Float[Tensor, "batch channels height width"]:
    """What the UNet has to predict: the noise, or the velocity (arXiv:2202.00512).

    Raises:
        ValueError: If the scheduler is set to another kind of prediction.
    """
    kind = noise_scheduler.config.prediction_type
    if kind == "epsilon":
        return noise
    if kind == "v_prediction":
        return noise_scheduler.get_velocity(latents, noise, timesteps)
    raise ValueError(f"prediction_type {kind!r} is neither epsilon nor v_prediction")


def denoising_loss(
    predicted: Float[Tensor, "batch channels height width"],
    target: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, ""]:
    """Mean squared error, Eq. 2 of TokenCompose (arXiv:2312.03626), in float32."""
    return F.mse_loss(predicted.float(), target.float())
