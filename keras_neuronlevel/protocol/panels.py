"""A few neurons of every layer, taken out of the large records files for ``neurons.json``."""

from collections.abc import Sequence
from pathlib import Path

from keras_neuronlevel import dynamics
from keras_neuronlevel.records import Records


def extract(records_path: Path, layers: Sequence[str] | None = None, neurons: int = 8, seed: int = 0) -> dict:
    """Panels of random neurons through all S snapshots: {layer: [dictionary of ``dynamics.panels``, ...]}.

    ``layers`` are names of recorded layers, default all; ``neurons`` is how many of each, of those with
    snapshots, drawn by ``dynamics.random_units`` from ``seed``. Counts are integers; edges and accuracies
    are kept to four digits. Raises ``RecordsError`` for an unknown layer, ``ValueError`` for a neuron without
    finite pre-activations.
    """
    with Records(records_path) as records:
        snapshots = range(len(records.snapshot_recordings))
        return {
            layer: [
                _rounded(dynamics.panels(neuron, snapshots))
                for neuron in dynamics.read(
                    records, layer, dynamics.random_units(records, layer, neurons, seed)
                )
            ]
            for layer in (records.layers if layers is None else layers)
        }


def _rounded(panel):
    """The panel with fewer digits: what a page of 40 bins can show."""
    moments = [
        moment | {name: _digits(moment[name]) for name in ("accuracy", "auc") if name in moment}
        for moment in panel["moments"]
    ]
    signs = panel["average_sign"]
    return panel | {
        "edges": [_digits(edge) for edge in panel["edges"]],
        "moments": moments,
        "low_share": _digits(panel["low_share"]),
        "average_sign": signs | {"edges": [_digits(edge) for edge in signs["edges"]]},
    }


def _digits(value):
    return None if value is None else float(f"{value:.4g}")
