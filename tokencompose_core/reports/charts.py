"""Charts."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_PANELS = {
    "denoising": "denoising loss",
    "token": "token loss, sum over layers",
    "pixel": "pixel loss, sum over layers",
    "inside": "share of attention inside masks",
}


def draw_losses(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw the losses of a fine-tuning over its steps, each with a running mean."""
    steps = [row["step"] for row in history]
    figure, axes = plt.subplots(1, len(_PANELS), figsize=(12, 2.6), dpi=80)
    window = max(1, len(history) // 20)
    kernel = np.ones(window) / window
    for axis, (name, title) in zip(axes, _PANELS.items(), strict=True):
        values = np.array([row[name] for row in history])
        axis.plot(steps, values, color="#b8c4d6", linewidth=0.7)
        axis.plot(steps[window - 1 :], np.convolve(values, kernel, "valid"), color="#1f4e9c")
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def draw_success(success: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw how often each category was found, for every model, as grouped bars."""
    categories = sorted({name for values in success.values() for name in values})
    width = 0.8 / len(success)
    figure, axis = plt.subplots(figsize=(12, 3), dpi=80)
    for number, (label, values) in enumerate(success.items()):
        places = [i + width * number for i in range(len(categories))]
        axis.bar(places, [values.get(name, 0.0) for name in categories], width, label=label)
    axis.set_xticks([i + 0.4 - width / 2 for i in range(len(categories))], categories)
    axis.tick_params(axis="x", labelrotation=40, labelsize=8)
    axis.set_ylabel("found, % of images", fontsize=8)
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
