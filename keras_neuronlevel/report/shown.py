"""Which networks a figure shows, at which scale, and what its caption says of them.

A network that was run at several scales is shown once, at the largest (of presets of one size the one that
trains longer): its other rows stay in the figures of their own folders, and in the columns of the claims.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

from keras_neuronlevel import papers, results
from keras_neuronlevel.plots.papers import Row
from keras_neuronlevel.report.gather import Group, Run
from keras_neuronlevel.results import lookup, schema, tables

COLUMNS = 3  # of panels that can be read at the width of a repository's page
STRIP = ("mlp-relu", "dense2-relu")  # network and layer of the neuron in the strip
Make = Callable[[Group, str, list[str]], list[Row]]  # the rows of (group, network, its shown layers)


def rows(groups: Sequence[Group], make: Make) -> tuple[list[Row], list[Group]]:
    """The rows of a figure, and what it shows: the groups with those networks alone that are in it.

    Args:
        groups: as ``gather.find`` gives them; runs of different scales count as groups of their own.
        make: a network's rows, [] where it has none. Of the runs of one network those of the largest scale
            are kept, and stand-in data only where there is nothing else.
    """
    found = [(group, label, make(group, label, layers)) for group, label, layers in _networks(groups)]
    found = [one for one in found if one[-1]]
    largest: dict[tuple, tuple] = {}
    for group, label, _ in found:
        key = group.main.experiment, label
        largest[key] = max(largest.get(key, ()), _rank(group.main))
    kept = [one for one in found if _rank(one[0].main) == largest[one[0].main.experiment, one[1]]]
    used: dict[int, tuple[Group, list[str]]] = {}
    for group, label, _ in kept:
        used.setdefault(id(group), (group, []))[1].append(label)
    return [row for *_, of_network in kept for row in of_network], [_only(*one) for one in used.values()]


def of_layers(panel: Callable[[Group, str, str], dict | None]) -> Make:
    """Rows of a panel for each layer, ``COLUMNS`` in each; ``panel(group, network, layer)`` may be None."""

    def make(group, label, layers):
        panels = [panel(group, label, layer) for layer in layers]
        parts = [panels[i : i + COLUMNS] for i in range(0, len(panels), COLUMNS)] if any(panels) else []
        return [Row(_title(group, label), full(group.main), part) for part in parts]

    return make


def full(run: Run) -> bool:
    """Whether a run is at the papers' scale, and on their data and network."""
    return _rank(run) >= (True, papers.FULL)


def largest(groups: Sequence[Group], experiment: str) -> Group | None:
    """The runs of an experiment at their largest scale, or None where it was run on stand-ins only."""
    found = [one for group in groups for one in _by_scale(group) if one.main.experiment == experiment]
    return max((one for one in found if not one.main.stand_in), key=lambda one: _rank(one.main), default=None)


def strip_neuron(groups: Sequence[Group]) -> tuple[Run, dict] | None:
    """The run and the neuron (as ``neurons.json`` has it) that the strip shows, or None."""
    group = largest(groups, "mnist_mlp")
    found = lookup(group.main.neurons, "networks", *STRIP) if group else None
    return (group.main, found[0]) if group and found else None


def _rank(run):
    size = lookup(run.metrics, "preset", "size")
    epochs = [lookup(network, "training", "config", "epochs") or 0 for network in run.networks.values()]
    return not run.stand_in, papers.QUICK - 1 if size is None else size, max(epochs, default=0)


def _networks(groups: Sequence[Group]) -> Iterator[tuple[Group, str, list[str]]]:
    """(group, network, its shown layers) of the papers' and the stand-ins' networks."""
    for group in itertools.chain.from_iterable(map(_by_scale, groups)):
        for label, network in group.main.networks.items():
            if network["owner"] != papers.OURS:
                yield group, label, list(network["roles"].get("shown", ())) or list(network["layers"])


def _by_scale(group):
    kinds: dict[tuple, list[Run]] = {}
    for run in group.runs:
        kinds.setdefault(results.same_but_for_seed(run.metrics), []).append(run)
    return [Group(first, tuple(others)) for first, *others in kinds.values()]


def _only(group, labels):
    """The group without its other networks."""

    def only(run):
        found = {label: run.networks[label] for label in labels if label in run.networks}
        return dataclasses.replace(run, metrics={**run.metrics, "networks": found})

    return Group(only(group.main), tuple(map(only, group.others)))


def _title(group, label):
    run = group.main
    extra = "" if full(run) else "\n(stand-in)" if run.stand_in else f"\n({results.preset(run.metrics)})"
    return f"{label}{extra}" + ("" if run.metrics["complete"] else "\n(unfinished)")


# Captions ---------------------------------------------------------------------------------------------


def note(groups: Sequence[Group], kind: str = "") -> str:
    """Scale, images and convergence of what a figure shows, in one sentence for each experiment."""
    return " ".join(_caption(group, kind) for group in groups)


def measured(run: Run, kind: str) -> bool:
    """Whether a run has numbers of a kind."""
    return any(lookup(layer, kind) for *_, layer in tables.layers(run.networks))


def title(run: Run) -> str:
    """The title of a run's experiment."""
    known = papers.EXPERIMENTS.get(run.experiment)
    return known.title if known else run.experiment


def name(run: Run) -> str:
    """The title of a run's experiment, with the stand-in that was run in its place."""
    stand_in = f" (stand-in {run.prefix.removeprefix('standin-').removesuffix('-')})" if run.stand_in else ""
    return title(run) + stand_in


def _caption(group, kind):
    run = group.main
    runs = [one for one in group.comparable if kind and measured(one, kind)] or [run]
    words = [f"{name(run)}: {_scale(run)}", tables.seeds([one.seed for one in runs])]
    curves = [lookup(layer, kind) for one in runs for *_, layer in tables.layers(one.networks)]
    curves = [curve for curve in curves if curve and kind]
    if curves and "n_test" in curves[0]:
        words += tables.measured_on(curves)
        words += ["linear probes that learn CIFAR-10"] if kind == schema.window(transfer=True) else []
    else:
        trained = next(iter(run.networks.values())).get("training") or {}
        if trained.get("recordings"):
            words.append(f"{trained['recordings']:,} recordings of {trained.get('samples') or 0:,} samples")
    return ", ".join(words) + ("." if all(one.metrics["complete"] for one in runs) else ", unfinished.")


def _scale(run):
    if run.stand_in:
        return "not the papers' network"
    if full(run):
        return "the papers' scale"
    return str(run.metrics["scale"]).split(",")[0] or "scale not stated"
