"""Charts of a grounded data set, of the kind that the paper's appendix has of its own."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import MaxNLocator

from tokencompose_core.reports.dataset_figures import NUM_BINS, PUBLISHED, DatasetFigures, Noun

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_LIGHT, _DARK, _MARK = "#b8c4d6", "#1f4e9c", "#c8553d"
_MOST_BARS = 40
_LEAST_BARS = 12
_MOST_LETTERS = 20


def draw_distributions(figures: DatasetFigures, path: Path) -> None:
    """Draw how words, phrases, masks and scores are distributed, the means beside the published.

    Args:
        figures: What was counted.
        path: Where to write the picture.
    """
    figure, axes = plt.subplots(1, 5, figsize=(13, 2.9), dpi=100)
    for axis, counts, what in (
        (axes[0], figures.words, "words a caption"),
        (axes[1], figures.phrases, "noun phrases a caption"),
        (axes[2], figures.grounded, "grounded phrases a caption"),
    ):
        _draw_counts(axis, counts)
        _draw_means(axis, what, figures.numbers[what], PUBLISHED[what])
        axis.set_ylabel("% of captions", fontsize=8)
    for axis, bins, mean, what in (
        (
            axes[3],
            figures.mask_shares,
            figures.numbers["mean share of the image that a mask covers"],
            "% of the image that a mask covers",
        ),
        (axes[4], figures.scores, figures.numbers["mean score"], "score of a phrase"),
    ):
        # A share is easier to read in percent; a score is what the thresholds are compared with.
        unit = 100 if what.startswith("%") else 1
        _draw_bins(axis, bins, unit)
        _draw_means(axis, what, None if mean is None else unit * mean, None)
        axis.set_ylabel("% of grounded phrases", fontsize=8)
    for axis in axes:
        axis.tick_params(labelsize=7)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def draw_nouns(nouns: Sequence[Noun], path: Path) -> None:
    """Draw how often each noun occurs and how often it got a mask, with that share in percent.

    Args:
        nouns: The nouns in the order in which they are drawn.
        path: Where to write the picture.
    """
    figure, axis = plt.subplots(figsize=(13, 3.3), dpi=100)
    places = range(len(nouns))
    axis.bar(places, [noun.count for noun in nouns], color=_LIGHT, label="occurs")
    axis.bar(places, [noun.grounded for noun in nouns], color=_DARK, label="with a mask")
    for place, noun in zip(places, nouns, strict=True):
        axis.annotate(
            f"{100 * noun.share:.0f} %",
            (place, noun.count),
            (0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=7,
        )
    axis.set_xticks(list(places), [_drawable(noun.text) for noun in nouns])
    axis.tick_params(axis="x", labelrotation=40, labelsize=8)
    for label in axis.get_xticklabels():
        label.set_horizontalalignment("right")
        label.set_rotation_mode("anchor")
        label.set_parse_math(False)  # a noun may hold a dollar sign
    axis.tick_params(axis="y", labelsize=7)
    axis.margins(y=0.12)
    axis.set_xlim(-0.7, max(len(nouns), _LEAST_BARS) - 0.3)
    axis.set_ylabel("occurrences", fontsize=8)
    if nouns:
        axis.legend(fontsize=8)
    else:
        _say_none(axis)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def _draw_counts(axis: Axes, counts: Counter[int]) -> None:
    """Bars by whole number; all captions beyond the last bar are counted in it."""
    total = counts.total()
    if not total:
        _say_none(axis)
        return
    last = min(max(counts), _MOST_BARS)
    heights = np.zeros(last + 1)
    for number, count in counts.items():
        heights[min(number, last)] += 100 * count / total
    axis.bar(range(last + 1), heights, color=_LIGHT, width=0.9)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if max(counts) > last:
        axis.set_xlabel(f"the last bar is {last} or more", fontsize=8)


def _draw_bins(axis: Axes, bins: Sequence[int], unit: float) -> None:
    total = sum(bins)
    if not total:
        _say_none(axis)
        return
    last = max(number for number, count in enumerate(bins) if count) + 1
    heights = [100 * count / total for count in bins[:last]]
    edges = [unit * number / NUM_BINS for number in range(last)]
    axis.bar(edges, heights, unit / NUM_BINS, align="edge", color=_LIGHT, edgecolor="white")
    axis.set_xlim(left=0)


def _draw_means(axis: Axes, what: str, own: float | None, published: float | None) -> None:
    """Mark the means, and say them in the title, where they hide no bar."""
    said = ""
    if own is not None:
        axis.axvline(own, color=_DARK)
        said = f"mean {own:.3g}"
        if published is not None:
            axis.axvline(published, color=_MARK, linestyle="--")
            said += f" (published set {published:g})"
    axis.set_title(f"{what}\n{said}", fontsize=8.5)


def _say_none(axis: Axes) -> None:
    axis.text(0.5, 0.5, "none", ha="center", va="center", transform=axis.transAxes, fontsize=9)


def _drawable(text: str) -> str:
    """A text cut short, with a box for every character that the font of the charts lacks."""
    font = get_font(findfont(FontProperties()))
    short = text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…"
    return "".join(c if font.get_char_index(ord(c)) else "\N{WHITE SQUARE}" for c in short)
