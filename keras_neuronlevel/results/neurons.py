"""``neurons.json``: a few neurons of every layer, small enough to be committed, to be watched in the report.

schema      "keras_neuronlevel/neurons"
networks    {network: {layer: [what ``dynamics.panels`` gives of a neuron, ...]}}
"""

import itertools
import json
from pathlib import Path

from keras_neuronlevel import files

SCHEMA = "keras_neuronlevel/neurons"
LIMIT = 300_000  # bytes of one file


def write(path: Path, networks: dict, limit: int = LIMIT) -> None:
    """Write the file; ``networks`` as above.

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


def read(path: Path) -> dict:
    """The file's value.

    Raises:
        ValueError: where it cannot be read or drawn; says why.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot be read ({str(error).splitlines()[0]})") from None
    found = problem(value)
    if found:
        raise ValueError(found)
    return value


def problem(value: object) -> str | None:
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
