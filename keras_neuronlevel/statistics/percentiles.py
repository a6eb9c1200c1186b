"""Percentiles of pre-activations, per neuron: exact in memory, or streamed with a stated error.

Letters: N samples, P positions of a feature map, U neurons (channels, always the last axis), R ranks.
A neuron's distribution pools its samples and its positions: M = N · P values.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike

from keras_neuronlevel import checks


def columns(p: ArrayLike) -> np.ndarray:
    """Pre-activations (N, U) or (N, ..., U) as a matrix (M, U), M = N · P.

    Raises ``ValueError`` for an array that is empty or has no neuron axis, and for values that are not
    finite: a percentile of NaN would be NaN without a word.
    """
    p = np.asarray(p)
    if p.ndim < 2 or p.size == 0:
        raise ValueError(
            f"pre-activations have shape {p.shape}; give at least one sample, (N, U) or (N, ..., U), "
            "with the neurons on the last axis"
        )
    if not np.isfinite(p).all():
        wrong = ~np.isfinite(p)
        raise ValueError(
            f"{np.count_nonzero(wrong)} of {p.size} pre-activations are NaN or infinite (the first at "
            f"index {tuple(int(i) for i in np.argwhere(wrong)[0])}); check the network's weights and "
            "the scale of its images"
        )
    return p.reshape(-1, p.shape[-1])


def check_ranks(ranks: ArrayLike, what: str = "ranks") -> np.ndarray:
    """Percentile ranks as a float64 vector (R,). Raises ``ValueError`` for what is no number, outside
    [0, 100], and for none."""
    ranks = np.atleast_1d(checks.reals(what, ranks))
    if ranks.ndim != 1 or ranks.size == 0:
        raise ValueError(f"{what} have shape {ranks.shape}; give at least one rank, in one dimension")
    outside = ranks[~((ranks >= 0) & (ranks <= 100))]
    if outside.size:
        raise ValueError(
            f"{outside[0]:g} among the {what} is outside [0, 100]; percentile ranks are percentages, not "
            "fractions"
        )
    return ranks


def percentiles(p: ArrayLike, ranks: ArrayLike) -> np.ndarray:
    """The percentiles of every neuron's values: p (N, ..., U), ranks (R,) -> (R, U).

    The type is that of p, float64 where p holds whole numbers. Exact, by ``np.percentile``'s linear
    definition: the value at the fractional place rank / 100 · (M - 1) among the sorted values (I §5.1).
    """
    p, ranks = columns(p), check_ranks(ranks)
    dtype = p.dtype if np.issubdtype(p.dtype, np.floating) else np.float64
    result = np.empty((len(ranks), p.shape[1]), dtype)
    for u in range(p.shape[1]):
        result[:, u] = np.percentile(np.ascontiguousarray(p[:, u]), ranks)
    return result


def percentile_rank(p: ArrayLike, values: ArrayLike) -> np.ndarray:
    """The percentile rank of ``values`` (a scalar or (U,)) in each neuron's distribution -> (U,).

    100 · (#{p < value} + ½ #{p = value}) / M. Ties count half, so that a constant neuron has its own
    value at rank 50. Invariant under any increasing map of a neuron's values. Raises ``ValueError`` for
    values that are NaN: they have no rank.
    """
    p = columns(p)
    if np.isnan(values).any():
        raise ValueError("the values to be ranked hold NaN, which has no rank; give numbers")
    below = np.count_nonzero(p < values, axis=0)
    ties = np.count_nonzero(p == values, axis=0)
    return 100 * (below + 0.5 * ties) / len(p)


def percentile_rank_of_zero(p: ArrayLike) -> np.ndarray:
    """The percentile rank of pre-activation zero, per neuron: p (N, ..., U) -> (U,) (I Table 1)."""
    return percentile_rank(p, 0)


def streaming_percentiles(
    batches: Callable[[], Iterable], ranks: ArrayLike, *, bins: int = 4096
) -> np.ndarray:
    """:func:`percentiles` of values that do not fit in memory -> (R, U) float64.

    ``batches()`` gives, each time it is called, the same arrays (n, ..., U) one after the other. It is
    called twice: once for each neuron's range, once for a histogram of ``bins`` equal bins over it. The
    error of a percentile is at most one bin, (max - min) / ``bins`` of its neuron, plus the gap between
    two neighbouring values where the exact definition interpolates between them; ranks 0 and 100 are
    exact. Memory: U · ``bins`` counts.

    Raises ``ValueError`` for ranks outside [0, 100], no batches, values that are not finite, and where the
    second call gives another number of values, as an iterator that can be read only once does.
    """
    ranks, bins = check_ranks(ranks), checks.whole("bins", bins, least=1)
    if not callable(batches):
        raise ValueError(f"batches is {batches!r:.60}; give a function that gives the batches anew each time")
    low, high, seen = _ranges(batches)
    counts = _histograms(batches, low, high, bins)
    if counts[0].sum() != seen:
        raise ValueError(
            f"batches() gave {seen} values of each neuron at its first call and {counts[0].sum()} at its "
            "second; it must give the same ones anew each time it is called"
        )
    result = np.empty((len(ranks), len(low)))
    for u in range(len(low)):
        result[:, u] = _from_histogram(counts[u], low[u], high[u], ranks)
    return result


def _ranges(batches):
    """The least and the greatest value (U,) of each neuron, and how many it has."""
    low = high = None
    seen = 0
    for batch in batches():
        p = columns(batch)
        seen += len(p)
        least, most = p.min(axis=0), p.max(axis=0)
        low = least if low is None else np.minimum(low, least)
        high = most if high is None else np.maximum(high, most)
    if low is None or high is None:
        raise ValueError("there are no pre-activations at all; give at least one batch")
    return low.astype(np.float64), high.astype(np.float64), seen


def _histograms(batches, low, high, bins):
    """Counts (U, bins) of equal bins over [low, high] of each neuron; the last bin has both its ends."""
    units = len(low)
    scale = np.where(high > low, bins / np.where(high > low, high - low, 1), 0)
    counts = np.zeros(units * bins, np.int64)
    for batch in batches():
        places = ((columns(batch) - low) * scale).astype(np.int64).clip(0, bins - 1)
        places += np.arange(units) * bins
        counts += np.bincount(places.ravel(), minlength=units * bins)
    return counts.reshape(units, bins)


def _from_histogram(counts, low, high, ranks):
    """Values at the fractional places rank / 100 · (M - 1), counts spread evenly inside each bin."""
    total = counts.sum()
    edges = np.linspace(low, high, len(counts) + 1)
    places = ranks / 100 * (total - 1)
    before = np.concatenate([[0], np.cumsum(counts)])
    bin_ = np.searchsorted(before, places, side="right") - 1
    bin_ = np.minimum(bin_, len(counts) - 1)
    inside = (places + 0.5 - before[bin_]) / np.maximum(counts[bin_], 1)
    values = edges[bin_] + np.clip(inside, 0, 1) * (edges[bin_ + 1] - edges[bin_])
    return np.where(ranks == 0, low, np.where(ranks == 100, high, values))
