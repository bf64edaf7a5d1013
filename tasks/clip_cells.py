"""CLIPScores as people read them, by any scale."""

import math

_DIGITS = 2  # of a cosine times 100


def clip_digits(scale: float) -> int:
    """Decimals that tell CLIPScores apart: two of a cosine times 100, more of a smaller scale.

    Args:
        scale: Factor of the cosine.
    """
    return _DIGITS + max(0, math.ceil(math.log10(100 / scale)))


def clip_number(score: float, scale: float) -> str:
    """A score, or the end of an interval."""
    return f"{score:.{clip_digits(scale)}f}"


def clip_cell(mean: float, deviation: float, scale: float) -> str:
    """A mean with the deviation over images in brackets."""
    return f"{clip_number(mean, scale)} ({clip_number(deviation, scale)})"
