"""A few neurons of every layer, small enough to be committed and to be looked at in the page."""

import itertools
import json

from keras_neuronlevel import dynamics, files
from keras_neuronlevel.records import Records

SCHEMA = "keras_neuronlevel/neurons"
LIMIT = 300_000  # bytes of one file


def extract(records_path, layers=None, neurons=8, seed=0):
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


def write(path, networks, limit=LIMIT):
    """Write ``neurons.json``; ``networks`` is {network: what :func:`extract` gives}.

    The last neurons of every layer are left out until the file has at most ``limit`` bytes. Raises
    ``ValueError`` where one neuron a layer is too much already.
    """
    most = max((len(panels) for layers in networks.values() for panels in layers.values()), default=0)
    for count in range(most, 0, -1):
        kept = {
            network: {layer: panels[:count] for layer, panels in layers.items()}
            for network, layers in networks.items()
        }
        text = json.dumps({"schema": SCHEMA, "networks": kept}, separators=(",", ":"), allow_nan=False)
        if len(text) < limit:
            files.write_text(path, text + "\n")
            return
    raise ValueError(
        f"one neuron of every layer takes more than {limit} bytes; name fewer layers, or give a higher limit"
    )


def problem(value):
    """What keeps a loaded ``neurons.json`` from being drawn, in words, or None."""
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        return f"is not of the schema {SCHEMA}"
    try:
        for layers in value["networks"].values():
            for panels in layers.values():
                if not panels or not all(_drawable(panel) for panel in panels):
                    return "is damaged: a neuron's histograms do not fit their edges"
    except (KeyError, TypeError, AttributeError):
        return "is damaged: its neurons are not of the expected form"
    return None


def _drawable(panel):
    signs, moments = panel["average_sign"], panel["moments"]
    histograms = [(signs["edges"], signs["counts"])]
    histograms += [(panel["edges"], moment[name]) for moment in moments for name in ("low", "high", "top")]
    whole = [panel["unit"], signs["undefined"], *(m[key] for m in moments for key in ("step", "epoch"))]
    share = panel["low_share"]
    return (
        bool(moments)
        and (share is None or _increasing([share]))
        and all(len(edges) == len(counts) + 1 and _increasing(edges) for edges, counts in histograms)
        and _whole(whole + [count for _, counts in histograms for count in counts])
    )


def _increasing(values):
    numbers = all(isinstance(value, (int, float)) and abs(value) < 1e300 for value in values)
    return numbers and all(a < b for a, b in itertools.pairwise(values))


def _whole(values):
    return all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in values)


def _rounded(panel):
    """The panel with fewer digits: what a page of 40 bins can show."""
    moments = [
        moment | {"accuracy": _digits(moment["accuracy"])} if "accuracy" in moment else moment
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
