"""How long training and recording took, in the committed runs: what ``--help`` says of the presets.

``experiments/report.py`` takes it from their ``metrics.json`` into ``durations.json``, which goes with the
package where they do not.
"""

import json
import statistics
from collections.abc import Iterable
from pathlib import Path

from keras_neuronlevel.papers.experiments import EXPERIMENTS

FILE = Path(__file__).with_name("durations.json")


def read() -> list[dict]:
    """What :func:`measured` found in the committed runs."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def measured(results: Iterable[dict]) -> list[dict]:
    """For each experiment, preset and kind of machine, the seconds that a network took.

    Args:
        results: ``metrics.json`` files, as ``results.read`` gives them. Left out are those that train
            nothing, of stand-ins, and of presets that have changed since.

    Returns:
        Dictionaries of ``experiment``, ``preset``, ``cpus``, ``gpus`` (names), ``networks`` (how many were
        timed) and ``seconds``: the least and the median that training, recording and writing took together;
        the greatest tells of runs that were paused, or shared their cores.
    """
    found: dict[tuple, list[float]] = {}
    for result in results:
        name = result["experiment"]
        presets = EXPERIMENTS[name].presets if name in EXPERIMENTS else {}
        preset = presets.get(result["preset"]["name"]) if result["preset"] else None
        if preset is None or result["stand_in"] or result["scale"] != str(preset):
            continue
        machine = result["provenance"].get("cpus"), tuple(result["provenance"].get("gpus") or ())
        for network in result["networks"].values():
            seconds = ((network.get("training") or {}).get("seconds") or {}).get("total")
            if seconds is not None:
                found.setdefault((name, preset.name, *machine), []).append(seconds)
    return [
        {
            "experiment": experiment,
            "preset": preset,
            "cpus": cpus,
            "gpus": list(gpus),
            "networks": len(seconds),
            "seconds": [round(min(seconds)), round(statistics.median(seconds))],
        }
        for (experiment, preset, cpus, gpus), seconds in sorted(found.items(), key=str)
    ]
