"""Which losses of a step people look at."""

from collections.abc import Iterable, Mapping

_BESIDES = {"step", "total", "grad_norm"}
TAKEN = frozenset({"denoising", "inside", "grounded", "preference", *_BESIDES})
"""Names of a step's figures that no term of an objective may have."""


def loss_names(rows: Iterable[Mapping[str, float]]) -> list[str]:
    """The names that any of the rows has, in the order in which they come up.

    `denoising`, the terms of the objective, `inside`, if any step had phrases, and `preference`, if
    held-out samples with several objects were measured.
    """
    return list(dict.fromkeys(name for row in rows for name in row if name not in _BESIDES))
