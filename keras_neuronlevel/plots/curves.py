"""The papers' evaluation figures: accuracy against percentile rank (I Fig. 3) and window centre (I Fig. 4).

Curves come as objects with ``to_dict()`` or as the dictionaries that it gives (so from a metrics.json).
Nothing is computed here but positions on paper. Lines differ in dash and marker as well as in colour, so
that they can be told apart in grey and by the colour-blind.
"""

from matplotlib.figure import Figure

from keras_neuronlevel.plots.style import HIGH_COLOUR, LOW_COLOUR, add_note

REFERENCE = "#444444"
PANEL = 2.6, 2.1  # inches


def as_dict(curve):
    """The curve's dictionary. Raises ``ValueError`` for what is no curve of either kind."""
    curve = curve.to_dict() if hasattr(curve, "to_dict") else curve
    if not isinstance(curve, dict) or curve.get("kind") not in ("quantization", "window"):
        raise ValueError(
            "a curve is a QuantizationCurve, a WindowCurve, or the dictionary that its to_dict() gives; "
            f"this is {type(curve).__name__}"
        )
    return curve


def accuracy_by_rank(ax, curve, title, *, legend=True):
    """Test accuracy against percentile rank (I Fig. 3), the mean rank of zero ± std. dev. marked."""
    curve = _of_kind(curve, "quantization")
    mean, spread = curve["zero_rank"]["mean"], curve["zero_rank"]["std"]
    ax.axvspan(mean - spread, mean + spread, color=HIGH_COLOUR, alpha=0.2, lw=0)
    ax.axvline(mean, color=HIGH_COLOUR, lw=1.5, ls="-.", label="rank of zero ± std. dev.")
    _references(ax, curve)
    ax.plot(curve["ranks"], curve["accuracy"], color=LOW_COLOUR, marker="o", ms=4, label="quantized")
    return _finish(ax, title, "percentile rank of the threshold", legend)


def accuracy_by_window(ax, curve, title, *, legend=True):
    """Test accuracy against window centre (I Fig. 4): mean of the repeats; each of them, where several."""
    curve = _of_kind(curve, "window")
    _references(ax, curve)
    repeats = list(zip(*curve["repeats"], strict=True))
    if len(repeats) > 1:
        for repeat in repeats:
            ax.plot(curve["centers"], repeat, ls="", marker="_", ms=7, color=LOW_COLOUR, alpha=0.7)
        low, high = zip(*((min(values), max(values)) for values in curve["repeats"]), strict=True)
        ax.fill_between(curve["centers"], low, high, color=LOW_COLOUR, alpha=0.2, lw=0)
    ax.plot(curve["centers"], curve["accuracy"], color=LOW_COLOUR, marker="s", ms=4, label="binarized window")
    return _finish(ax, title, "centre of the window (percentile rank)", legend)


def accuracy_panel(ax, curve, title, *, legend=True):
    """A curve of either kind, drawn as what it is."""
    draw = {"quantization": accuracy_by_rank, "window": accuracy_by_window}[as_dict(curve)["kind"]]
    return draw(ax, curve, title, legend=legend)


def accuracy_grid(networks, *, title, note):
    """Several layers of several networks, as in the papers: {network: [curve, ...]} -> ``Figure``.

    Rows are networks, columns their layers in the given order; all panels share both axes and one
    legend. ``note`` stands below. Raises ``ValueError`` for no curves, and for curves of both kinds.
    """
    rows = {name: [as_dict(curve) for curve in curves] for name, curves in networks.items()}
    kinds = {curve["kind"] for curves in rows.values() for curve in curves}
    if len(kinds) != 1:
        found = "both kinds" if kinds else "none"
        raise ValueError(f"the curves of a figure are of one kind; found {found}")
    columns = max(len(curves) for curves in rows.values())
    size = max(columns * PANEL[0], 4.4) + 0.6, len(rows) * PANEL[1] + 1.1
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, (name, curves) in zip(axes, rows.items(), strict=True):
        for ax in row[len(curves) :]:
            ax.set_axis_off()
        for i, (ax, curve) in enumerate(zip(row, curves, strict=False)):
            accuracy_panel(ax, curve, curve["layer"], legend=False)
            ax.set_ylabel(f"{name}\ntest accuracy".strip() if i == 0 else "")
            if row[0] is not axes[-1, 0]:
                ax.set_xlabel("")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        title=title,
        title_fontsize="large",
        loc="outside upper center",
        ncols=len(labels),
        fontsize=8,
        frameon=False,
    )
    add_note(figure, note)
    return figure


def _of_kind(curve, kind):
    curve = as_dict(curve)
    if curve["kind"] != kind:
        raise ValueError(f"this is a {curve['kind']} curve; a {kind} curve is expected here")
    return curve


def _references(ax, curve):
    ax.axhline(curve["baseline_accuracy"], color=REFERENCE, lw=1, ls="--", label="baseline")
    ax.axhline(curve["chance"], color=REFERENCE, lw=1, ls=":", label="chance")


def _finish(ax, title, xlabel, legend):
    ax.set(xlim=(-2, 102), ylim=(0, 1.03), xticks=range(0, 101, 20))
    ax.set_title(title, fontsize=9)
    ax.set_xlabel(xlabel, fontsize=8)
    ax.set_ylabel("test accuracy", fontsize=8)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    if legend:
        ax.legend(fontsize=7, frameon=False, loc="best")
    return ax
