"""What the signs of the activation derivatives say: the average sign s, categories, constancy.

Letters: N samples, U neurons, P positions, K classes. An array of average signs has shape (N, U) for a
dense layer and (N, U, P) for a feature map, whose positions are further activations of the same neuron.
"""

import numpy as np
from numpy.typing import ArrayLike

from keras_neuronlevel import checks
from keras_neuronlevel.samples import check_labels

LOW, HIGH, UNDEFINED = 1, -1, 0


def average_sign(sign_sum: np.ndarray, nonzero: np.ndarray) -> np.ndarray:
    """The mean over recordings of sign(∂L/∂a), exact zeros left out (E §3).

    s = sign_sum / nonzero, float32 in [-1, 1], of the shape of the arguments; NaN where every recording
    was zero. Raises ``ValueError`` where the two arrays cannot belong together.
    """
    sign_sum, nonzero = np.asarray(sign_sum), np.asarray(nonzero)
    if sign_sum.shape != nonzero.shape:
        raise ValueError(
            f"sign_sum has shape {sign_sum.shape} and nonzero {nonzero.shape}; they must be equal"
        )
    if (np.abs(sign_sum.astype(np.int64)) > nonzero).any():
        raise ValueError(
            "a sum of signs exceeds its number of nonzero recordings; the two arrays do not belong together"
        )
    s = np.full(sign_sum.shape, np.nan, np.float32)
    np.divide(sign_sum, nonzero, out=s, where=nonzero > 0, casting="unsafe")
    return s


def average_sign_counting_zeros(sign_sum: np.ndarray, recordings: int) -> np.ndarray:
    """The mean over all T recordings of sign(∂L/∂a), an exact zero counting as 0: float32 sign_sum / T.

    abs(s) = 1 says that the derivative was never zero and never changed its sign. Raises ``ValueError`` for
    fewer than one recording, or fewer than a sum needs.
    """
    recordings = checks.whole("recordings", recordings, least=1)
    return average_sign(sign_sum, np.full(np.shape(sign_sum), recordings))


def categories(s: np.ndarray) -> np.ndarray:
    """+1 'low' where s > 0 (activation should fall), -1 'high' where s < 0, 0 where undefined (E §4).

    Undefined is a pair whose every recording was zero (NaN) or whose signs balance exactly (s = 0). The
    result is int8 of the shape of s; the constants ``LOW``, ``HIGH``, ``UNDEFINED`` name its values.
    """
    s = np.asarray(s)
    return (s > 0).astype(np.int8) - (s < 0).astype(np.int8)


def category_balance(s: np.ndarray) -> np.ndarray:
    """The low share of each neuron, (U,): low / (low + high) over its samples and positions.

    NaN for a neuron without any defined pair. The papers find about one half (claim C2).
    """
    c = by_neuron(categories(s))
    low, high = (c == LOW).sum(axis=0), (c == HIGH).sum(axis=0)
    return ratio(low, low + high)


def sign_constancy(s: np.ndarray, threshold: float = 0.9) -> dict[str, np.ndarray]:
    """Shares of the defined pairs with |s| = 1 and with |s| > threshold, and the mean |s| (claims C1, C3).

    Returns ``{"constant", "above", "mean_abs", "defined"}``: three float64 arrays (U,), one value a neuron,
    over its samples and positions, NaN for a neuron without defined pairs; ``defined`` is the share of
    pairs that are. Raises ``ValueError`` for a threshold outside [0, 1].
    """
    threshold = checks.number("threshold", threshold, least=0, most=1)  # NumPy's would be of another type
    a = np.abs(by_neuron(np.asarray(s)))
    defined = np.isfinite(a)
    count = defined.sum(axis=0)
    total = np.where(defined, a, 0).sum(axis=0, dtype=np.float64)
    return {
        "constant": ratio((a == 1).sum(axis=0), count),
        "above": ratio((a > threshold).sum(axis=0), count),
        "mean_abs": ratio(total, count),
        "defined": count / max(len(a), 1),
    }


def class_consistency(s: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The share of each class's samples that fall in each neuron's low category, (U, K) (I Fig. 8).

    Counted over the defined pairs of the class, positions pooled; NaN where a class has none. Raises
    ``ValueError`` where labels do not fit the samples or lie outside [0, K).
    """
    c = categories(s)
    labels = check_labels(labels, len(c), checks.whole("num_classes", num_classes, least=1), "labels")
    share = np.full((c.shape[1], num_classes), np.nan)
    for k in range(num_classes):
        share[:, k] = category_balance(c[labels == k])
    return share


def consistency_histogram(share: np.ndarray, bins: int = 40) -> np.ndarray:
    """How many (neuron, class) pairs have a share in each of equal bins of [0, 1], int64 (B,) (I Fig. 8).

    A share on an edge counts in the bin above it, 1 in the last; NaN, a pair without any defined sign,
    nowhere. Raises ``ValueError`` for shares outside [0, 1] and for no bins.
    """
    bins = checks.whole("bins", bins, least=1)
    known = np.asarray(share, np.float64)
    known = known[~np.isnan(known)]
    if ((known < 0) | (known > 1)).any():
        raise ValueError(f"shares lie in [0, 1]; these lie in [{known.min():g}, {known.max():g}]")
    place = np.floor(np.round(known * bins, 9)).astype(int)  # 0.575 · 40 is 23, in float64 a little less
    return np.bincount(np.minimum(place, bins - 1), minlength=bins)


def by_neuron(values: np.ndarray) -> np.ndarray:
    """Values (N, U) as they are; (N, U, P) as (N · P, U), a neuron's positions being its own activations."""
    if values.ndim == 2:
        return values
    if values.ndim == 3:
        return np.moveaxis(values, 1, 2).reshape(-1, values.shape[1])
    raise ValueError(f"give values of shape (N, U) or (N, U, P); these have {values.ndim} dimensions")


def ratio(part: np.ndarray, whole: np.ndarray, fewest: int = 1) -> np.ndarray:
    """part / whole, NaN where the whole is less than ``fewest`` or nothing."""
    out = np.full(np.shape(whole), np.nan)
    return np.divide(part, whole, out=out, where=np.asarray(whole) >= max(fewest, 1))


def sign_histogram(s: ArrayLike, recordings: int) -> tuple[np.ndarray, np.ndarray]:
    """How many average signs lie in each bin of :func:`sign_edges`, int64 (B,), and the edges (I Fig. 5).

    NaN, a pair without a sign, counts nowhere.
    """
    s = np.asarray(s)
    return np.histogram(s[np.isfinite(s)], sign_edges(recordings))


def fair_sign_edges(edges: ArrayLike, recordings: int) -> np.ndarray:
    """Edges of bins of s, moved to midway between the values that s can take, float64 (B + 1).

    Of T recordings without a zero s is one of -1, -1 + 2/T, ..., 1. Bins [a, b) (the last with b) whose ends
    lie anywhere hold different numbers of these values: 21 equal bins over 41 values hold two each, the
    middle one only s = 0. With edges midway between values, widths are proportional to those numbers, so
    that counts divided by widths compare; no value changes its bin.

    Raises:
        ValueError: for no recording.
    """
    recordings = checks.whole("recordings", recordings, least=1)
    edges = np.asarray(edges, np.float64)
    # In float32, as s is: a value that equals an edge, up to rounding, stays on the side where it is counted.
    values = (np.arange(-recordings, recordings + 1, 2) / recordings).astype(np.float32)
    place = np.searchsorted(values, edges, side="left")
    place[-1] = np.searchsorted(values, edges[-1], side="right")
    return (2 * place - recordings - 1) / recordings


def sign_edges(recordings: int, bins: int = 21) -> np.ndarray:
    """Edges of bins of s that hold equally many of the values that s can take, float64.

    Of T recordings s has T + 1 values. One bin a value where there are at most 2 · ``bins``; else ``bins``,
    rounded to whole values symmetrically, so that they hold equally many but for one.
    """
    values = checks.whole("recordings", recordings, least=1) + 1
    bins = checks.whole("bins", bins, least=1)
    bins = values if values <= 2 * bins else bins
    first = np.round(np.arange(bins // 2 + 1) * values / bins)
    place = (
        np.concatenate([first, values - first[::-1]])
        if bins % 2
        else np.append(first[:-1], values - first[::-1])
    )
    return (2 * place - recordings - 1) / recordings
