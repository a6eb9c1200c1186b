"""Percentile bootstrap intervals of a statistic over neurons, seeds or any other first axis."""

import numpy as np

CHUNK = 2**22  # resampled values held at once


def bootstrap_interval(values, statistic=np.mean, *, level=0.95, resamples=2000, seed=0):
    """The percentile bootstrap interval (low, high) of ``statistic(values)``, in the values' units.

    ``values`` (n,) or (n, D) are drawn n at a time with replacement, ``resamples`` times, along the first
    axis; (low, high) are the (1 ∓ level) / 2 quantiles of the statistics found. ``statistic(array, axis=1)``
    takes (resamples, n) or (resamples, n, D). Values (rows) with a NaN are left out beforehand. The same
    seed gives the same interval.

    It says how much the statistic would vary over other neurons like these, from the same training. It
    takes the n values for independent, and is too narrow for n below about ten. With fewer than two values
    nothing is known about their spread: (nan, nan).
    """
    values = np.asarray(values, np.float64)
    if values.ndim not in (1, 2):
        raise ValueError(f"values have shape {values.shape}; give (n,) or (n, D)")
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(
            f"level is {level} and resamples {resamples}; give a level between 0 and 1, at least one resample"
        )
    values = values[~np.isnan(values).any(axis=tuple(range(1, values.ndim)))]
    if len(values) < 2:
        return np.nan, np.nan
    found = _resampled(values, statistic, resamples, np.random.default_rng(seed))
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_difference(a, b, statistic=np.mean, **options):
    """The interval of ``statistic(a) - statistic(b)`` for paired values (n,) of the same neurons.

    Both are resampled with the same neurons, so what the two have in common takes no part in the width.
    Pairs with a NaN on either side are left out; ``options`` are :func:`bootstrap_interval`'s.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"paired values have shapes {a.shape} and {b.shape}; give two of shape (n,)")

    def difference(pairs, axis):
        return statistic(pairs[..., 0], axis=axis) - statistic(pairs[..., 1], axis=axis)

    return bootstrap_interval(np.stack([a, b], axis=1), difference, **options)


def _resampled(values, statistic, resamples, rng):
    rows = max(1, CHUNK // values.size)
    sizes = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    chosen = (rng.integers(0, len(values), (size, len(values))) for size in sizes)
    return np.concatenate([statistic(values[places], axis=1) for places in chosen])
