"""One figure for each figure of the papers, from the numbers that runs leave behind: rows are networks.

Everything comes as plain dictionaries, as ``metrics.json`` and ``neurons.json`` hold them. Rows that are not
at the papers' scale are tinted and say so. Nothing is computed here but shares of counts and places on paper.
"""

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from keras_neuronlevel.plots.style import (
    GREY,
    HIGH_COLOUR,
    INK,
    LOW_COLOUR,
    SMALL,
    add_note,
    category_handles,
    draw_categories,
    draw_consistency,
    per_cent,
    say_undefined,
)
from keras_neuronlevel.statistics import fair_sign_edges
from keras_neuronlevel.statistics.curves import lowest_center, share_kept

WIDTH = 9.2  # inches, drawn at 830 pixels or so on a repository's page
TINT = "#f4efe6"
SIGN_UNIT = 0.1  # average signs are drawn in per cent of samples for every tenth of s
COLOURS = {"relu": INK, "sigmoid": "#009E73", "linear": "#CC79A7"}
DASHES = {"relu": "-", "sigmoid": "--", "linear": "-."}


@dataclasses.dataclass(frozen=True)
class Row:
    """One network of a figure: its ``title``, whether it is at ``full`` scale, its panels (None leaves one
    empty), each {"title", ...} with what the figure's function asks for."""

    title: str
    full: bool
    panels: Sequence[Mapping | None]


def signs(rows: Sequence[Row], note: str) -> Figure:
    """Average signs (E Fig. 2; I Fig. 1, 5): one neuron as bars, further ones as thin lines.

    A panel has ``neurons``, ``average_sign`` dictionaries of ``neurons.json``, the first one drawn as bars,
    ``recordings``, how many there were, and ``text``, what stands in the panel.
    """
    return _grid(
        rows, _signs, 1.75, "average sign s of ∂L/∂a", f"% per {SIGN_UNIT:g} of s", note, share_y=True
    )


def _signs(ax, panel):
    for i, found in reversed(list(enumerate(panel["neurons"]))):
        edges = fair_sign_edges(found["edges"], panel["recordings"])
        share, width = per_cent(found["counts"]), np.diff(edges)
        height = SIGN_UNIT * np.divide(share, width, out=np.zeros(len(share)), where=width > 0)
        if i:
            ax.stairs(height, edges, color=GREY, lw=0.6, alpha=0.7)
            continue
        middle = (edges[:-1] + edges[1:]) / 2
        colours = np.where(np.abs(middle) < 1e-9, GREY, np.where(middle < 0, HIGH_COLOUR, LOW_COLOUR))
        ax.bar(edges[:-1], height, np.diff(edges), align="edge", color=colours, lw=0)
    ax.text(0.5, 0.93, panel["text"], transform=ax.transAxes, ha="center", va="top", fontsize=SMALL)
    ax.set_xlim(-1.05, 1.05)


def dynamics(rows: Sequence[Row], note: str) -> Figure:
    """Pre-activations of both categories through training (E Fig. 3; I Fig. 2, 6, 7).

    A panel has ``edges``, the counts ``low``, ``high`` and ``top``, ``top_share``, and ``text``.
    """
    figure = _grid(rows, _categories, 1.3, "pre-activation p", "", note, bare_y=True)
    top = next((panel["top_share"] for row in rows for panel in row.panels if panel), None)
    figure.legend(
        handles=category_handles(top), loc="outside upper center", ncols=3, fontsize=SMALL, frameon=False
    )
    return figure


def _categories(ax, panel):
    edges = np.asarray(panel["edges"], np.float64)
    total = max(sum(panel["low"]) + sum(panel["high"]), 1)
    bars = {name: 100 * np.asarray(panel[name]) / total for name in ("low", "high", "top") if name in panel}
    draw_categories(ax, edges, bars)
    tallest = max(bars["low"].max(), bars["high"].max())
    lines = len(panel["text"].splitlines())
    ax.set_ylim(0, (1.2 + 0.2 * lines) * max(tallest, 1e-9))
    ax.text(0.02, 0.97, panel["text"], transform=ax.transAxes, va="top", fontsize=SMALL)
    counts = np.asarray(panel["low"]) + np.asarray(panel["high"])
    filled = np.flatnonzero(counts > 0.001 * total)
    if panel.get("zoom") and len(filled):  # a needle would say nothing
        middle, half = (
            (edges[filled[0]] + edges[filled[-1] + 1]) / 2,
            edges[filled[-1] + 1] - edges[filled[0]],
        )
        ax.set_xlim(middle - half, middle + half)
    else:
        ax.set_xlim(edges[0], edges[-1])


def subtasks(rows: Sequence[Row], note: str) -> Figure:
    """What neurons separate at the end of training (E Fig. 4): accuracy by tenth of the pre-activations.

    A panel has ``deciles``, one list of ten accuracies for each seed, ``histogram`` (a panel of
    :func:`dynamics`) or None, and ``text``.
    """
    return _grid(rows, _subtask, 1.9, "tenth of the pre-activations, lowest first", "accuracy, %", note)


def _subtask(ax, panel):
    if "edges" in panel:
        _categories(ax, panel)
        ax.axvline(0, color=INK, lw=0.8, ls=":")
        ax.set_yticks([])
        ax.set_xlabel("pre-activation p", fontsize=SMALL)
        return
    for accuracy in panel["deciles"]:
        ax.plot(
            range(1, len(accuracy) + 1),
            100 * np.asarray(accuracy, np.float64),
            marker="o",
            ms=3,
            lw=1,
            color=INK,
        )
    ax.axhline(50, color=GREY, lw=0.8, ls=":")
    ax.text(0.5, 0.97, panel["text"], transform=ax.transAxes, ha="center", va="top", fontsize=SMALL)
    ax.set(ylim=(45, 104), xticks=(1, 4, 7, 10))


def class_consistency(rows: Sequence[Row], note: str) -> Figure:
    """How one-sided classes are (I Fig. 8): per cent of the (neuron, class) pairs.

    A panel has ``counts`` of pairs in equal bins of the share of a class that is low, and ``text``.
    """
    return _grid(
        rows, _consistency, 1.7, "% of the class in the low category", "% of pairs", note, share_y=True
    )


def _consistency(ax, panel):
    draw_consistency(ax, panel["counts"])
    ax.text(0.5, 0.97, panel["text"], transform=ax.transAxes, ha="center", va="top", fontsize=SMALL)
    ax.margins(y=0.45)  # above the tallest bar of all panels, for the text


def quantization(rows: Sequence[Row], note: str) -> Figure:
    """Accuracy against the threshold's rank (I Fig. 3); a panel has ``curves``, one a seed, and ``text``."""
    return _grid(rows, _quantization, 1.7, "percentile rank of the threshold", "% kept above chance", note)


def _quantization(ax, panel):
    say_undefined(ax, np.concatenate([_kept(curve) for curve in panel["curves"]]))
    for curve in panel["curves"]:
        ranks, kept = np.asarray(curve["ranks"]), _kept(curve)
        ax.plot(ranks, kept, color=LOW_COLOUR, lw=1)
        inner = (ranks > 0) & (ranks < 100)
        ax.plot(ranks[inner], kept[inner], color=LOW_COLOUR, marker="o", ms=3, ls="")
        ax.plot(ranks[~inner], kept[~inner], color=LOW_COLOUR, marker="o", ms=3, mfc="white", ls="")
        zero = curve["zero_rank"]
        ax.errorbar(
            zero["mean"],
            -6,
            xerr=_within(zero["mean"], zero["std"]),
            color=HIGH_COLOUR,
            marker="^",
            ms=4,
            capsize=2,
            lw=1,
            clip_on=False,
        )
    ax.axhline(100, color=GREY, lw=0.7)
    ax.text(0.03, 0.97, panel["text"], transform=ax.transAxes, va="top", fontsize=SMALL)
    ax.set(xlim=(-3, 103), ylim=(-12, 165), xticks=(0, 20, 40, 60, 80, 100), yticks=(0, 50, 100))


def window(rows: Sequence[Row], note: str) -> Figure:
    """What a network reads of one window (I Fig. 4); a panel has ``curves``, one a seed, ``zeros``, the
    ranks of zero, and ``text``. Each has its own range of accuracy; hollow markers had not converged."""
    return _grid(rows, _window, 1.7, "centre of the window (percentile rank)", "% kept above chance", note)


def _window(ax, panel):
    every = np.concatenate([_kept(curve) for curve in panel["curves"]])
    say_undefined(ax, every)  # of a readout that is no better than chance
    low, high = (every.min(), every.max()) if np.isfinite(every).all() else (0, 100)
    for curve in panel["curves"]:
        kept, centers = _kept(curve), np.asarray(curve["centers"])
        ax.plot(centers, kept, color=LOW_COLOUR, lw=1)
        done = np.array([_converged(curve, center) for center in centers])
        ax.plot(centers[done], kept[done], color=LOW_COLOUR, marker="s", ms=3, ls="")
        ax.plot(centers[~done], kept[~done], color=LOW_COLOUR, marker="s", ms=3, mfc="white", ls="")
    margin = max((high - low) * 0.12, 1)
    ax.axvline(50, color=GREY, lw=0.8)
    for zero in panel["zeros"]:
        ax.plot(zero, low - margin, color=HIGH_COLOUR, marker="^", ms=5, clip_on=False)
    ax.text(52, 1.0, panel["text"], transform=ax.get_xaxis_transform(), va="top", fontsize=SMALL)
    ax.set(xlim=(0, 100), ylim=(low - margin, high + 2.8 * margin), xticks=(5, 25, 50, 75, 95))


def strip(neuron: Mapping, curves: Mapping, windows: Mapping, note: str) -> Figure:
    """The four panels of the first screen: one neuron's signs, its categories, quantization, windows.

    Args:
        neuron: {"title", "average_sign", "recordings", "first", "last": panels of :func:`dynamics`}.
        curves: {layer: [a quantization curve of each seed]}.
        windows: {layer: ([a window curve of each seed], [the rank of zero in each])}.
        note: what stands below it.
    """
    figure = Figure(figsize=(WIDTH, 4), layout="constrained")
    sign, pair, kept, dip = figure.subplots(1, 4)
    _signs(
        sign,
        {"neurons": [neuron["average_sign"]], "recordings": neuron["recordings"], "text": neuron["text"]},
    )
    sign.set_ylim(0, 1.2 * sign.get_ylim()[1])  # for the text
    sign.set_xlabel("average sign of ∂L/∂a", fontsize=SMALL)
    sign.set_ylabel(f"% of samples per {SIGN_UNIT:g}", fontsize=SMALL)
    _strip_title(sign, f"One neuron\n({neuron['title']}): ∂L/∂a\nhardly changes its sign")
    pair.set_axis_off()
    for i, moment in enumerate((neuron["first"], neuron["last"])):
        inner = pair.inset_axes((0, 0.53 - 0.53 * i, 1, 0.47))
        _categories(inner, moment)
        inner.set_yticks([])
        inner.tick_params(labelsize=SMALL)
        inner.spines[["top", "right", "left"]].set_visible(False)
        if i == 0:
            inner.set_xticklabels([])
    inner.set_xlabel("pre-activation p", fontsize=SMALL)
    _strip_title(pair, "...and training pulls its\ntwo categories apart,\nnot fully")
    for layer, found in curves.items():
        for curve in found:
            inside = [j for j, rank in enumerate(curve["ranks"]) if 0 < rank < 100]
            kept.plot(np.asarray(curve["ranks"])[inside], _kept(curve)[inside], **_line(layer), lw=1)
    kept.axhline(100, color=GREY, lw=0.8)
    drawn = np.concatenate([line.get_ydata() for line in kept.lines])
    kept.set_xlabel("threshold (percentile rank)", fontsize=SMALL)
    kept.set_ylabel("% kept above chance", fontsize=SMALL)
    kept.set(ylim=(min(0, np.nanmin(drawn)) - 3, 104), xticks=(10, 50, 90))
    least = min(_kept(curve).max() for found in curves.values() for curve in found)
    _strip_title(kept, f"Two values per neuron keep,\nhere, ≥ {np.floor(least):.0f} % at the\nbest threshold")
    every = np.concatenate([_kept(curve) for found, _ in windows.values() for curve in found])
    floor = every.min() - 10  # the marks of zero are below all curves
    for layer, (found, zeros) in windows.items():
        line = {**_line(layer), "mfc": "white" if layer.startswith("dense2") else _line(layer)["color"]}
        for curve in found:
            dip.plot(curve["centers"], _kept(curve), marker="s", ms=2.5, mew=0.7, lw=0.6, **line)
        for zero in zeros:
            dip.plot(zero, floor + 3, marker="v", ms=6, **line)
    dip.axvline(50, color=GREY, lw=0.8, zorder=0)
    dip.set_xlabel("window centre (percentile rank)", fontsize=SMALL)
    dip.set(xlim=(0, 100), ylim=(floor, max(104, every.max() + 2)), xticks=(5, 50, 95))
    away = [
        layer
        for layer, (found, _) in windows.items()
        if any(abs(lowest_center(curve) - 50) > 10 for curve in found)
    ]
    words = f"but not in {', '.join(away)}" if away else "in every layer shown"
    _strip_title(dip, f"A window tells least near rank 50, {words}")
    for ax in (sign, kept, dip):
        ax.tick_params(labelsize=SMALL)
        ax.spines[["top", "right"]].set_visible(False)
    handles = [*category_handles(neuron["last"]["top_share"]), *_strip_handles([*curves, *windows])]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=SMALL, frameon=False)
    add_note(figure, note)
    return figure


def _strip_title(ax, words):
    """A title whose lines are no longer than a quarter of the width."""
    lines = [textwrap.fill(line, 27, break_on_hyphens=False) for line in words.splitlines()]
    ax.set_title("\n".join(lines), fontsize=SMALL + 0.5)


def _strip_handles(layers):
    """What lines and marks of the two panels at the right say: a column of lines, and one of marks."""
    activations = list(dict.fromkeys(layer.rsplit("-", 1)[-1] for layer in layers))
    handles = [Line2D([], [], label=phi, **_line(phi)) for phi in activations]
    for marker, face, label in (
        ("s", INK, "window, dense1"),
        ("s", "white", "window, dense2"),
        ("v", GREY, "rank of p = 0"),
    ):
        handles.append(Line2D([], [], marker=marker, mfc=face, color=INK, ls="", ms=5, label=label))
    return handles


def _line(layer):
    activation = layer.rsplit("-", 1)[-1]
    return {"color": COLOURS.get(activation, INK), "ls": DASHES.get(activation, "-")}


def _grid(rows, draw, height, xlabel, ylabel, note, *, share_y=False, bare_y=False):
    columns = max((len(row.panels) for row in rows), default=0)
    if not columns:
        raise ValueError("there are no panels to draw; give at least one")
    figure = Figure(figsize=(WIDTH, height * len(rows) + 0.75), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False, sharey="all" if share_y else "none")
    for index, (row, places) in enumerate(zip(rows, axes, strict=True)):
        first = next((i for i, panel in enumerate(row.panels) if panel is not None), 0)
        for i, ax in enumerate(places):
            panel = row.panels[i] if i < len(row.panels) else None
            if panel is None:
                ax.set_axis_off()
                continue
            draw(ax, panel)
            above = rows[index - 1].panels if index else ()
            if i >= len(above) or not above[i] or above[i]["title"] != panel["title"]:
                ax.set_title(panel["title"], fontsize=SMALL + 1, parse_math=False)
            ax.set_facecolor("white" if row.full else TINT)
            ax.tick_params(labelsize=SMALL)
            ax.spines[["top", "right"]].set_visible(False)
            if bare_y:
                ax.set_yticks([])
            if row is rows[-1] and not ax.get_xlabel():
                ax.set_xlabel(xlabel, fontsize=SMALL)
            if i == first:
                words = "\n".join(part for part in (row.title, ylabel) if part)
                ax.set_ylabel(words, fontsize=SMALL + 0.5, parse_math=False)
    add_note(figure, note.replace("$", r"\$"))
    return figure


def _kept(curve):
    """Accuracies in per cent of what the unchanged network, or readout, has above chance; NaN if nothing."""
    return 100 * share_kept(curve, curve["accuracy"])


def _within(mean, std):
    """How far mean ∓ std reaches to either side, in percentile ranks: they end at 0 and 100."""
    return None if std is None else [[min(std, mean)], [min(std, 100 - mean)]]


def _converged(curve, center):
    fits = (curve.get("fits") or {}).get(f"{center:g}", ())
    return all(fit.get("converged", True) for fit in fits)
