"""What is injected in place of pre-activations: two values per neuron, or one bit (I §5.1, §5.2).

Letters: N samples, U neurons on the last axis, R ranks. Every function here is pure NumPy; the compiled
sweep uses the same definitions (``sides``, ``inside``) with tensors.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike

from keras_neuronlevel import checks
from keras_neuronlevel.statistics.percentiles import check_ranks, columns


def sides(p, thresholds, low, high, where: Callable = np.where):
    """``low`` where p < threshold, ``high`` elsewhere: a value *equal* to the threshold is high.

    p (N, ..., U); thresholds, low and high (U,). With ``where=tf.where`` it works on tensors.
    """
    return where(p < thresholds, low, high)


def inside(p, low, high):
    """Whether low <= p < high, element by element: p (N, ..., U), low and high (U,)."""
    return (p >= low) & (p < high)


def open_ends(thresholds: ArrayLike, ranks: ArrayLike) -> np.ndarray:
    """Thresholds (R, U) with those of rank 0 replaced by -inf and those of rank 100 by +inf.

    By definition every value lies above rank 0 and below rank 100, the extremes and values outside the
    calibration set's range included: quantization at rank 0 or 100 leaves one constant per neuron, and
    the windows 0-10, ..., 90-100 partition all values.
    """
    ranks = check_ranks(ranks)[:, None]
    return np.where(ranks == 0, -np.inf, np.where(ranks == 100, np.inf, thresholds)).astype(
        np.asarray(thresholds).dtype
    )


def side_means(p: ArrayLike, thresholds: ArrayLike) -> np.ndarray:
    """The mean of each side of each neuron's threshold: p (N, ..., U), thresholds (U,) -> low, high (U,).

    Means are taken in float64. An empty side gets the mean of the other one, so that a neuron whose
    threshold splits nothing (ranks 0 and 100, a constant neuron) has one value, whatever comes later.
    """
    p = np.asarray(p)
    return means_of_sides([p], _per_neuron(thresholds, p, "thresholds")[None])[:, 0]


def means_of_sides(batches: Iterable[np.ndarray], thresholds: ArrayLike) -> np.ndarray:
    """:func:`side_means` for R thresholds at once, from an iterable of batches -> (2, R, U), low, high."""
    thresholds = np.asarray(thresholds)
    counts = np.zeros((2, *thresholds.shape))
    sums = np.zeros((2, *thresholds.shape))
    for batch in batches:
        p = columns(batch)
        total = p.sum(axis=0, dtype=np.float64)
        for r, threshold in enumerate(thresholds):
            below = p < threshold
            low = np.where(below, p, 0).sum(axis=0, dtype=np.float64)
            n_low = np.count_nonzero(below, axis=0)
            counts[:, r] += n_low, len(p) - n_low
            sums[:, r] += low, total - low
    if not counts.any():
        raise ValueError("there are no pre-activations to take means of; give at least one sample")
    means = sums / np.maximum(counts, 1)
    means = np.where(counts > 0, means, means[::-1])
    return _between(means, thresholds, counts).astype(thresholds.dtype)


def _between(means, thresholds, counts):
    """Means kept on their own side of the threshold in spite of rounding: low < threshold <= high."""
    low, high = means
    both = (counts > 0).all(axis=0)
    low = np.where(both, np.minimum(low, np.nextafter(thresholds, -np.inf)), low)
    high = np.where(both, np.maximum(high, thresholds), high)
    return np.stack([low, high])


def quantize(p: ArrayLike, thresholds: ArrayLike) -> np.ndarray:
    """Each value replaced by the mean of its side of its neuron's threshold (I §5.1).

    p (N, ..., U), thresholds (U,) -> the same shape and type as p, at most two values per neuron. The low
    side is p < threshold; a value equal to the threshold is on the high side. Where one side is empty,
    or the neuron constant, its one value is the mean of all. Idempotent; keeps each side's mean.

    Raises ``ValueError`` for values that are not finite, and thresholds that are NaN or do not fit the
    neurons.
    """
    p = np.asarray(p)
    p = p if np.issubdtype(p.dtype, np.floating) else p.astype(np.float64)
    thresholds = _per_neuron(thresholds, p, "thresholds")
    low, high = side_means(p, thresholds)
    return sides(p, thresholds, low.astype(p.dtype), high.astype(p.dtype))


def window_ranks(centers: ArrayLike, width: float) -> np.ndarray:
    """The ranks (C, 2) at which the windows of the given centres begin and end.

    Raises ``ValueError`` unless 0 < width <= 100 and every window lies in [0, 100].
    """
    width = checks.number("width", width, above=0, most=100)
    centers = check_ranks(centers, "centers")
    # Ends that rounding left beside 0, 100 or each other are meant to be there.
    ranks = np.round(np.stack([centers - width / 2, centers + width / 2], axis=1), 9)
    for center, (start, stop) in zip(centers, ranks, strict=True):
        if not (start >= 0 and stop <= 100):
            raise ValueError(
                f"the window of width {width:g} round {center:g} is {start:g} to {stop:g}, outside "
                f"[0, 100]; centres go from {width / 2:g} to {100 - width / 2:g}"
            )
    return ranks


def _per_neuron(values, p, what):
    values = checks.reals(what, values).astype(p.dtype)
    if p.ndim and values.shape not in ((), p.shape[-1:]):
        raise ValueError(
            f"{what} have shape {values.shape}, but there are {p.shape[-1]} neurons on the last axis of "
            f"{p.shape}; give one per neuron"
        )
    if np.isnan(values).any():
        raise ValueError(f"{what} hold NaN, on no side of which any value lies; give numbers, -inf or inf")
    return np.broadcast_to(values, p.shape[-1:])
