"""Pre-activations of a neuron's two categories through training, and against its activation function.

Arguments are the dictionaries that the module ``dynamics`` gives; nothing is computed here.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import ArrayLike

from keras_neuronlevel import checks
from keras_neuronlevel.plots.style import (
    GREY,
    HIGH_COLOUR,
    INK,
    LOW_COLOUR,
    SMALL,
    UndrawableError,
    add_legend,
    add_note,
    category_handles,
    draw_categories,
    drawable,
    panels,
)

PANEL = 2.1, 1.35  # inches, of a moment
SUBTASK = 3.5, 2.7  # inches, of a neuron: histogram and shares together
VIDEO = 4.8, 3.3  # inches, of a video's frame
LEAST = 7.2  # inches: the legend's width
OPACITY = 0.75


def pre_activation_histogram(ax: Axes, edges: ArrayLike, moment: dict, title: str) -> Axes:
    """Histograms of low and high pre-activations at one moment (E Fig. 3; I Fig. 2, 6, 7).

    ``moment`` holds the counts ``low`` and ``high``, (B) each, ``top`` where the final top of 'high' is to be
    marked, and ``auc``, the area under the ROC curve, where it is to be told; ``edges`` (B + 1). The panel is
    scaled to its own tallest bar; one without any pair says so. Raises ``ValueError`` for edges that do not
    ascend, and counts that do not fit them or are below zero.
    """
    edges = drawable("edges", edges)
    if len(edges) < 2 or (np.diff(edges) <= 0).any():
        raise UndrawableError(f"the edges {edges.tolist()} do not ascend; give at least two")
    names = [name for name in ("low", "high", "top") if name in moment]
    bars = {name: drawable(f"counts of {name!r}", moment[name], 0, count=len(edges) - 1) for name in names}
    draw_categories(ax, edges, bars)
    if moment.get("auc") is not None:
        ax.text(0.02, 0.97, f"AUC {moment['auc']:.2f}", transform=ax.transAxes, va="top", fontsize=SMALL)
    tallest = max(bars["low"].max(), bars["high"].max())
    if not tallest:
        ax.text(0.5, 0.5, "no pairs", transform=ax.transAxes, ha="center", fontsize=SMALL)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(0, 1.25 * max(1, tallest))
    ax.set_title(title, fontsize=SMALL)
    ax.tick_params(labelsize=SMALL)
    ax.spines[["top", "right"]].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    return ax


def _moment_title(moment):
    return f"step {moment['step']:,}, epoch {moment['epoch']}"


def dynamics_grid(neurons: Sequence[dict], *, title: str, note: str) -> Figure:
    """Several neurons through training: rows are neurons, columns moments -> ``Figure``.

    ``neurons`` are dictionaries of ``dynamics.panels``. A row shares its bins, not its heights. Raises
    ``ValueError`` for none.
    """
    rows = [neuron["moments"] for neuron in neurons]
    size = max(_columns(rows) * PANEL[0] + 0.5, LEAST), len(neurons) * PANEL[1] + 1.3
    figure, axes = panels(rows, size)
    titles: list[str] = []
    for row, neuron in zip(axes, neurons, strict=True):
        above, titles = titles, [_moment_title(moment) for moment in neuron["moments"]]
        for i, ((ax,), moment) in enumerate(zip(row, neuron["moments"], strict=True)):
            same = above[i : i + 1] == titles[i : i + 1]
            pre_activation_histogram(ax, neuron["edges"], moment, "" if same else titles[i])
            ax.set_yticks([])
            if row is axes[-1]:
                ax.set_xlabel("pre-activation p", fontsize=SMALL)
        row[0][0].set_ylabel(f"{neuron['layer']}\nneuron {neuron['unit']}", fontsize=9)
    add_legend(figure, category_handles(neurons[0]["top_share"]), title)
    add_note(figure, f"each panel scaled to its tallest bar, outliers in the outermost bars; {note}")
    return figure


def subtask_panels(histogram: Axes, shares: Axes, neuron: dict, title: str) -> Axes:
    """One neuron at the end of training, on two axes with the same pre-activations (E Fig. 4).

    ``neuron`` is a dictionary of ``dynamics.subtask``. Above: histograms of both categories and, on an axis
    of its own at the right, φ'(p). Below: share of 'high' in each tenth of the activations, filled from 0.5
    in the colour of the category that prevails; 0.5 says nothing. Returns the axis of φ'(p).
    """
    edges = neuron["edges"]
    pre_activation_histogram(histogram, edges, {name: neuron[name] for name in ("low", "high")}, title)
    histogram.tick_params(labelbottom=False)
    histogram.set_ylabel("activations", fontsize=SMALL)
    slope = histogram.twinx()
    value = drawable("values of φ'(p)", neuron["slope"]["value"])
    slope.plot(neuron["slope"]["p"], value, color=INK, linewidth=1.5)
    slope.set_ylim(1.1 * min(value.min(), 0), 1.1 * max(value.max(), 1e-9))
    slope.set_ylabel("φ'(p)", fontsize=SMALL)
    slope.tick_params(labelsize=SMALL)
    slope.spines["top"].set_visible(False)
    share = drawable("shares of 'high'", neuron["high_share"], 0, 1, gaps=True)
    if np.isnan(share).all():  # nor are there tenths
        shares.text(0.5, 0.7, "no defined pairs", transform=shares.transAxes, ha="center", fontsize=SMALL)
    else:
        tenths = drawable("edges of tenths", neuron["decile_edges"], count=len(share) + 1)
        for colour, prevails in ((HIGH_COLOUR, share > 0.5), (LOW_COLOUR, share < 0.5)):
            bars = np.where(prevails, share, np.nan)
            shares.stairs(bars, tenths, baseline=0.5, fill=True, color=colour, alpha=OPACITY)
        shares.vlines(tenths, 0, 0.06, color=INK, linewidth=0.8)
    shares.axhline(0.5, color=INK, linewidth=0.8, linestyle="--")
    shares.set(xlim=(edges[0], edges[-1]), ylim=(0, 1), yticks=(0, 0.5, 1))
    shares.set_ylabel("share\nof 'high'", fontsize=SMALL)
    shares.set_xlabel("pre-activation p", fontsize=SMALL)
    shares.tick_params(labelsize=SMALL)
    shares.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    shares.spines[["top", "right"]].set_visible(False)
    return slope


def subtask_grid(rows: Sequence[Sequence[dict]], *, title: str, note: str) -> Figure:
    """Neurons at the end of training, rows of dictionaries of ``dynamics.subtask`` -> ``Figure``.

    Raises ``ValueError`` for none.
    """
    size = max(_columns(rows) * SUBTASK[0] + 0.4, LEAST), len(rows) * SUBTASK[1] + 1.3
    figure, axes = panels(rows, size, heights=(2.2, 1))
    for row, neurons in zip(axes, rows, strict=True):
        for (histogram, shares), neuron in zip(row, neurons, strict=True):
            subtask_panels(histogram, shares, neuron, f"{neuron['layer']}, neuron {neuron['unit']}")
    slope = Line2D([], [], color=INK, linewidth=1.5, label="φ'(p): what the activation lets through")
    add_legend(figure, [*category_handles(), slope], title)
    add_note(figure, f"below each: share of 'high' in each tenth of its activations; {note}")
    return figure


def _columns(rows):
    columns = max(map(len, rows), default=0)
    if not columns:
        raise ValueError("there are no neurons to draw; give at least one, as the module dynamics makes them")
    return columns


def video_figure(neuron: dict, width: int, height: int) -> Figure:
    """The figure of a neuron's video, ``width`` x ``height`` pixels at its own dpi, to be filled by
    :func:`draw_frame`: above the histograms, below the accuracy on the recorded samples at each snapshot."""
    moments = neuron["moments"]
    dpi = width / VIDEO[0]
    half = 0.5  # a pixel, so that rounding down gives the very size
    figure = Figure(figsize=((width + half) / dpi, (height + half) / dpi), dpi=dpi, layout="constrained")
    _, timeline = figure.subplots(2, 1, height_ratios=[4, 1])
    seen = [moment["accuracy"] for moment in moments]
    accuracy = drawable("accuracies", seen, 0, 1, gaps=True)  # None where it was not known
    timeline.plot(range(len(moments)), accuracy, color=GREY, marker=".", markersize=4, linewidth=1)
    timeline.plot([], [], color=INK, marker="o", markersize=6, clip_on=False)
    ticks = np.unique(np.linspace(0, len(moments) - 1, 6).round().astype(int))
    timeline.set_xticks(ticks, [f"{moments[i]['step']:,}" for i in ticks])
    timeline.set(ylim=(-0.05, 1.1), yticks=(0, 1))
    timeline.set_ylabel("accuracy", fontsize=SMALL - 1)
    timeline.set_xlabel("step of the snapshot", fontsize=SMALL - 1)
    timeline.tick_params(labelsize=SMALL - 1)
    timeline.spines[["top", "right"]].set_visible(False)
    handles = category_handles(neuron["top_share"])
    add_legend(figure, handles, None, SMALL - 2, columnspacing=1, handlelength=1.2)
    draw_frame(figure, neuron, len(moments) - 1)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # frames must not move against each other
    return figure


def draw_frame(figure: Figure, neuron: dict, i: int) -> None:
    """Draw the ``i``-th moment of ``neuron``, counted from 0, into its :func:`video_figure`."""
    checks.whole("the moment", i, least=0, most=len(neuron["moments"]) - 1)
    histogram, timeline = figure.axes
    moment = neuron["moments"][i]
    histogram.clear()
    title = f"{neuron['layer']}, neuron {neuron['unit']}: {_moment_title(moment)}"
    pre_activation_histogram(histogram, neuron["edges"], moment, title)
    histogram.set_yticks([])
    histogram.set_xlabel("pre-activation p", fontsize=SMALL)
    accuracy = moment["accuracy"]
    words = "" if accuracy is None else f"training accuracy, of the recorded samples: {accuracy:.1%}"
    timeline.set_title(words, fontsize=SMALL - 1, loc="left")
    timeline.lines[-1].set_data([i], [np.nan if accuracy is None else accuracy])
