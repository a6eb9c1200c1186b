"""Numbers as tables: one ``Table``, three forms, and the tables of what a ``metrics.json`` holds.

What a file lacks is a dash. Each function gives a list of tables, empty without any number; ``networks`` is
that part of ``metrics.json``.
"""

import csv
import dataclasses
import functools
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from keras_neuronlevel.results import schema
from keras_neuronlevel.results.schema import lookup

NOTHING = "–"


@dataclasses.dataclass(frozen=True)
class Table:
    """``names`` is how many leading columns are words and not numbers."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int = 2
    note: str = ""

    def text(self) -> str:
        """Aligned columns for a terminal, without caption and note."""
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        return "".join(self._aligned(row, widths) + "\n" for row in (self.head, *self.rows))

    def _aligned(self, row, widths):
        cells = (
            cell.ljust(width) if i < self.names else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    def csv(self) -> str:
        """Comma-separated values (RFC 4180, but for the ends of lines), the head first; 1024 is "1024"."""
        out = io.StringIO()
        plain = (
            (*row[: self.names], *(cell.replace(",", "") for cell in row[self.names :])) for row in self.rows
        )
        csv.writer(out, lineterminator="\n").writerows([self.head, *plain])
        return out.getvalue()

    def markdown(self) -> str:
        """A Markdown table: words to the left, numbers to the right."""
        marks = ["---" if i < self.names else "---:" for i in range(len(self.head))]
        lines = [[escape(cell) for cell in self.head], marks]
        lines += [[escape(cell) for cell in row] for row in self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape(text: object) -> str:
    """Text that Markdown shows as it is, on one line, in a table too."""
    text = re.sub(r"\s+", " ", str(text))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#$])", r"\\\1", text)


# Cells ------------------------------------------------------------------------------------------------


def number(value: Any) -> str:
    """Three digits after the point, one from 10 on, none from 1000 on; a dash for no finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return NOTHING
    digits = 3 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:,.{digits}f}"


def whole(value: object) -> str:
    """A whole number, or a dash."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else NOTHING


def with_interval(value: object, interval: object) -> str:
    """``0.605 [0.600, 0.611]``, or the number alone where there is no interval."""
    ends = [number(lookup(interval, i)) for i in (0, 1)]
    if NOTHING in (number(value), *ends):
        return number(value)
    return f"{number(value)} [{', '.join(ends)}]"


def span(values: Sequence[float], form: str) -> str:
    """The ends of sorted values in words, one where they read the same: "60 to 61 %"."""
    unit = " %" if form.endswith("%") else ""
    ends = dict.fromkeys(format(value, form).removesuffix("%") for value in (values[0], values[-1]))
    return " to ".join(ends) + unit


def seeds(numbers: Sequence[int]) -> str:
    """Seeds by their numbers: "seed 0", "seeds 0, 3"."""
    return f"seed{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def duration(seconds: Any) -> str:
    """Seconds as "89 s", "2 min" or "1.5 h"."""
    if number(seconds) == NOTHING:
        return NOTHING
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _cell(value, deviation):
    """A number of whatever form as text; a spread as its mean with interval, or with its deviation."""
    if isinstance(value, list):
        return " ".join(map(number, value))
    if not isinstance(value, dict):
        return whole(value) if isinstance(value, int) else number(value)
    if not deviation:
        return with_interval(value.get("mean"), value.get("interval"))
    mean, std = number(value.get("mean")), number(value.get("std"))
    return mean if NOTHING in (mean, std) else f"{mean} ± {std}"


# Tables -----------------------------------------------------------------------------------------------


def _table(caption, head, rows, names=2, note=""):
    rows = tuple(row for row in rows if any(cell not in (NOTHING, "") for cell in row[names:]))
    return [Table(caption, head, rows, names, note)] if rows else []


def layers(networks: dict) -> Iterator[tuple[str, str, dict]]:
    """(network, layer, numbers) of every measured layer."""
    for label, network in networks.items():
        for layer, numbers in network["layers"].items():
            yield label, layer, numbers


def _of_columns(kind, caption, networks, *, under: str | None = "", note=""):
    """A table of a kind's numbers that have columns: those at its top, or ``under`` a key; all where None."""
    columns = [
        (view, schema.path(kind, number.name))
        for number in schema.NUMBERS[kind]
        if under in (None, number.name.rpartition("/")[0])
        for view in number.columns
    ]
    rows = []
    for label, layer, numbers in layers(networks):
        found = [(view, lookup(numbers, *path)) for view, path in columns]
        cells = (NOTHING if v is None else _cell(view.take(v), view.deviation) for view, v in found)
        rows.append((label, layer, *cells))
    return _table(caption, ("network", "layer", *(view.words for view, _ in columns)), rows, note=note)


def training(networks: dict) -> list[Table]:
    """What was trained, and how well it answers."""
    head = ("network", "test accuracy", "epochs", "recordings", "recorded samples", "training", "recording")
    rows = []
    for label, network in networks.items():
        done = network.get("training")
        accuracy = lookup(done, "test_accuracy")
        rows.append(
            (
                label,
                NOTHING if number(accuracy) == NOTHING else f"{accuracy:.4f}",
                whole(lookup(done, "config", "epochs")),
                whole(lookup(done, "recordings")),
                whole(lookup(done, "samples")),
                duration(lookup(done, "seconds", "training")),
                duration(lookup(done, "seconds", "recording")),
            )
        )
    return _table("Networks", head, rows, names=1)


# Each is a function networks -> list of tables, as the others here.
signs = functools.partial(  # I Fig. 5
    _of_columns,
    "derivatives",
    "Average signs, mean over neurons",
    note="|s| = 1 and |s| > 0.9 are shares of a neuron's samples, low share that of its low category. "
    "Brackets: 95 % bootstrap interval of the mean over neurons.",
)
clipped = functools.partial(
    _of_columns,
    "clipped",
    "Average signs of the clipped loss, mean over neurons",
    under=None,
    note="The derivative of the cross-entropy of probabilities clipped at 1e-7, as Keras took it at the "
    "papers' time, recorded in the same training: a sample that is classified with confidence has none. "
    "Nonzero: share of recordings, over all pairs, with a derivative. Zeros are left out of a pair's mean, "
    "or counted as 0. "
    "Brackets: 95 % bootstrap interval of the mean over neurons.",
)
consistency = functools.partial(  # I Fig. 8
    _of_columns, "derivatives", "Share of (neuron, class) pairs", under="class_consistency"
)
dynamics = functools.partial(  # E Fig. 3; I Fig. 2
    _of_columns,
    "dynamics",
    "Pre-activations of both categories in the first and in the last snapshot",
    note="AUC: chance that a sample of 'high' lies above one of 'low'; 0.5 is not separated. Rank "
    "correlation: of the first snapshot with the last. Final top: mean percentile rank of the tenth of "
    "'high' that ends highest. Brackets: 95 % bootstrap interval of the mean over neurons.",
)
subtasks = functools.partial(  # E Fig. 4
    _of_columns,
    "dynamics",
    "How well a neuron separates its categories at the end, on either side of zero",
    under="subtask",
    note="Accuracy: share of the samples with p > 0 that are 'high', and of those with p < 0 that are "
    "'low'. Means over the neurons that have samples enough on that side, with 95 % bootstrap intervals.",
)
zero_rank = functools.partial(
    _of_columns,
    "quantization",
    "Average percentile rank of pre-activation zero (I Table 1)",
    under="zero_rank",
)


def quantization(networks: dict) -> list[Table]:
    """Test accuracy by rank of the threshold (I Fig. 3)."""
    caption = "Test accuracy by percentile rank of the threshold"
    return _curves(networks, "quantization", "ranks", caption, "untouched")


def window(networks: dict) -> list[Table]:
    """Test accuracy by centre of the window (I Fig. 4): one table for each window experiment."""
    return [
        table
        for kind in window_kinds(networks)
        for table in _curves(
            networks,
            kind,
            "centers",
            f"Test accuracy by centre of the window{_variant(kind)}",
            "readout of p",
        )
    ]


def window_kinds(networks: dict) -> list[str]:
    """The names of all window experiments that were made."""
    kinds = dict.fromkeys(kind for *_, numbers in layers(networks) for kind in numbers)
    return [kind for kind in kinds if schema.kind_of(kind) == "window"]


def _variant(kind):
    words = kind.removeprefix("window").replace("-", " ").strip()
    return f", {words}" if words else ""


def _curves(networks, kind, places, caption, baseline):
    found = [(label, layer, numbers.get(kind, {})) for label, layer, numbers in layers(networks)]
    points = [
        dict(zip(curve.get(places, ()), curve.get("accuracy", ()), strict=False)) for *_, curve in found
    ]
    columns = sorted({place for values in points for place in values})
    head = ("network", "layer", baseline, *(f"{place:g}" for place in columns))
    rows = [
        (label, layer, number(curve.get("baseline_accuracy")), *(number(values.get(c)) for c in columns))
        for (label, layer, curve), values in zip(found, points, strict=True)
    ]
    chance = {number(curve.get("chance")) for *_, curve in found} - {NOTHING}
    notes = [f"Chance, the most frequent class: {' or '.join(sorted(chance))}."] if chance else []
    return _table(caption, head, rows, note=" ".join([*notes, *unconverged(networks, kind)]))


def measured_on(curves: Sequence[dict]) -> list[str]:
    """What a caption says of evaluation curves of one kind: on how many test images they were measured; of
    windows, how many there are, and how many of their readouts converged."""
    words = [f"{span(sorted(curve['n_test'] for curve in curves), ',')} test images"]
    if "centers" not in curves[0]:
        return words
    words.append(f"{span(sorted(len(curve['centers']) for curve in curves), 'd')} windows a layer")
    fits = [fit for curve in curves for fits in (curve.get("fits") or {}).values() for fit in fits]
    done = sum(bool(fit.get("converged", True)) for fit in fits)
    return words + ([f"{done} of {len(fits)} readouts converged"] if fits else [])


def unconverged(networks: dict, kind: str) -> list[str]:
    """[a sentence that says how many readouts were ended before they had converged], [] where none was."""
    ended = [
        bool(lookup(fit, "converged"))
        for *_, numbers in layers(networks)
        for fits in (lookup(numbers, kind, "fits") or {}).values()
        for fit in fits
    ]
    if all(ended):
        return []
    return [f"Of {len(ended)} readouts {ended.count(True)} had converged; the others ran into their limit."]


ALL: tuple[Callable[[dict], list[Table]], ...] = (
    signs,
    clipped,
    consistency,
    dynamics,
    subtasks,
    quantization,
    zero_rank,
    window,
)


def text(networks: dict) -> str:
    """All numbers of the layers, for a terminal."""
    found = [table for make in ALL for table in make(networks)]
    return "\n".join(f"{table.caption}\n{table.text()}" for table in found)
