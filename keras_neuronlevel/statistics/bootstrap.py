"""Percentile bootstrap intervals of a statistic over neurons, seeds or any other first axis."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_neuronlevel import checks, streams

CHUNK = 2**22  # resampled values held at once


def bootstrap_interval(
    values: Any,
    statistic: Callable = np.mean,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile bootstrap interval (low, high) of ``statistic(values)``, in the values' units.

    ``values`` (n,) or (n, D) are drawn n at a time with replacement, ``resamples`` times, along the first
    axis; (low, high) are the (1 ∓ level) / 2 quantiles of the statistics found. ``statistic(array, axis=1)``
    takes (resamples, n) or (resamples, n, D). Values (rows) with a NaN are left out beforehand. The same
    seed gives the same interval.

    It says how much the statistic would vary over other neurons like these, from the same training. It
    takes the n values for independent, and is too narrow for n below about ten. With fewer than two values
    nothing is known about how much they vary: (nan, nan).
    """
    values = checks.reals("values", values)
    if values.ndim not in (1, 2):
        raise ValueError(f"values have shape {values.shape}; give (n,) or (n, D)")
    checks.number("level", level, above=0, below=1)
    resamples = checks.whole("resamples", resamples, least=1)
    values = values[~np.isnan(values).any(axis=tuple(range(1, values.ndim)))]
    if len(values) < 2:
        return np.nan, np.nan
    found = _resampled(values, statistic, resamples, streams.generator(seed, "bootstrap"))
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled(values, statistic, resamples, rng):
    rows = max(1, CHUNK // values.size)
    sizes = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    chosen = (rng.integers(0, len(values), (size, len(values))) for size in sizes)
    return np.concatenate([statistic(values[places], axis=1) for places in chosen])
