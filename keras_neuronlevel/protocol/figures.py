"""Figures of finished runs: read records and numbers, draw with ``plots``, save whole files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from keras_neuronlevel import dynamics, files, plots, results, statistics, streams
from keras_neuronlevel.records import Records
from keras_neuronlevel.results import tables

if TYPE_CHECKING:  # it imports TensorFlow
    from keras_neuronlevel.protocol.runs import Run


def derivative_figures(
    runs: "Sequence[Run]", folder: Path, *, note: str, num_classes: int, prefix: str = "", seed: int = 0
) -> None:
    """Draw what the signs of several networks say, one row a network.

    ``average_sign_one_neuron.png`` (E Fig. 2, I Fig. 1: one neuron a layer, drawn from ``seed``),
    ``average_sign_all_neurons.png`` (I Fig. 5), ``class_consistency.png`` (I Fig. 8) and
    ``training_curves.png``. ``runs`` are ``runs.Run``, which say which of their layers are shown.
    """
    rows: dict[str, list] = {"one": [], "all": [], "classes": []}
    rng = streams.generator(seed, "drawn neurons")
    for run in runs:
        with Records(run.records_path) as records:
            panels = [_panels(records, layer, num_classes, rng) for layer in drawn(records, run)]
        for of_panel, row in enumerate(rows.values()):
            row.append([panel[of_panel] for panel in panels])
    curves = [[(run.summary["history"], run.label) for run in runs]]
    colours = "left, orange: 'high', activation should rise; right, blue: 'low', should fall"
    sign, consistency = plots.average_sign_histogram, plots.class_consistency_histogram
    pictures: dict[str, tuple[list, Callable, str]] = {
        "average_sign_one_neuron": (
            rows["one"],
            sign,
            f"Average sign of ∂L/∂a: one random neuron per layer\n{colours}",
        ),
        "average_sign_all_neurons": (
            rows["all"],
            sign,
            f"Average sign of ∂L/∂a: all neurons of a layer\n{colours}",
        ),
        "class_consistency": (rows["classes"], consistency, "Consistency of class and category"),
        "training_curves": (curves, plots.training_curves, "Training"),
    }
    for name, (drawn_rows, draw, title) in pictures.items():
        files.save_figure(
            folder / f"{prefix}{name}.png", plots.grid(drawn_rows, draw, title=title, note=note)
        )


def drawn(records: Records, run: "Run") -> list[str]:
    """The recorded layers of a run that are shown."""
    return [layer for layer in records.layers if layer in run.shown]


def _panels(records, layer, num_classes, rng):
    """The arguments of a layer's panels in the three histogram figures."""
    s = records.average_sign(layer)
    neuron = int(rng.integers(s.shape[1]))
    name = int(records.neurons(layer)[neuron])
    share = statistics.class_consistency(s, records.labels, num_classes)
    taken = len(records.recordings)
    return (s[:, neuron], f"{layer}, neuron {name}", taken), (s, layer, taken), (share, layer)


def dynamics_figures(
    runs: "Sequence[Run]", folder: Path, *, note: str, prefix: str = "", seed: int = 0, neurons: int = 1
) -> None:
    """Draw what single neurons make of what they are told, ``neurons`` random ones a layer.

    ``dynamics.png`` (E Fig. 3; I Fig. 2, 6, 7: pre-activations of 'low' and 'high' at five moments of
    training) and ``subtasks.png`` (E Fig. 4: both at its end, and the slope of the activation function).
    Neurons are drawn from ``seed`` among those with snapshots.
    Raises ``ValueError`` where no layer is left to draw.
    """
    watched, subtasks = [], []
    for run in runs:
        with Records(run.records_path) as records:
            found = []
            for layer in drawn(records, run):
                units = dynamics.random_units(records, layer, neurons, seed)
                found += dynamics.read(records, layer, units)
        watched += [dynamics.panels(neuron) for neuron in found]
        subtasks.append([dynamics.subtask(neuron) for neuron in found])
    title = "Watching neurons learn: pre-activations through training"
    figure = plots.dynamics_grid(watched, title=title, note=note)
    files.save_figure(folder / f"{prefix}dynamics.png", figure)
    title = "Subtask creation: pre-activations at the end of training"
    figure = plots.subtask_grid(subtasks, title=title, note=note)
    files.save_figure(folder / f"{prefix}subtasks.png", figure)


def evaluation_figures(networks: dict, folder: Path, *, note: str, prefix: str = "") -> None:
    """Draw ``quantization.png`` (I Fig. 3), ``window.png`` (I Fig. 4) and its variants, and write Table 1.

    ``networks`` is that part of ``metrics.json``; what was not measured is not drawn. Table 1 goes to
    ``table1.txt``, ``.csv`` and ``.md``.
    """
    kinds = [kind for kind in tables.window_kinds(networks) if kind != results.TWICE]
    for kind in ("quantization", *kinds):
        curves = _curves(networks, kind)
        if curves:
            told = tables.measured_on([curve for found in curves.values() for curve in found])
            figure = plots.accuracy_grid(curves, title=_title(kind, curves), note=", ".join([note, *told]))
            files.save_figure(folder / f"{prefix}{kind}.png", figure)
    for table in tables.zero_rank(networks):
        for ending, text in (("txt", table.text()), ("csv", table.csv()), ("md", table.markdown() + "\n")):
            files.write_text(folder / f"{prefix}table1.{ending}", text)


def _title(kind, curves):
    if kind == "quantization":
        return "Two-value quantization of one layer's pre-activations"
    used = [curve for found in curves.values() for curve in found]
    if all(curve["readout"] == "retrain" for curve in used):
        return "Sliding-window binarization, later layers trained anew"
    grids = dict.fromkeys(f"{curve['budget']['grid']} x {curve['budget']['grid']}" for curve in used)
    learned = dict.fromkeys(curve["probe_data"] for curve in used if "probe_data" in curve)
    cells = f"{' or '.join(grids)} cells of a feature map"
    return ", ".join(["Sliding-window binarization, linear probes", *learned, cells])


def _curves(networks, kind):
    """{network: [curve, ...]} of the networks that have curves of this kind."""
    curves = {
        label: [numbers[kind] for numbers in network["layers"].values() if kind in numbers]
        for label, network in networks.items()
    }
    return {label: found for label, found in curves.items() if found}
