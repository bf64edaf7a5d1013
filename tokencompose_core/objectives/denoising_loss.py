"""The denoising loss of latent diffusion."""

from diffusers import SchedulerMixin
from diffusers.training_utils import compute_snr
from jaxtyping import Float, Int
from torch import Tensor

PREDICTION_TYPES = ("epsilon", "v_prediction")
"""What a UNet may predict: the noise, or the velocity."""


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
    weights: Float[Tensor, " batch"] | None = None,
) -> Float[Tensor, ""]:
    """Mean squared error, Eq. 2 of TokenCompose (arXiv:2312.03626), in float32.

    Args:
        predicted: What the UNet returned.
        target: What it had to.
        weights: Of the samples; 1 by default.
    """
    errors = (predicted.float() - target.float()).square().mean(dim=(1, 2, 3))
    return (errors if weights is None else errors * weights).mean()


def min_snr_weights(
    noise_scheduler: SchedulerMixin, timesteps: Int[Tensor, " batch"], gamma: float
) -> Float[Tensor, " batch"]:
    """Weights that keep easy noise levels from outweighing the others: min-SNR (arXiv:2303.09556).

    The weight of the error of the predicted image is the signal-to-noise ratio, but at most
    `gamma`; here divided by what turns that error into one of noise or of velocity.

    Args:
        noise_scheduler: The noise schedule.
        timesteps: Of each sample.
        gamma: The most; the paper takes 5.
    """
    ratio = compute_snr(noise_scheduler, timesteps)
    is_velocity = noise_scheduler.config.prediction_type == "v_prediction"
    return ratio.clamp(max=gamma) / (ratio + 1.0 if is_velocity else ratio)
