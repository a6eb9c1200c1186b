"""The same experiment with several seeds: where each run's results lie, and what they say together."""

import json
import math
from pathlib import Path

import numpy as np

from keras_neuronlevel import files
from keras_neuronlevel.evidence import lookup

# What is compared over seeds: its name, and where it is among a layer's numbers in ``metrics.json``.
QUANTITIES = {
    "share of |s| > 0.9": ("derivatives", "above_0.9_share", "mean"),
    "mean |s|": ("derivatives", "mean_abs", "mean"),
    "low share": ("derivatives", "low_share", "mean"),
    "classes one-sided": ("derivatives", "class_consistency", "one_sided", "mean"),
    "AUC at the end": ("dynamics", "auc", -1, "mean"),
    "rank correlation, first and last": ("dynamics", "rank_correlation", 0, "mean"),
    "best quantized accuracy": ("quantization", "accuracy", max),
    "percentile rank of zero": ("quantization", "zero_rank", "mean"),
    "accuracy at the lowest window": ("window", "accuracy", 0),
    "accuracy at the highest window": ("window", "accuracy", -1),
}


def folder(root, seed):
    """Where the run of a seed is kept: ``root`` itself for seed 0, ``root/seed{k}`` for the others."""
    return Path(root) if seed == 0 else Path(root) / f"seed{seed}"


def load(root, seeds, prefix=""):
    """The ``metrics.json`` of every seed, a list. Raises ``ValueError`` for one missing or unreadable."""
    found = []
    for seed in seeds:
        path = folder(root, seed) / f"{prefix}metrics.json"
        try:
            found.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be read: {error}; run the experiment with that seed") from None
        if not isinstance(lookup(found[-1], "networks"), dict) or lookup(found[-1], "seed") != seed:
            raise ValueError(
                f"{path} holds no networks of seed {seed}; run the experiment with that seed (--force)"
            )
    return found


def aggregate(results):
    """Mean, standard deviation and range over seeds of every network's and layer's main numbers.

    ``results`` are S loaded ``metrics.json`` of one experiment. Returns {network: {"test_accuracy": spread,
    "layers": {layer: {quantity: spread}}}}, a spread being {"seeds" (those that have the number), "values"
    (theirs), "mean", "std" (of the sample, None for one value), "least", "most"}. What none has is left out.

    Raises ``ValueError`` for results of different experiments, presets, scales or data, and for a seed given
    twice.
    """
    _check(results)
    networks = {}
    for label in _all(result["networks"] for result in results):
        per_layer = _all(lookup(result, "networks", label, "layers") or {} for result in results)
        layers = {
            layer: {
                name: found
                for name, path in QUANTITIES.items()
                if (found := _spread(results, ("networks", label, "layers", layer, *path)))
            }
            for layer in per_layer
        }
        accuracy = _spread(results, ("networks", label, "training", "test_accuracy"))
        networks[label] = {"test_accuracy": accuracy, "layers": layers}
    return networks


def _check(results):
    fields = {
        "experiment": ("experiment",),
        "preset": ("preset",),
        "scale": ("scale",),
        "stand-in": ("stand_in",),
        "data": ("provenance", "data", "digest"),
    }
    for name, path in fields.items():
        values = dict.fromkeys(str(lookup(result, *path)) for result in results)
        if len(values) > 1:
            raise ValueError(
                f"the results differ in {name}: {'; '.join(values)}; take together only runs that differ in "
                "their seed"
            )
    seeds = [result["seed"] for result in results]
    if len(set(seeds)) < len(seeds) or not seeds:
        raise ValueError(f"the seeds are {', '.join(map(str, seeds)) or 'none'}; give each once")


def _all(dictionaries):
    """The keys that any has, in the order of the first to have them."""
    return list(dict.fromkeys(key for dictionary in dictionaries for key in dictionary))


def _spread(results, path):
    """The spread of the number at ``path`` over the seeds that have it, or None."""
    found = [(result["seed"], _lookup(result, path)) for result in results]
    found = [
        (seed, value) for seed, value in found if isinstance(value, (int, float)) and math.isfinite(value)
    ]
    if not found:
        return None
    seeds, values = zip(*found, strict=True)
    return {"seeds": list(seeds), **spread(values)}


def _lookup(value, path):
    for step in path:
        try:
            value = step(value) if callable(step) else value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def spread(values):
    """{"values", "mean", "std", "least", "most"} of one number a seed."""
    values = [float(value) for value in values]
    return {
        "values": values,
        "mean": float(np.mean(values)),
        "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "least": min(values),
        "most": max(values),
    }


def table(networks):
    """The dictionary of :func:`aggregate` as text, "mean ± standard deviation" of every number."""
    lines = []
    for label, numbers in networks.items():
        lines.append(f"{label}: test accuracy {_text(numbers['test_accuracy'])}")
        for layer, quantities in numbers["layers"].items():
            lines += [f"  {layer}: {name} {_text(values)}" for name, values in quantities.items()]
    return "\n".join(lines)


def _text(values):
    if values is None:
        return "not measured"
    if values["std"] is None:
        return f"{values['mean']:.3f} (seed {values['seeds'][0]})"
    seeds = ", ".join(map(str, values["seeds"]))
    ends = f"{values['least']:.3f} to {values['most']:.3f}"
    return f"{values['mean']:.3f} ± {values['std']:.3f} ({ends}; seeds {seeds})"


def write(root, results, prefix=""):
    """Aggregate and write ``root/seeds.json``; returns what :func:`aggregate` found."""
    networks = aggregate(results)
    files.write_json(
        Path(root) / f"{prefix}seeds.json",
        {
            "experiment": results[0]["experiment"],
            "preset": results[0]["preset"],
            "stand_in": results[0]["stand_in"],
            "seeds": [result["seed"] for result in results],
            "networks": networks,
        },
    )
    return networks
