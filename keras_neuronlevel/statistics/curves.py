"""What the curves of I Fig. 3 and 4 say in one number each, with what the test set's size leaves open.

A quantization curve is a dictionary with ``ranks`` and ``accuracy`` (R,), a window curve one with
``centers`` and ``accuracy`` (C,); both have ``baseline_accuracy``, ``chance`` and ``n_test``, as
``to_dict()`` of the results gives them and ``metrics.json`` holds them. Accuracies are fractions, ranks and
centres percentages.

Every function that returns one number returns (value, interval): the 95 % interval over test sets of
``n_test`` images, None where ``n_test`` is missing. All accuracies of a curve come from the same images, and
how their errors go together is not recorded; so a combination of them gets the width that it has in the
worst case: the widths of its parts, added. What cannot be computed from the places that a curve has is
(nan, None).
"""

from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from keras_neuronlevel import checks

Number = tuple[float, tuple[float, float] | None]  # a value and its interval

UNKNOWN: Number = (np.nan, None)


def wilson_interval(accuracy, n_test: int, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval (low, high) of a fraction of ``n_test`` images; arrays are taken elementwise.

    It does not collapse at 0 and 1, as the normal approximation would.
    """
    checks.whole("n_test", n_test, least=1)
    z = NormalDist().inv_cdf((1 + level) / 2)
    a = np.asarray(accuracy, np.float64)
    centre = a + z * z / (2 * n_test)
    width = z * np.sqrt(a * (1 - a) / n_test + z * z / (4 * n_test**2))
    scale = 1 + z * z / n_test
    low, high = (centre - width) / scale, (centre + width) / scale
    return np.where(a == 0, 0, low), np.where(a == 1, 1, high)


def contrast(accuracy, weights, n_test: int | None, constant: float = 0.0) -> Number:
    """Σ weightᵢ · accuracyᵢ + constant and its interval; each part's Wilson bounds, added.

    Accuracies of weight 0 take no part: they may be NaN.
    """
    accuracy, weights = np.asarray(accuracy, np.float64), np.asarray(weights, np.float64)
    accuracy, weights = accuracy[weights != 0], weights[weights != 0]
    value = float(weights @ accuracy + constant)
    if n_test is None or np.isnan(value):
        return value, None
    low, high = wilson_interval(accuracy, n_test)
    positive, negative = np.maximum(weights, 0), np.minimum(weights, 0)
    return value, (
        float(positive @ low + negative @ high + constant),
        float(positive @ high + negative @ low + constant),
    )


def share_kept(curve: Mapping, accuracy: ArrayLike) -> np.ndarray:
    """(accuracy - chance) / (baseline - chance) of a curve's network or readout; NaN with nothing to keep."""
    chance, baseline = curve["chance"], curve["baseline_accuracy"]
    span = baseline - chance if baseline > chance else np.nan
    return (np.asarray(accuracy, np.float64) - chance) / span


def lowest_center(curve: Mapping) -> float:
    """The centre of the window with the lowest accuracy, the first of equal ones."""
    return curve["centers"][int(np.argmin(curve["accuracy"]))]


# Quantization ---------------------------------------------------------------------------------------


def best_kept(curve: Mapping) -> Number:
    """What is kept of the accuracy above chance at the best rank: (best - chance) / (baseline - chance).

    1 where two values cost nothing. The best of R ranks is chosen on the same images that it is measured
    on, which flatters it, by less than the interval's width.
    """
    accuracy = _accuracy(curve)
    if not np.isfinite(accuracy).any():
        return UNKNOWN
    return _kept(curve, contrast([np.nanmax(accuracy)], [1], curve.get("n_test")))


def preference_for_high_ranks(curve: Mapping) -> Number:
    """Mean accuracy at ranks in (50, 100) minus that at their mirror images in (0, 50) (I Fig. 3).

    Of the papers' ranks: 60 to 90 minus 10 to 40. Ranks whose mirror image is missing are left out.
    """
    return _right_minus_left(curve, "ranks")


def zero_rank(curve: Mapping) -> Number:
    """The mean percentile rank of pre-activation zero (I Table 1) and its interval over neurons.

    The interval is mean ± 1.96 · std / √(neurons - 1), as ``std`` is the population's; None for a single
    neuron.
    """
    found = curve.get("zero_rank") or {}
    mean, std, neurons = (found.get(key) for key in ("mean", "std", "neurons"))
    if mean is None:
        return UNKNOWN
    if std is None or not neurons or neurons < 2:
        return mean, None
    width = NormalDist().inv_cdf(0.975) * std / np.sqrt(neurons - 1)
    return mean, (float(mean - width), float(mean + width))


# Windows --------------------------------------------------------------------------------------------


def margin_over_chance(curve: Mapping) -> Number:
    """Accuracy at the window nearest to rank 50 minus chance (the most frequent class's share)."""
    return contrast(_accuracy(curve), _middle(curve), curve.get("n_test"), -curve["chance"])


def gain_with_distance(curve: Mapping, side: str) -> Number:
    """The accuracy won for every 10 ranks away from 50, on the ``side`` "left" or "right" of it.

    The slope of the least-squares line of accuracy against abs(centre - 50) / 10, a window at 50 included.
    Needs two windows on the side.
    """
    if side not in ("left", "right"):
        raise ValueError(f"side is {side!r}; give 'left' or 'right'")
    offset = (np.asarray(curve["centers"], np.float64) - 50) * (1 if side == "right" else -1) / 10
    inside = offset >= 0
    distance = np.where(inside, offset - offset[inside].mean() if inside.any() else 0, 0)
    if not distance.any():
        return UNKNOWN
    return contrast(_accuracy(curve), distance / (distance @ distance), curve.get("n_test"))


def symmetry_margin(curve: Mapping, share: float = 0.5) -> Number:
    """``share`` · depth minus abs(right - left) of the two outermost mirrored windows (5 and 95).

    The depth is their mean accuracy minus that of the window nearest to rank 50.

    Positive where the ends differ by less than that share of what they are above the middle; so never
    where there is no valley. With a half, the lower end keeps at least three quarters of the depth.
    """
    pairs = _mirrored(curve["centers"])
    if not pairs:
        return UNKNOWN
    accuracy, weights = _accuracy(curve), share * _depth(curve)
    left, right = pairs[0]
    sign = 1 if accuracy[right] >= accuracy[left] else -1
    weights[right] -= sign
    weights[left] += sign
    return contrast(accuracy, weights, curve.get("n_test"))


def nearer_to_half(curve: Mapping, zero: float, zero_interval=None) -> Number:
    """abs(m - zero) - abs(m - 50), in ranks: how much nearer the minimum m is to rank 50 than to ``zero``.

    m is the centre of the lowest window (the mean of several equal ones beside each other; of equal ones
    apart that for which it is least). The interval is over all places
    where the dip may lie, up to halfway from a window that may be the lowest (whose Wilson interval reaches
    down into that of the lowest) to the windows beside it, and over the rank of zero's own interval.
    Positive: the dip is at the middle of the pre-activations, not where the activation function has its
    threshold (I §5.2). Without a dip (:func:`has_dip`) there is no place: 0.
    """
    accuracy, centers = _accuracy(curve), np.asarray(curve["centers"], np.float64)
    known = np.isfinite(accuracy)
    if not known.any():
        return UNKNOWN
    order = np.argsort(centers[known])
    accuracy, centers = accuracy[known][order], centers[known][order]
    lowest = accuracy.min()
    if not has_dip(curve):
        return 0.0, None if curve.get("n_test") is None else (0.0, 0.0)

    def nearer(place, rank):
        return abs(place - rank) - abs(place - 50)

    equal = np.flatnonzero(accuracy == lowest)
    beside = np.split(equal, np.flatnonzero(np.diff(equal) > 1) + 1)
    value = float(min(nearer(centers[places].mean(), zero) for places in beside))
    if curve.get("n_test") is None or zero_interval is None:
        return value, None
    may_be = np.flatnonzero(_may_be_lowest(accuracy, curve["n_test"]))  # never an end: there is a dip
    halfway = (centers[1:] + centers[:-1]) / 2
    places = [halfway[i - 1] for i in may_be] + [halfway[i] for i in may_be]  # it is monotonic in between
    ends = [nearer(place, rank) for place in places for rank in (*zero_interval, zero)]
    return value, (float(min(value, *ends)), float(max(value, *ends)))


def has_dip(curve: Mapping) -> bool:
    """Whether a window curve has its minimum between its ends: neither the first nor the last window may be
    the lowest, as far as the test images tell (their Wilson intervals). Only then is there a place of it."""
    accuracy = _accuracy(curve)[np.argsort(curve["centers"])]
    accuracy = accuracy[np.isfinite(accuracy)]
    if len(accuracy) < 3:
        return False
    may_be = _may_be_lowest(accuracy, curve.get("n_test"))
    return not (may_be[0] or may_be[-1])


def _may_be_lowest(accuracy, n_test):
    """Of known accuracies, those whose Wilson interval reaches down into that of the lowest."""
    if n_test is None:
        return accuracy == accuracy.min()
    low, high = wilson_interval(accuracy, n_test)
    return low <= high[accuracy == accuracy.min()][0]


def _accuracy(curve):
    return np.array(curve["accuracy"], np.float64)  # None becomes NaN


def _kept(curve, found):
    """A (value, interval) of accuracies as a share of what the untouched network has above chance."""
    value, interval = found
    chance, baseline = curve["chance"], curve["baseline_accuracy"]
    if not baseline > chance:
        return UNKNOWN
    kept = share_kept(curve, value)
    if interval is None:
        return float(kept), None
    low, high = wilson_interval(baseline, curve["n_test"])
    if low <= chance:
        return float(kept), None
    bounds = [(bound - chance) / (base - chance) for bound in interval for base in (low, high)]
    return float(kept), (float(min(bounds)), float(max(bounds)))


def _middle(curve):
    """Weights (C,) of the mean over the windows nearest to rank 50."""
    away = np.abs(np.asarray(curve["centers"], np.float64) - 50)
    nearest = np.isclose(away, away.min())
    return nearest / nearest.sum()


def _depth(curve):
    """Weights (C,) of the outermost mirrored pair's mean minus the middle."""
    weights = -_middle(curve)
    weights[list(_mirrored(curve["centers"])[0])] += 0.5
    return weights


def _mirrored(places):
    """Indices (left, right) of places that mirror each other in 50, inside (0, 100); outermost first."""
    places = np.asarray(places, np.float64)
    found = []
    for left in np.argsort(places):
        right = np.flatnonzero(np.isclose(places, 100 - places[left]))
        if 0 < places[left] < 50 and right.size:
            found.append((int(left), int(right[0])))
    return found


def _right_minus_left(curve, places):
    pairs = _mirrored(curve[places])
    if not pairs:
        return UNKNOWN
    accuracy = _accuracy(curve)
    weights = np.zeros(len(accuracy))
    for left, right in pairs:
        weights[left] -= 1 / len(pairs)
        weights[right] += 1 / len(pairs)
    return contrast(accuracy, weights, curve.get("n_test"))
