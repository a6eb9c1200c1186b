"""The papers' evaluation figures: accuracy against percentile rank (I Fig. 3) and window centre (I Fig. 4).

Curves come as objects with ``to_dict()`` or as the dictionaries that it gives (so from a metrics.json).
Nothing is computed here but positions on paper. Lines differ in dash and marker as well as in colour, so
that they can be told apart in grey and by the colour-blind.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_neuronlevel.plots.style import (
    HIGH_COLOUR,
    LOW_COLOUR,
    SMALL,
    add_legend,
    add_note,
    drawable,
    panels,
)

REFERENCE = "#444444"
PANEL = 2.6, 2.1  # inches


def accuracy_by_rank(ax: Axes, curve: Any, title: str, *, legend: bool = True) -> Axes:
    """Test accuracy against percentile rank (I Fig. 3), the mean rank of zero ± std. dev. marked.

    Raises ``ValueError`` for another kind of curve, and for ranks and accuracies that are missing, not finite
    or out of range.
    """
    curve = _of_kind(curve, "quantization")
    ranks, accuracy = _places(curve, "ranks")
    mean, std = drawable(
        "mean and std. dev. of the rank of zero", [curve["zero_rank"][k] for k in ("mean", "std")]
    )
    ax.axvspan(mean - std, mean + std, color=HIGH_COLOUR, alpha=0.2, lw=0)
    ax.axvline(mean, color=HIGH_COLOUR, lw=1.5, ls="-.", label="rank of zero ± std. dev.")
    _references(ax, curve)
    ax.plot(ranks, accuracy, color=LOW_COLOUR, marker="o", ms=4, label="quantized")
    return _finish(ax, title, "percentile rank of the threshold", legend)


def accuracy_by_window(ax: Axes, curve: Any, title: str, *, legend: bool = True) -> Axes:
    """Test accuracy against window centre (I Fig. 4): mean of the repeats; each of them, where several.

    Raises ``ValueError`` as :func:`accuracy_by_rank` does.
    """
    curve = _of_kind(curve, "window")
    centers, accuracy = _places(curve, "centers")
    repeats = drawable("repeats", curve["repeats"], 0, 1, count=len(centers))
    _references(ax, curve)
    if repeats.shape[1] > 1:
        ax.plot(centers, repeats, ls="", marker="_", ms=7, color=LOW_COLOUR, alpha=0.7)
        low, high = repeats.min(axis=1), repeats.max(axis=1)
        ax.fill_between(centers, low, high, color=LOW_COLOUR, alpha=0.2, lw=0)
    ax.plot(centers, accuracy, color=LOW_COLOUR, marker="s", ms=4, label="binarized window")
    return _finish(ax, title, "centre of the window (percentile rank)", legend)


def accuracy_grid(networks: Mapping[str, Sequence], *, title: str, note: str) -> Figure:
    """Several layers of several networks, as in the papers: {network: [curve, ...]} -> ``Figure``.

    Rows are networks, columns their layers in the given order; all panels share both axes and one
    legend. ``note`` stands below. Raises ``ValueError`` for no curves, curves of both kinds, and as
    :func:`accuracy_by_rank` does.
    """
    rows = [[_as_dict(curve) for curve in curves] for curves in networks.values()]
    kinds = {curve["kind"] for curves in rows for curve in curves}
    if len(kinds) != 1:
        found = "both kinds" if kinds else "none"
        raise ValueError(f"the curves of a figure are of one kind; found {found}")
    draw = {"quantization": accuracy_by_rank, "window": accuracy_by_window}[kinds.pop()]
    columns = max(map(len, rows))
    figure, axes = panels(rows, (max(columns * PANEL[0], 4.4) + 0.6, len(rows) * PANEL[1] + 1.1))
    for name, curves, row in zip(networks, rows, axes, strict=True):
        for i, (curve, (ax,)) in enumerate(zip(curves, row, strict=True)):
            draw(ax, curve, curve["layer"], legend=False)
            ax.set_ylabel(f"{name}\ntest accuracy".strip() if i == 0 else "")
            if row is not axes[-1]:
                ax.set_xlabel("")
    handles, _ = next(ax for row in axes for (ax,) in row).get_legend_handles_labels()
    add_legend(figure, handles, title)
    add_note(figure, note)
    return figure


def _as_dict(curve):
    curve = curve.to_dict() if hasattr(curve, "to_dict") else curve
    if not isinstance(curve, dict) or curve.get("kind") not in ("quantization", "window"):
        raise ValueError(
            "a curve is a QuantizationCurve, a WindowCurve, or the dictionary that its to_dict() gives; "
            f"this is {type(curve).__name__}"
        )
    if curve.get("metric", "accuracy") != "accuracy":
        raise ValueError(
            f"this curve's score is {curve['metric']}; accuracies are drawn, on a scale from 0 to 1"
        )
    return curve


def _of_kind(curve, kind):
    curve = _as_dict(curve)
    if curve["kind"] != kind:
        raise ValueError(f"this is a {curve['kind']} curve; a {kind} curve is expected here")
    return curve


def _places(curve, name):
    """The places of a curve, in percent, and the accuracies there."""
    places = drawable(name, curve[name], 0, 100)
    return places, drawable("accuracies", curve["accuracy"], 0, 1, count=len(places))


def _references(ax, curve):
    """The level of what nothing was taken from, and that of chance."""
    whole = "network as it is" if curve["kind"] == "quantization" else "readout of all of p"
    levels = drawable("reference accuracies", [curve["baseline_accuracy"], curve["chance"]], 0, 1)
    for level, dash, label in zip(levels, ("--", ":"), (whole, "chance"), strict=True):
        ax.axhline(level, color=REFERENCE, lw=1, ls=dash, label=label)


def _finish(ax, title, xlabel, legend):
    ax.set(xlim=(-2, 102), ylim=(0, 1.03), xticks=range(0, 101, 20))
    ax.set_title(title, fontsize=9)
    ax.set_xlabel(xlabel, fontsize=SMALL)
    ax.set_ylabel("test accuracy", fontsize=SMALL)
    ax.tick_params(labelsize=SMALL)
    ax.spines[["top", "right"]].set_visible(False)
    if legend:
        ax.legend(fontsize=7, frameon=False, loc="best")
    return ax
