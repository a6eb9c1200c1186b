"""The numbers of finished runs: JSON-able dictionaries, as ``results.schema`` names them."""

from pathlib import Path

import numpy as np

from keras_neuronlevel import statistics
from keras_neuronlevel.records import Records
from keras_neuronlevel.results import ALL_NEGATIVE, NEAR_HALF


def derivative_metrics(records_path: Path, num_classes: int) -> dict:
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
    low = statistics.category_balance(s)
    return {
        "neurons": s.shape[1],
        "pairs": int(s.size),
        "undefined_share": float(np.mean(~np.isfinite(s))),
        **_constancy(s),
        "up_to_0.5_share": _spread(1 - statistics.sign_constancy(s, 0.5)["above"]),
        "nonzero_share": float(nonzero.mean(dtype=np.float64) / recordings),
        "often_nonzero": _often_nonzero(s, nonzero, recordings),
        "bimodality": _spread(statistics.bimodality(s)),
        "low_share": _spread(low),
        "low_share_near_half": _spread(_indicator(np.abs(low - 0.5) <= NEAR_HALF, low)),
        "histogram": statistics.sign_histogram(s, recordings)[0].tolist(),
        "class_consistency": _consistency(statistics.class_consistency(s, labels, num_classes)),
    }


def clipped_metrics(records_path: Path) -> dict:
    """What the signs of the clipped loss say, per layer: JSON-able numbers, spreads over neurons.

    Of a derivative that is exactly zero whenever a sample is classified with confidence, the average sign
    depends on what zeros count for: ``left_out`` is s as everywhere, the mean over the recordings with a
    derivative (a pair without any is undefined, ``undefined_share``), ``counted`` the mean over all of them.
    """
    with Records(records_path) as records:
        return {layer: _clipped_layer(records, layer) for layer in records.layers}


def _clipped_layer(records, layer):
    sums, nonzero, recordings = records.sign_sum(layer), records.nonzero(layer), len(records.recordings)
    left_out = statistics.average_sign(sums, nonzero)
    counted = statistics.average_sign_counting_zeros(sums, recordings)
    return {
        "neurons": sums.shape[1],
        "recordings": recordings,
        "nonzero_share": float(nonzero.mean(dtype=np.float64) / recordings),
        "undefined_share": float(np.mean(nonzero == 0)),
        "left_out": _constancy(left_out),
        "counted": _constancy(counted),
    }


def _constancy(s):
    constancy = statistics.sign_constancy(s)
    return {
        "constant_share": _spread(constancy["constant"]),
        "above_0.9_share": _spread(constancy["above"]),
        "mean_abs": _spread(constancy["mean_abs"]),
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
        "undefined": int(share.size - known.size),
        "histogram": [int(count) for count in statistics.consistency_histogram(share)],
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


def dynamics_metrics(records_path: Path) -> dict:
    """What the snapshots of pre-activations say, per layer: JSON-able (E §4, §5; claims C5 to C7).

    For the S snapshots ``recordings`` (S,), and S spreads over the snapshots' neurons each of ``auc``,
    ``rank_correlation`` (with the last snapshot) and ``top_of_high``; ``change`` holds the spreads of the
    last value minus the first of ``auc`` and ``top_of_high``, neuron by neuron, and of the place of the
    *initial* top of 'high' (``initial_top_of_high``). ``subtask`` describes the
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
        "change": {
            "auc": _spread(separation[-1] - separation[0]),
            "top_of_high": _spread(top[-1] - top[0]),
            "initial_top_of_high": _spread(_fall_of_initial_top(snapshots[0], last, c)),
        },
        "subtask": {"activation": records.activation(layer), **_subtask(last, c)},
    }


def _fall_of_initial_top(first, last, c):
    """Where the first snapshot's top of 'high' is in the last one, minus where it was, per neuron."""
    ended, began = (statistics.top_of_high(p, first, c) for p in (last, first))
    return ended - began


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
