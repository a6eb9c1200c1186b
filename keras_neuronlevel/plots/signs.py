"""Histograms of average signs and of class consistency, and training curves, as the papers draw them."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from keras_neuronlevel.plots.style import (
    GREY,
    HIGH_COLOUR,
    LOW_COLOUR,
    draw_consistency,
    drawable,
    per_cent,
    say_undefined,
)
from keras_neuronlevel.statistics import consistency_histogram, sign_histogram


def average_sign_histogram(ax: Axes, s: np.ndarray, title: str, recordings: int) -> Axes:
    """Histogram of the average signs s, any shape, with NaN for undefined pairs (E Fig. 2, I Fig. 1, 5).

    Bars of the high category (s < 0) and of the low category (s > 0) differ in colour and brightness; the
    share of undefined pairs is written in the panel where there are any. Bins hold equally many of the
    values that s can take in so many ``recordings``; heights are per cent of the pairs for every tenth of s,
    whatever their number. Raises ``ValueError`` for no signs, and outside [-1, 1].
    """
    s = drawable("average signs", s, -1, 1, gaps=True)
    counts, edges = sign_histogram(s, recordings)
    centres = (edges[:-1] + edges[1:]) / 2
    colours = np.where(np.abs(centres) < 1e-9, GREY, np.where(centres < 0, HIGH_COLOUR, LOW_COLOUR))
    heights = per_cent(counts) / 10 / np.diff(edges)
    ax.bar(centres, heights, width=np.diff(edges), color=colours, edgecolor="white", linewidth=0.3)
    say_undefined(ax, s)
    ylabel = f"% of {'samples' if s.ndim == 1 else 'activations'} per 0.1"
    ax.set(xlim=(-1.05, 1.05), xlabel="average sign of ∂L/∂a", ylabel=ylabel, title=title)
    return ax


def class_consistency_histogram(ax: Axes, share: np.ndarray, title: str) -> Axes:
    """Histogram over (neuron, class) pairs of the share of a class that is 'low', (U, K) (I Fig. 8).

    Heights are per cent of the pairs; a class that is nearly whole in one category has its colour. NaN, a
    pair without any defined sign, is counted in words. Raises ``ValueError`` for no pairs, and for shares
    outside [0, 1].
    """
    share = drawable("shares of a class", share, 0, 1, gaps=True)
    draw_consistency(ax, consistency_histogram(share))
    say_undefined(ax, share)
    xlabel, ylabel = "samples of the class in the low category (%)", "% of (neuron, class) pairs"
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    return ax


def training_curves(ax: Axes, history: Mapping[str, list[float]], title: str) -> Axes:
    """Accuracy on training and test images after each epoch; ``history`` is {name: list of values}.

    Raises ``ValueError`` for no epochs, and for accuracies outside [0, 1].
    """
    accuracy = drawable("training accuracies", history["accuracy"], 0, 1)
    epochs = np.arange(1, len(accuracy) + 1)
    seen = "training, while it trains"  # under dropout, where there is one
    ax.plot(epochs, accuracy, "--", color=HIGH_COLOUR, marker=".", label=seen)
    if "val_accuracy" in history:
        tested = drawable("test accuracies", history["val_accuracy"], 0, 1, count=len(epochs))
        ax.plot(epochs, tested, "-", color=LOW_COLOUR, marker=".", label="test")
    ax.set(xlabel="epoch", ylabel="accuracy", title=title)
    ax.grid(alpha=0.3)
    ax.legend()
    return ax
