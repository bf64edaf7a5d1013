"""Charts."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_TITLES = {
    "inside": "share of attention inside masks",
    "preference": "attention to own object, not others",
}


def draw_losses(
    history: Sequence[Mapping[str, float]],
    names: Sequence[str],
    path: Path,
    held_out: Mapping[int, Mapping[str, float]] | None = None,
) -> None:
    """Draw the losses of a fine-tuning over its steps, each with a running mean.

    Args:
        history: Losses of every step; one that a step lacks is left out.
        names: Of the losses, each with a panel of its own.
        path: Where to write the picture.
        held_out: By step, losses on held-out samples, drawn as dots.
    """
    size = (3 * len(names), 2.6)
    figure, axes = plt.subplots(1, len(names), figsize=size, dpi=80, squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        rows = [row for row in history if name in row]
        steps, values = [row["step"] for row in rows], np.array([row[name] for row in rows])
        window = max(1, len(rows) // 20)
        axis.plot(steps, values, color="#b8c4d6", linewidth=0.7)
        if len(rows):
            kernel = np.ones(window) / window
            axis.plot(steps[window - 1 :], np.convolve(values, kernel, "valid"), color="#1f4e9c")
        measured = {step: row[name] for step, row in (held_out or {}).items() if name in row}
        axis.plot(list(measured), list(measured.values()), "o--", color="#c8553d", label="held out")
        if measured:
            axis.legend(fontsize=7)
        axis.set_title(_TITLES.get(name, f"{name} loss"), fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
