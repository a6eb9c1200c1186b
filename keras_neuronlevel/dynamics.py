"""Watching neurons learn (E §4 Fig. 3; I §4.2 Fig. 2, 6, 7) and subtask creation (E §5 Fig. 4), as numbers.

Everything here gives the contents of panels, JSON-able; ``plots.dynamics`` draws them. Letters: S snapshots,
N samples, P' positions of a feature map in the snapshots, M = N · P' pairs of one neuron (M = N in a dense
layer: the positions of a map are further activations of the same neuron). Steps and epochs count from 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from keras_neuronlevel import checks, files, streams
from keras_neuronlevel.statistics import HIGH, LOW, auc, categories, category_balance, highest

if TYPE_CHECKING:
    from keras_neuronlevel.records import Records

__all__ = [
    "Neuron",
    "activation_slope",
    "high_share_by_decile",
    "moments",
    "panels",
    "random_units",
    "read",
    "subtask",
    "top_of_high",
]

BINS = 40
RANGE = 0.1, 99.9  # percentiles of p that bins reach to: a few outliers must not squeeze the rest
TOP = 0.1  # share of 'high' that is followed (ours: I Fig. 6 says "the final highest")
SIGN_EDGES = np.linspace(-1, 1, 22)  # the middle one of 21 bins holds s = 0


@dataclasses.dataclass(frozen=True)
class Neuron:
    """What a records file holds of one neuron.

    Pre-activations ``p`` (S, M) float32, average signs ``s`` (M,), the ``recordings`` (S,) at which ``p`` was
    taken, and their rows of the table of recordings, ``table`` (S,). ``activation`` is the name of the
    layer's function φ, as ``Records.activation`` gives it.
    """

    layer: str
    unit: int
    p: np.ndarray
    s: np.ndarray
    recordings: np.ndarray
    table: np.ndarray
    activation: str

    @property
    def categories(self) -> np.ndarray:
        """'low' (+1), 'high' (-1) or undefined (0), by the sign of s over the whole training, (M,) (E §4)."""
        return categories(self.s)


def read(records: Records, layer: str, units: Sequence[int]) -> list[Neuron]:
    """The neurons with these unit indices, [Neuron, ...], from an open ``Records``; the layer is read once.

    Signs are taken at the neurons and positions that the snapshots hold. Raises ``ValueError`` for a neuron
    without snapshots, and ``RecordsError`` for an unknown layer.
    """
    kept = records.snapshot_neurons(layer)
    units = [checks.whole("a neuron's unit", unit) for unit in checks.sequence("units", units)]
    missing = [unit for unit in units if unit not in kept]
    if missing:
        raise ValueError(
            f"neuron {missing[0]} of {layer} has no snapshots of its pre-activations in {records.path}; "
            f"those that have are {', '.join(map(str, kept))}"
        )
    places = np.searchsorted(kept, units)
    s = records.snapshot_average_sign(layer)[:, places]
    p = records.snapshots(layer)[:, :, places]
    taken = records.snapshot_recordings
    return [
        Neuron(
            layer,
            int(unit),
            p[:, :, i].reshape(len(p), -1).astype(np.float32),
            s[:, i].ravel(),
            taken,
            records.recordings[taken],
            records.activation(layer),
        )
        for i, unit in enumerate(units)
    ]


def random_units(records: Records, layer: str, count: int = 1, seed: int = 0) -> list[int]:
    """``count`` random neurons (all, where there are fewer) of those with snapshots, sorted unit indices.

    They depend on the seed and on the layer's name alone, so that figures and videos show the same ones.
    """
    kept = records.snapshot_neurons(layer)
    order = streams.generator(seed, "shown neurons", layer).permutation(kept)
    return sorted(int(unit) for unit in order[: checks.whole("count", count, least=1)])


def moments(recordings: ArrayLike, count: int = 5) -> list[int]:
    """Up to ``count`` of S snapshots, as sorted indices 0 to S - 1: the last, the first, and between them
    those nearest to an even spacing in the logarithm of their recordings' numbers (S,), which increase."""
    count = checks.whole("count", count, least=1)
    place = np.log1p(np.asarray(recordings, np.float64))
    chosen: list[int] = []
    for target in np.linspace(place[-1], place[0], min(count, len(place))):
        free = [i for i in range(len(place)) if i not in chosen]
        chosen.append(min(free, key=lambda i, target=target: abs(place[i] - target)))  # type: ignore[misc]
    return sorted(chosen)


def panels(neuron: Neuron, at: Iterable[int] | None = None, bins: int = BINS) -> dict:
    """Histograms of a neuron's pre-activations at some moments, by category (E Fig. 3; I Fig. 2, 6, 7).

    ``at`` are indices of snapshots, 0 to S - 1; default those of :func:`moments`.

    Returns ``{"layer", "unit", "edges": (bins + 1), "moments": [{"recording", "step", "epoch", "accuracy",
    "low", "high", "top", "auc"}, ...], "top_share", "undefined", "low_share", "average_sign": {"edges",
    "counts", "undefined"}}``. ``low``, ``high`` and ``top`` are counts (bins); ``top``, part of ``high``, are
    the pairs of :func:`top_of_high`, the same ones in every panel; ``auc`` is exact, as of
    ``statistics.auc``, and None where a category is empty. All moments share the bins: equal ones, from the
    least 0.1 percentile of a moment to the greatest 99.9 percentile; those at the ends hold the rest, too.
    A pair that is not finite in a snapshot (float16 can overflow) is left out of that panel. ``undefined``
    pairs have no category and are in no panel; ``accuracy`` is that of the recorded samples; ``low_share`` is
    None where no pair is defined.

    Raises ``ValueError`` for moments that are not snapshots, and for a neuron without finite values.
    """
    last = len(neuron.p) - 1
    given = moments(neuron.recordings) if at is None else checks.sequence("the moments", at)
    chosen = [checks.whole("a moment", moment, least=0, most=last) for moment in given]
    if not chosen:
        raise ValueError(f"the moments are []; give indices of snapshots, at least one, in [0, {last}]")
    c, top = neuron.categories, top_of_high(neuron)
    edges = _edges(neuron, neuron.p[chosen], bins)
    known = np.isfinite(neuron.s)
    return files.plain(
        {
            "layer": neuron.layer,
            "unit": neuron.unit,
            "edges": edges,
            "moments": [
                _when(neuron, m)
                | {
                    name: _counts(neuron.p[m][pairs], edges)
                    for name, pairs in (("low", c == LOW), ("high", c == HIGH), ("top", top))
                }
                | {"auc": _auc(neuron.p[m], c)}
                for m in chosen
            ],
            "top_share": TOP,
            "undefined": np.count_nonzero((c != LOW) & (c != HIGH)),
            "low_share": category_balance(neuron.s[:, None])[0],
            "average_sign": {
                "edges": SIGN_EDGES,
                "counts": np.histogram(neuron.s[known], SIGN_EDGES)[0],
                "undefined": np.count_nonzero(~known),
            },
        }
    )


def _auc(p, c):
    """How far the categories are apart among the pairs of finite p, or NaN."""
    known = np.isfinite(p)
    return auc(p[known, None], c[known, None])[0] if known.any() else np.nan


def top_of_high(neuron: Neuron, share: float = TOP) -> np.ndarray:
    """The pairs of 'high' whose pre-activation is among its highest at the end of training, boolean (M,).

    The highest ``share`` of the category, rounded up, and whatever equals the least of them. Followed back
    through training they show whether the category was only moved, or pairs changed rank (I Fig. 6).
    """
    final = neuron.p[-1]
    return highest(final, (neuron.categories == HIGH) & ~np.isnan(final), share)


# Activation functions of Keras with options that say what their slope is, which no file has.
_WITH_OPTIONS = ("celu", "elu", "hard_shrink", "leaky_relu", "leakyrelu", "prelu", "soft_shrink", "threshold")


def subtask(neuron: Neuron, activation: str | Callable | None = None, bins: int = BINS) -> dict:
    """What a neuron separates at the end of training, and what its activation lets through (E Fig. 4).

    Returns ``{"layer", "unit", "recording", "step", "epoch", "accuracy", "edges": (bins + 1), "low", "high":
    (bins), "activation", "slope": {"p", "value"}, "decile_edges": (11), "high_share": (10), "decile_pairs":
    (10)}``: histograms of the last pre-activations by category, with bins as in :func:`panels`; φ'(p), by
    which ∂L/∂a is multiplied on its way to the weights, along the range of the bins; and the share of 'high'
    in each tenth of the defined pairs, by :func:`high_share_by_decile`.

    ``activation`` is a function or the name of one of Keras; default what the file says, with Keras' own
    options (of a ReLU no ``max_value`` or slope), or else the part of the layer's name after the last hyphen.
    Raises ``ValueError`` where Keras knows none of that name, where the file says one whose slope depends on
    options, and for a neuron without finite values.
    """
    if activation is None and neuron.activation in _WITH_OPTIONS:
        raise ValueError(
            f"the records say that {neuron.layer} applies {neuron.activation}, and not with which options, "
            "which its slope depends on; give activation=, the function itself, such as lambda p: "
            "keras.ops.leaky_relu(p, negative_slope=0.1)"
        )
    activation = activation or neuron.activation
    p, c = neuron.p[-1], neuron.categories
    edges = _edges(neuron, [p], bins)
    grid = np.linspace(edges[0], edges[-1], 401)
    return files.plain(
        {
            "layer": neuron.layer,
            "unit": neuron.unit,
            **_when(neuron, len(neuron.p) - 1),
            "edges": edges,
            "low": _counts(p[c == LOW], edges),
            "high": _counts(p[c == HIGH], edges),
            "activation": activation if isinstance(activation, str) else _called(activation),
            "slope": {"p": grid, "value": activation_slope(activation, grid)},
            **high_share_by_decile(p, c),
        }
    )


def high_share_by_decile(p: np.ndarray, c: np.ndarray, groups: int = 10) -> dict[str, np.ndarray]:
    """high / (high + low) in each of ``groups`` neighbouring intervals of p that hold equally many pairs.

    ``p`` (M,) pre-activations and ``c`` (M,) categories; undefined and infinite pairs are left out. Interval
    g reaches from the percentile 100 g / ``groups`` up to, and without, the next. Returns ``{"decile_edges":
    (groups + 1), "high_share": (groups), "decile_pairs": (groups)}``: equal values stay together, so an
    interval can hold more or fewer pairs than a tenth, or none: then its share is NaN.
    """
    groups = checks.whole("groups", groups, least=1)
    defined = np.isfinite(p) & ((c == LOW) | (c == HIGH))
    p, high = np.asarray(p, np.float64)[defined], c[defined] == HIGH
    edges = np.full(groups + 1, np.nan)
    if p.size:
        edges = np.percentile(p, np.linspace(0, 100, groups + 1))
    place = np.searchsorted(edges[1:-1], p, side="right")
    pairs = np.bincount(place, minlength=groups)
    share = np.full(groups, np.nan)
    np.divide(np.bincount(place, high, minlength=groups), pairs, out=share, where=pairs > 0)
    return {"decile_edges": edges, "high_share": share, "decile_pairs": pairs}


def _called(function):
    return getattr(function, "__name__", type(function).__name__)


def activation_slope(activation: str | Callable, p: ArrayLike) -> np.ndarray:
    """φ'(p) of a function, or of the Keras activation of this name, at p (any shape), by automatic
    differentiation, float32.

    Raises ``ValueError`` for a name that Keras does not know, and for a function such as softmax, which makes
    of p something that depends on other pre-activations, too.
    """
    import tensorflow as tf

    from keras_neuronlevel.networks import activation_function

    phi, name = activation_function(activation)
    points = tf.reshape(tf.convert_to_tensor(p, tf.float32), [-1])
    count = len(points)
    among_others = phi(tf.concat([points, points + 1], 0))
    apart = among_others.shape == [2 * count]
    with tf.GradientTape() as tape:
        tape.watch(points)
        a = phi(points) if apart else points
    if not apart or not np.allclose(a, among_others[:count], atol=1e-6, equal_nan=True):
        raise ValueError(
            f"activation {name!r} does not make of each pre-activation something that depends on it alone, "
            "so that it has no slope φ'(p); give a function that is applied element by element"
        )
    return np.reshape(tape.gradient(a, points), np.shape(p))


def _when(neuron, moment):
    row = neuron.table[moment]
    return {
        "recording": int(neuron.recordings[moment]),
        "step": int(row["step"]),
        "epoch": int(row["epoch"]),
        "accuracy": float(row["accuracy"]),
    }


def _edges(neuron, p, bins):
    """Edges (bins + 1) of equal bins over the bulk of p at each moment, a list of (M,) or (moments, M)."""
    bins = checks.whole("bins", bins, least=1)
    finite = [values[np.isfinite(values)].astype(np.float64) for values in p]
    ranges = [np.percentile(values, RANGE) for values in finite if values.size]
    if not ranges:
        raise ValueError(
            f"every pre-activation of neuron {neuron.unit} of {neuron.layer} in the snapshots is NaN or "
            "infinite; look at the training, or record with Snapshots(dtype='float32')"
        )
    low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
    if not low < high:  # a dead neuron's single value
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1)


def _counts(p, edges):
    inside = np.clip(p[np.isfinite(p)].astype(np.float64), edges[0], edges[-1])
    return np.histogram(inside, edges)[0]
