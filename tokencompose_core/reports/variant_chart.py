"""Chart of an ablation: every variant with its interval."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.artist import Artist

_OURS = "#1f4e9c"
_PAPER = "#9a6a1f"


def draw_variants(
    scores: Mapping[str, Mapping[int, tuple[float, float, float]]],
    seed_scores: Mapping[str, Mapping[int, list[float]]],
    published: Mapping[str, Mapping[int, float]],
    path: Path,
) -> None:
    """Draw MG2 and above of variants, or MG1 of single objects, one variant below the other.

    Args:
        scores: For every variant, by k, its value and the ends of its interval, in percent.
        seed_scores: The same for each training seed, drawn as small dots.
        published: What the paper reports, drawn as diamonds; variants may be missing.
        path: Where to write the picture.
    """
    labels = list(scores)
    shares = sorted(scores[labels[0]])
    figure, axes = plt.subplots(
        1, len(shares), figsize=(11, 1.1 + 0.36 * len(labels)), dpi=100, sharey=True, squeeze=False
    )
    for axis, k in zip(axes[0], shares, strict=True):
        axis.axvline(scores[labels[0]][k][0], color="#c9d1dc", linewidth=1, zorder=0)
        for row, label in enumerate(labels):
            value, low, high = scores[label][k]
            axis.plot([low, high], [row, row], color=_OURS, linewidth=1.6)
            own = seed_scores[label][k]
            axis.plot(own, [row] * len(own), ".", color="#8fa8d0", markersize=5)
            axis.plot(value, row, "o", color=_OURS, markersize=5, label="ours")
            if k in published.get(label, {}):
                axis.plot(
                    published[label][k],
                    row,
                    "D",
                    markerfacecolor="none",
                    color=_PAPER,
                    markersize=5,
                    label="paper, with Stable Diffusion 1.4",
                )
        axis.set_title(f"MG{k}, %", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(axis="x", color="#eceff3")
        axis.spines[["top", "right", "left"]].set_visible(False)
    axes[0][0].set_yticks(range(len(labels)), labels)
    axes[0][0].invert_yaxis()
    # Of all panels: for the first k nothing may be published.
    handles: dict[str, Artist] = {}
    for axis in axes[0]:
        handles |= dict(zip(*axis.get_legend_handles_labels()[::-1], strict=True))
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.legend(
        handles.values(), handles.keys(), loc="lower center", ncols=2, fontsize=8, frameon=False
    )
    figure.savefig(path)
    plt.close(figure)
