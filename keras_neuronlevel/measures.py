"""The numbers of finished runs: JSON-able dictionaries, and tables of them as text."""

import numpy as np

from keras_neuronlevel import statistics
from keras_neuronlevel.records import Records

NEAR_HALF = 0.1  # a low share between 0.4 and 0.6 is "more or less half" (ours)
ALL_NEGATIVE = 0.01  # at most this share of p > 0: "all pre-activations are negative" (E §5), but for a few


def derivative_metrics(records_path, num_classes):
    """What the signs of one network say, per layer: JSON-able numbers, means and spread over neurons.

    A spread over neurons is {"mean", "std", "quartiles", "interval", "neurons"}: ``interval`` is the 95 %
    bootstrap interval of the mean over the ``neurons`` that have a value, None below two of them; all are
    None where there are none.

    Below max-pooling a pair's derivative is zero whenever its position is not the greatest of its window.
    Of a pair that was nonzero once, abs(s) is 1 for certain, so such layers look more constant than they
    are. ``nonzero_share`` is the share of recordings, over all pairs, whose derivative was not zero, and
    ``often_nonzero`` repeats ``mean_abs`` and ``above_0.9_share`` for the pairs that were nonzero in at least
    half of the recordings, of which ``share`` is how many there are.
    """
    with Records(records_path) as records:
        return {
            layer: _layer_metrics(
                records.average_sign(layer), records.nonzero(layer), len(records.recordings), records.labels,
                num_classes,
            )
            for layer in records.layers
        }  # fmt: skip


def _layer_metrics(s, nonzero, recordings, labels, num_classes):
    constancy = statistics.sign_constancy(s)
    low = statistics.category_balance(s)
    return {
        "neurons": s.shape[1],
        "pairs": int(s.size),
        "undefined_share": float(np.mean(~np.isfinite(s))),
        "constant_share": _spread(constancy["constant"]),
        "above_0.9_share": _spread(constancy["above"]),
        "up_to_0.5_share": _spread(1 - statistics.sign_constancy(s, 0.5)["above"]),
        "mean_abs": _spread(constancy["mean_abs"]),
        "nonzero_share": float(nonzero.mean(dtype=np.float64) / recordings),
        "often_nonzero": _often_nonzero(s, nonzero, recordings),
        "bimodality": _spread(statistics.bimodality(s)),
        "low_share": _spread(low),
        "low_share_near_half": _spread(_indicator(np.abs(low - 0.5) <= NEAR_HALF, low)),
        "class_consistency": _consistency(statistics.class_consistency(s, labels, num_classes)),
    }


def _often_nonzero(s, nonzero, recordings):
    often = 2 * nonzero >= recordings
    constancy = statistics.sign_constancy(np.where(often, s, np.nan))
    return {
        "share": float(often.mean()),
        "mean_abs": _spread(constancy["mean_abs"]),
        "above_0.9_share": _spread(constancy["above"]),
    }


def _consistency(share):
    """Shares of the (neuron, class) pairs (U, K) at either end; the spreads are of the neurons' shares."""
    known = share[np.isfinite(share)]
    low, high = share < 0.1, share > 0.9
    return {
        "pairs": int(known.size),
        "below_10_percent": float(np.mean(known < 0.1)) if known.size else None,
        "above_90_percent": float(np.mean(known > 0.9)) if known.size else None,
        "one_sided": _spread(_mean_of_known(low | high, share)),
        "peaks": {"low": _spread(_mean_of_known(low, share)), "high": _spread(_mean_of_known(high, share))},
    }


def _mean_of_known(flags, values):
    count = np.isfinite(values).sum(axis=1)
    total = (flags & np.isfinite(values)).sum(axis=1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def _indicator(flags, values):
    return np.where(np.isfinite(values), flags, np.nan)


def dynamics_metrics(records_path):
    """What the snapshots of pre-activations say, per layer: JSON-able (E §4, §5; claims C5 to C7).

    For the S snapshots ``recordings`` (S,), and S spreads over the snapshots' neurons each of ``auc``,
    ``rank_correlation`` (with the last snapshot) and ``top_of_high``; ``change`` holds the spreads of the
    last value minus the first of ``auc`` and ``top_of_high``, neuron by neuron. ``subtask`` describes the
    last snapshot: ``accuracy_above_zero``, ``accuracy_below_zero`` and their ``difference`` (above minus
    below, of the same neurons), the same with ``separation`` for the area under the ROC curve within each
    side, ``accuracy_by_decile`` (10 spreads), ``share_above_zero``, and under ``all_negative`` the neurons
    nearly all of whose pre-activations are negative. Categories come from the average signs of the same
    neurons and positions. One layer is read at a time; a layer without snapshots is left out.
    """
    with Records(records_path) as records:
        if not len(records.snapshot_recordings):
            return {}
        return {layer: _layer_dynamics(layer, records) for layer in records.layers}


def _layer_dynamics(layer, records):
    snapshots = records.snapshots(layer)
    c = statistics.categories(records.snapshot_average_sign(layer))
    last = snapshots[-1]
    separation = [statistics.auc(p, c) for p in snapshots]
    top = [statistics.top_of_high(p, last, c) for p in snapshots]
    return {
        "neurons": c.shape[1],
        "recordings": [int(recording) for recording in records.snapshot_recordings],
        "auc": [_spread(values) for values in separation],
        "rank_correlation": [_spread(statistics.rank_correlation(p, last)) for p in snapshots],
        "top_of_high": [_spread(values) for values in top],
        "change": {"auc": _spread(separation[-1] - separation[0]), "top_of_high": _spread(top[-1] - top[0])},
        "subtask": {"activation": layer.rsplit("-", 1)[-1], **_subtask(last, c)},
    }


def _subtask(p, c):
    accuracy = statistics.category_accuracy(p, c)
    above, below = accuracy["above_zero"], accuracy["below_zero"]
    upper, lower = statistics.auc_by_side(p, c)
    return {
        "accuracy_above_zero": _spread(above),
        "accuracy_below_zero": _spread(below),
        "difference": _spread(above - below),
        "separation_above_zero": _spread(upper),
        "separation_below_zero": _spread(lower),
        "separation_difference": _spread(upper - lower),
        "accuracy_by_decile": [_spread(values) for values in accuracy["by_decile"]],
        "share_above_zero": _spread(accuracy["share_above_zero"]),
        "all_negative": _all_negative(p, c, accuracy),
    }


def _all_negative(p, c, accuracy):
    """Of the neurons with nearly no p > 0: upper against lower deciles, and halves split at the median."""
    kept = accuracy["share_above_zero"] <= ALL_NEGATIVE
    deciles = accuracy["by_decile"][:, kept]
    found = {
        "neurons": int(kept.sum()),
        "accuracy_by_decile": [_spread(values) for values in deciles],
        "accuracy_difference": _spread(deciles[5:].mean(axis=0) - deciles[:5].mean(axis=0)),
    }
    upper, lower = np.full((2, int(kept.sum())), np.nan)
    if kept.any():
        p = p[:, kept].astype(np.float64)
        median = np.median(p, axis=0 if p.ndim == 2 else (0, 2))
        upper, lower = statistics.auc_by_side(p, c[:, kept], median)
    return found | {"separation_difference": _spread(upper - lower)}


def _spread(values):
    """Mean with its interval, standard deviation and quartiles over the neurons that have a value."""
    values = values[np.isfinite(values)]
    if not values.size:
        return {"mean": None, "std": None, "quartiles": None, "interval": None, "neurons": 0}
    interval = statistics.bootstrap_interval(values)
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "quartiles": [float(q) for q in np.percentile(values, (25, 50, 75))],
        "interval": list(interval) if np.isfinite(interval).all() else None,
        "neurons": int(values.size),
    }


def tables(networks):
    """All numbers per layer as text; ``networks`` is that part of ``metrics.json``."""
    kinds = (
        ("derivatives", _SIGNS, _signs_row),
        ("dynamics", _DYNAMICS, _dynamics_row),
        ("quantization", _QUANTIZATION, _quantization_row),
        ("window", _WINDOW, _window_row),
        ("window-twice-the-budget", _TWICE, _window_row),
        *((kind, (kind, "probe of p", *_WINDOW[2:]), _window_row) for kind in _probes(networks)),
    )
    found = [
        _table(head, [row(layer, numbers[kind]) for layer, numbers in _layers(networks) if kind in numbers])
        for kind, head, row in kinds
        if any(kind in numbers for _, numbers in _layers(networks))
    ]
    return "\n\n".join(found)


_SIGNS = ("average sign", "|s| = 1", "|s| > 0.9", "mean |s|", "low share", "classes one-sided", "undefined")
_DYNAMICS = (
    "pre-activations",
    "AUC first",
    "AUC last",
    "rank correlation",
    "top of high, first",
    "last",
    "accuracy p > 0",
    "p < 0",
    "AUC within p > 0",
    "p < 0",
)
_QUANTIZATION = ("quantization", "untouched", "accuracy at percentile rank", "rank of zero")
_WINDOW = ("window binarization", "readout of p", "accuracy at window centre", "converged")
_TWICE = ("twice the budget", *_WINDOW[1:])


def _probes(networks):
    """The variants of probes that were measured: "window-transfer", "window-grid2", ..."""
    kinds = (kind for _, numbers in _layers(networks) for kind in numbers)
    return sorted({kind for kind in kinds if kind.startswith(("window-transfer", "window-grid"))})


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


def _dynamics_row(layer, m):
    """First and last snapshots; the rank correlation is that of the first with the last."""
    side = m["subtask"]
    spreads = (
        *(m["auc"][i] for i in (0, -1)),
        m["rank_correlation"][0],
        *(m["top_of_high"][i] for i in (0, -1)),
        *(side[f"accuracy_{where}_zero"] for where in ("above", "below")),
        *(side[f"separation_{where}_zero"] for where in ("above", "below")),
    )
    return layer, *(_number(spread["mean"]) for spread in spreads)


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
