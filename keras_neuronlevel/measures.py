"""The numbers of finished runs: JSON-able dictionaries, and tables of them as text."""

import numpy as np

from keras_neuronlevel import statistics
from keras_neuronlevel.records import Records


def derivative_metrics(records_path, num_classes):
    """What the signs of one network say, per layer: JSON-able numbers, means and spread over neurons."""
    with Records(records_path) as records:
        return {
            layer: _layer_metrics(records.average_sign(layer), records.labels, num_classes)
            for layer in records.layers
        }


def _layer_metrics(s, labels, num_classes):
    constancy = statistics.sign_constancy(s)
    low = statistics.category_balance(s)
    share = statistics.class_consistency(s, labels, num_classes)
    known = share[np.isfinite(share)]
    return {
        "neurons": s.shape[1],
        "pairs": int(s.size),
        "undefined_share": float(np.mean(~np.isfinite(s))),
        "constant_share": _spread(constancy["constant"]),
        "above_0.9_share": _spread(constancy["above"]),
        "mean_abs": _spread(constancy["mean_abs"]),
        "low_share": _spread(low),
        "class_consistency": {
            "pairs": int(known.size),
            "below_10_percent": float(np.mean(known < 0.1)) if known.size else None,
            "above_90_percent": float(np.mean(known > 0.9)) if known.size else None,
        },
    }


def _spread(values):
    """Mean, standard deviation and quartiles over the neurons that have a value."""
    values = values[np.isfinite(values)]
    if not values.size:
        return {"mean": None, "std": None, "quartiles": None}
    quartiles = np.percentile(values, (25, 50, 75))
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "quartiles": [float(q) for q in quartiles],
    }


def tables(networks):
    """All numbers per layer as text; ``networks`` is that part of ``metrics.json``."""
    found = [
        _table(head, [row(layer, numbers[kind]) for layer, numbers in _layers(networks) if kind in numbers])
        for kind, head, row in (
            ("derivatives", _SIGNS, _signs_row),
            ("quantization", _QUANTIZATION, _quantization_row),
            ("window", _WINDOW, _window_row),
            ("window-twice-the-budget", _TWICE, _window_row),
        )
        if any(kind in numbers for _, numbers in _layers(networks))
    ]
    return "\n\n".join(found)


_SIGNS = ("average sign", "|s| = 1", "|s| > 0.9", "mean |s|", "low share", "classes one-sided", "undefined")
_QUANTIZATION = ("quantization", "untouched", "accuracy at percentile rank", "rank of zero")
_WINDOW = ("window binarization", "readout of p", "accuracy at window centre", "converged")
_TWICE = ("twice the budget", *_WINDOW[1:])


def _layers(networks):
    return [item for network in networks.values() for item in network["layers"].items()]


def _signs_row(layer, m):
    consistent = m["class_consistency"]
    one_sided = (consistent["below_10_percent"] or 0) + (consistent["above_90_percent"] or 0)
    low = m["low_share"]
    return (
        layer,
        _number(m["constant_share"]["mean"]),
        _number(m["above_0.9_share"]["mean"]),
        _number(m["mean_abs"]["mean"]),
        f"{_number(low['mean'])} ± {_number(low['std'])}",
        _number(one_sided),
        _number(m["undefined_share"]),
    )


def _quantization_row(layer, m):
    zero = m["zero_rank"]
    curve = _curve(m["ranks"], m["accuracy"])
    return layer, _number(m["baseline_accuracy"]), curve, f"{zero['mean']:.0f} ± {zero['std']:.0f}"


def _window_row(layer, m):
    curve = _curve(m["centers"], m["accuracy"])
    return layer, _number(m["baseline_accuracy"]), curve, "yes" if m["converged"] else "not all"


def _curve(places, values):
    return "  ".join(f"{place:g}: {_number(value)}" for place, value in zip(places, values, strict=True))


def _table(head, rows):
    rows = [head, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in [lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def _number(value):
    return "-" if value is None else f"{value:.3f}"
