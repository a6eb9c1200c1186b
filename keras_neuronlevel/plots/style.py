"""Colours that colour-blind readers and grey prints keep apart, and grids of panels."""

import textwrap

from matplotlib.figure import Figure

# Okabe and Ito's palette: a light orange and a dark blue differ in brightness as well as in hue.
HIGH_COLOUR = "#E69F00"
LOW_COLOUR = "#0072B2"
TOP_COLOUR = "#F0E442"  # yellow, always with a dark outline: the followed top of 'high', as in I Fig. 6
INK = "#222222"
GREY = "#8c8c8c"


def grid(rows, draw, *, title, note, width=3.6, height=2.6):
    """A figure of panels: ``draw(ax, *arguments)`` for each of ``rows``, a list of lists of arguments.

    ``None`` leaves a place empty. ``note`` stands below: the scale of the run, its seed, what is ours.
    """
    columns = max(map(len, rows))
    figure = Figure(figsize=(width * columns, height * len(rows) + 0.8), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, panels in zip(axes, rows, strict=True):
        for ax, arguments in zip(row, [*panels, *[None] * (columns - len(panels))], strict=True):
            if arguments is None:
                ax.set_axis_off()
            else:
                draw(ax, *arguments)
    figure.suptitle(title)
    add_note(figure, note)
    return figure


def add_note(figure, note):
    """Write ``note`` below a figure, in as many lines as its width asks for."""
    lines = textwrap.fill(note, width=int(13 * figure.get_figwidth()))
    figure.supxlabel(lines, fontsize="small", color="#444444")
