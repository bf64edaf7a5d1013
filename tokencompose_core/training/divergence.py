"""Notice a fine-tuning that unlearns to denoise."""

from collections.abc import Mapping, Sequence

_FEWEST_STEPS = 20
_WINDOWS = 20


def noticed_after_steps(num_steps: int) -> int:
    """How long before it is noticed a rise may have begun: two windows of `check_denoising`.

    One is not enough, as the first bad steps raise a mean over many only little.
    """
    return 2 * _window(num_steps)


class DivergenceError(ArithmeticError):
    """The denoising loss has risen too far."""


def check_denoising(
    history: Sequence[Mapping[str, float]], num_steps: int, max_rise: float
) -> None:
    """Compare the denoising loss of the last steps with that of the first.

    A step's loss depends most on its timesteps, so means over a twentieth of the run are compared,
    at least over twenty steps.

    Args:
        history: Losses of all steps so far.
        num_steps: Steps of the whole run.
        max_rise: How many times the first mean the last one may be; 0 for any.

    Raises:
        DivergenceError: If it is more.
    """
    window = _window(num_steps)
    if not max_rise or len(history) < 2 * window:
        return
    first = sum(row["denoising"] for row in history[:window]) / window
    last = sum(row["denoising"] for row in history[-window:]) / window
    if last > max_rise * first:
        raise DivergenceError(
            f"step {len(history)}: the denoising loss, mean over {window} steps, has risen from"
            f" {first:.4f} to {last:.4f}, which is more than max_denoising_rise {max_rise:g}"
        )


def _window(num_steps: int) -> int:
    return max(_FEWEST_STEPS, num_steps // _WINDOWS)
