"""What all figures share: colours, grids of panels, legends, and the refusal to draw what is not there."""

import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

# Okabe and Ito's palette: a light orange and a dark blue differ in brightness as well as in hue.
HIGH_COLOUR = "#E69F00"
LOW_COLOUR = "#0072B2"
TOP_COLOUR = "#F0E442"  # yellow, always with a dark outline: the followed top of 'high', as in I Fig. 6
INK = "#222222"
GREY = "#8c8c8c"
SMALL = 8  # points


class UndrawableError(ValueError):
    """The numbers given allow no picture."""


def drawable(
    what: str, values, least: float = -np.inf, most: float = np.inf, *, gaps: bool = False, count=None
) -> np.ndarray:
    """The values as float64, all of them from ``least`` to ``most``; NaN (None) only where there may be gaps.

    Raises ``UndrawableError``, which names ``what``, for others, for no values, and for another number
    than ``count`` of them: matplotlib would leave them out, and the picture would say nothing of it.
    """
    values = np.asarray(values, np.float64)
    if values.size == 0:
        raise UndrawableError(f"there are no {what} to draw; give at least one")
    if count is not None and len(values) != count:
        raise UndrawableError(
            f"there are {len(values)} {what}, where {count} belong; give one for each place"
        )
    inside = (values >= least) & (values <= most) & np.isfinite(values)
    wrong = values[~(inside | (np.isnan(values) & gaps))]
    if wrong.size:
        raise UndrawableError(
            f"{wrong.size} of the {values.size} {what} cannot be drawn, such as {wrong.flat[0]:g}; give "
            f"finite numbers from {least:g} to {most:g}"
        )
    return values


def draw_categories(ax: Axes, edges: np.ndarray, bars: Mapping[str, np.ndarray]) -> None:
    """Histograms of the ``low`` and the ``high`` category in one panel, and of ``top`` where it is there.

    Outlines, and one light fill: two fills make a third colour where they overlap.
    """
    ax.stairs(bars["low"], edges, fill=True, color=LOW_COLOUR, alpha=0.2, lw=0)
    for name, colour in (("low", LOW_COLOUR), ("high", HIGH_COLOUR)):
        ax.stairs(bars[name], edges, color=colour, lw=1.3)
    if "top" in bars:
        ax.stairs(bars["top"], edges, fill=True, facecolor=TOP_COLOUR, edgecolor=INK, lw=0.6)


def draw_consistency(ax: Axes, counts) -> None:
    """Per cent of (neuron, class) pairs against the share of the class that is low, in equal bins.

    Nearly the whole class low or high has that category's colour, what lies between is grey.
    """
    edges = np.linspace(0, 100, len(counts) + 1)
    colours = np.full(len(counts), GREY)
    colours[edges[1:] <= 10 + 1e-9] = HIGH_COLOUR
    colours[edges[:-1] >= 90 - 1e-9] = LOW_COLOUR
    ax.bar(edges[:-1], per_cent(counts), np.diff(edges), align="edge", color=colours, lw=0)
    ax.set(xlim=(0, 100), xticks=(0, 10, 50, 90, 100))


def per_cent(counts) -> np.ndarray:
    """Counts in per cent of their sum; zeros where there are none."""
    counts = np.asarray(counts, np.float64)
    return 100 * counts / max(counts.sum(), 1)


def category_handles(top_share: float | None = None) -> list:
    """The legend of :func:`draw_categories`: what each colour says; ``top_share`` is that of the top."""
    handles: list = [
        Line2D([], [], color=LOW_COLOUR, label="'low': activation should fall"),
        Line2D([], [], color=HIGH_COLOUR, label="'high': activation should rise"),
    ]
    if top_share is not None:
        label = f"highest {top_share:.0%} of 'high' at the end"
        handles.append(Patch(facecolor=TOP_COLOUR, edgecolor=INK, label=label))
    return handles


def say_undefined(ax: Axes, values: np.ndarray) -> None:
    """Write into a panel which share of the values is NaN, where any is."""
    share = np.isnan(values).mean()
    if share:
        ax.text(0.5, 0.95, f"{share:.1%} undefined", transform=ax.transAxes, ha="center", va="top")


def grid(
    rows: Sequence[Sequence],
    draw: Callable,
    *,
    title: str,
    note: str,
    width: float = 3.6,
    height: float = 2.6,
) -> Figure:
    """A figure of panels: ``draw(ax, *arguments)`` for each of ``rows``, a list of lists of arguments.

    ``None`` leaves a place empty. ``note`` stands below: the scale of the run, its seed, what is ours.
    """
    columns = max(map(len, rows), default=0)
    figure, places = panels(rows, (width * columns, height * len(rows) + 0.8))
    for row, drawn in zip(places, rows, strict=True):
        for (ax,), arguments in zip(row, drawn, strict=True):
            if arguments is None:
                ax.set_axis_off()
            else:
                draw(ax, *arguments)
    figure.suptitle(title)
    add_note(figure, note)
    return figure


def panels(
    rows: Sequence[Sequence], size: tuple[float, float], heights: Sequence[float] = (1,)
) -> tuple[Figure, list]:
    """A figure, ``size`` in inches, with a panel for each entry of each row; what stays empty is left white.

    Returns the figure and, for each row, its panels: tuples of as many axes above each other as ``heights``
    has, in these proportions. Raises ``ValueError`` for no entry.
    """
    columns = max(map(len, rows), default=0)
    if not columns:
        raise ValueError("there are no panels to draw; give at least one")
    figure = Figure(figsize=size, layout="constrained")
    ratios = list(heights) * len(rows)
    axes = figure.subplots(len(ratios), columns, squeeze=False, height_ratios=ratios)
    stacks = axes.reshape(len(rows), len(heights), columns).transpose(0, 2, 1)
    for row, entries in zip(stacks, rows, strict=True):
        for ax in row[len(entries) :].flat:
            ax.set_axis_off()
    return figure, [list(row[: len(entries)]) for row, entries in zip(stacks, rows, strict=True)]


def add_legend(figure: Figure, handles: Sequence, title: str | None, size: float = SMALL, **options) -> None:
    """One legend above all panels, with the figure's title."""
    figure.legend(
        handles=handles,
        title=title,
        title_fontsize="large",
        loc="outside upper center",
        ncols=len(handles),
        fontsize=size,
        frameon=False,
        **options,
    )


def add_note(figure: Figure, note: str) -> None:
    """Write ``note`` below a figure, in as many lines as its width asks for."""
    lines = textwrap.fill(note, width=int(13 * figure.get_figwidth()))
    figure.supxlabel(lines, fontsize="small", color="#444444")
