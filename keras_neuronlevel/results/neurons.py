"""``neurons.json``: a few neurons of every layer, small enough to be committed, to be watched in the report.

schema      "keras_neuronlevel/neurons"
networks    {network: {layer: [what ``dynamics.panels`` gives of a neuron, ...]}}
"""

import itertools
import json
from pathlib import Path
from typing import Any

from keras_neuronlevel import files
from keras_neuronlevel.results.forms import ANY, COUNT, MORE, REAL, SHARE, problems

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


def read(path: Path, name: str | None = None) -> dict:
    """The file's value.

    Args:
        path: of the file.
        name: what messages call it; its path, unless given.

    Raises:
        ValueError: where it cannot be read or drawn; names it, and says why.
    """
    value = files.read_json(path, name)
    found = problem(value)
    if found:
        raise ValueError(f"{name or path} {found}")
    return value


def problem(value: object) -> str | None:
    """What keeps a loaded ``neurons.json`` from being drawn, in words, or None."""
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        return f"is not of the schema {SCHEMA}"
    found = next(problems(value, _FORM, "it", complete=True), None)
    if found:
        return f"is damaged: {found}"
    for network, layers in value["networks"].items():
        for layer, panels in layers.items():
            if not panels or not all(_drawable(panel) for panel in panels):
                return f"is damaged: the histograms of {layer} of {network} do not fit their edges"
            # Older files have none.
            areas = [moment.get("auc") for panel in panels for moment in panel["moments"]]
            found = next(problems(areas, [SHARE], f"auc of {layer} of {network}", complete=True), None)
            if found:
                return f"is damaged: {found}"
    return None


_MOMENT: Any = dict.fromkeys(("recording", "step", "epoch"), COUNT)
_MOMENT |= {"low": [COUNT], "high": [COUNT], "top": [COUNT], MORE: ANY}
_SIGNS = {"edges": [REAL], "counts": [COUNT], "undefined": COUNT, MORE: ANY}
_PANEL: Any = {"unit": COUNT, "low_share": SHARE, "edges": [REAL], "moments": [_MOMENT]}
_PANEL |= {"average_sign": _SIGNS, MORE: ANY}
_FORM: Any = {"networks": {MORE: {MORE: [_PANEL]}}, MORE: ANY}


def _drawable(panel):
    signs, moments = panel["average_sign"], panel["moments"]
    histograms = [(signs["edges"], signs["counts"])]
    histograms += [(panel["edges"], moment[name]) for moment in moments for name in ("low", "high", "top")]
    return bool(moments) and all(
        len(edges) == len(counts) + 1 and all(a < b for a, b in itertools.pairwise(edges))
        for edges, counts in histograms
    )
