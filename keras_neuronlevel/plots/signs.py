"""Histograms of average signs and of class consistency, and training curves, as the papers draw them."""

import numpy as np
from matplotlib.ticker import EngFormatter

from keras_neuronlevel.plots.style import GREY, HIGH_COLOUR, LOW_COLOUR

BINS = np.linspace(-1, 1, 22)  # 21 bins: the middle one holds s = 0


def average_sign_histogram(ax, s, title):
    """Histogram of the average signs s, any shape, with NaN for undefined pairs (E Fig. 2, I Fig. 1, 5).

    Bars of the high category (s < 0) and of the low category (s > 0) differ in colour and brightness; the
    share of undefined pairs is written in the panel where there are any. One neuron's s (N,) counts samples;
    more dimensions count activations.
    """
    s = np.asarray(s)
    ylabel = "samples" if s.ndim == 1 else "activations"
    s = s.ravel()
    counts, edges = np.histogram(s[np.isfinite(s)], BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    middle = len(centres) // 2
    colours = [HIGH_COLOUR] * middle + [GREY] + [LOW_COLOUR] * middle
    ax.bar(centres, counts, width=np.diff(edges), color=colours, edgecolor="white", linewidth=0.3)
    undefined = np.mean(~np.isfinite(s)) if s.size else 0.0
    if undefined:
        ax.text(0.5, 0.95, f"{undefined:.1%} undefined", transform=ax.transAxes, ha="center", va="top")
    ax.set(xlim=(-1.05, 1.05), xlabel="average sign of ∂L/∂a", ylabel=ylabel, title=title)
    ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    return ax


def class_consistency_histogram(ax, share, title):
    """Histogram over (neuron, class) pairs of the share of a class that is 'low', (U, K) (I Fig. 8)."""
    share = np.asarray(share).ravel()
    share = share[np.isfinite(share)]
    ax.hist(100 * share, bins=np.linspace(0, 100, 41), color=LOW_COLOUR, edgecolor="white", linewidth=0.3)
    ax.set(
        xlim=(-2, 102),
        xlabel="samples of the class in the low category (%)",
        ylabel="(neuron, class) pairs",
        title=title,
    )
    return ax


def training_curves(ax, history, title):
    """Accuracy on training and test images after each epoch; ``history`` is {name: list of values}."""
    epochs = np.arange(1, len(history["accuracy"]) + 1)
    seen = "training, while it trains"  # under dropout, where there is one
    ax.plot(epochs, history["accuracy"], "--", color=HIGH_COLOUR, marker=".", label=seen)
    if "val_accuracy" in history:
        ax.plot(epochs, history["val_accuracy"], "-", color=LOW_COLOUR, marker=".", label="test")
    ax.set(xlabel="epoch", ylabel="accuracy", title=title)
    ax.grid(alpha=0.3)
    ax.legend()
    return ax
