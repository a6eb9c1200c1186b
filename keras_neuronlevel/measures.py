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


def derivative_table(networks):
    """The measured shares per layer as lines of text; ``networks`` is {name: {layer: metrics}}."""
    head = ("layer", "|s| = 1", "|s| > 0.9", "mean |s|", "low share", "classes < 10 % or > 90 %", "undefined")
    rows = [head]
    for layers in networks.values():
        for layer, m in layers.items():
            consistent = m["class_consistency"]
            extreme = (consistent["below_10_percent"] or 0) + (consistent["above_90_percent"] or 0)
            rows.append(
                (
                    layer,
                    _number(m["constant_share"]["mean"]),
                    _number(m["above_0.9_share"]["mean"]),
                    _number(m["mean_abs"]["mean"]),
                    f"{_number(m['low_share']['mean'])} ± {_number(m['low_share']['std'])}",
                    _number(extreme),
                    _number(m["undefined_share"]),
                )
            )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def _number(value):
    return "-" if value is None else f"{value:.3f}"
