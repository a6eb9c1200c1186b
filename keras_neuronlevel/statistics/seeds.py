"""What several seeds say together."""

from statistics import NormalDist
from typing import Any

import numpy as np

from keras_neuronlevel import checks

# The 0.975 quantiles of Student's t with 1 to 9 degrees of freedom.
T = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622)

# The range of a number on each scale.
RANGES = {"plain": (-np.inf, np.inf), "share": (0.0, 1.0), "correlation": (-1.0, 1.0)}


def interval_over_seeds(
    values: Any,
    intervals: Any,
    shared: bool = False,
    scale: str = "plain",
) -> tuple[float, float]:
    """The 95 % interval (low, high) of the mean of S numbers, one a seed, S ≥ 2, in their units.

    mean ∓ √(b² + w²), with b = t(S - 1) · std(values) / √S for what differs between seeds (Student's t, so
    that three seeds are not taken for more than they are: a percentile bootstrap over so few covers the mean
    in half to three quarters of the cases), and w for what each number leaves open of itself: the mean
    half-width of the seeds' own 95 % ``intervals`` (S, 2), NaN where one has none. It is divided by √S where
    those errors are independent (other neurons in each seed), and not where they are ``shared`` (all seeds
    are tested on the same images).

    Args:
        values: the numbers, (S,).
        intervals: the seeds' own, (S, 2).
        shared: whether all seeds share what their intervals leave open.
        scale: on which scale mean and deviation are taken, so that an interval stays where the quantity
            lives: "share" of numbers in [0, 1], log(x / (1 - x)); "correlation" of numbers in [-1, 1],
            Fisher's artanh; "plain" as they are. A half-width is divided by the scale's derivative. Where a
            value is at the end of its range the scale has no place for it: the plain one is taken, and cut.

    Raises:
        ValueError: for shapes that do not fit, fewer than two values, an unknown scale, or a value outside of
            the scale's range.
    """
    values, intervals = checks.reals("values", values), checks.reals("intervals", intervals)
    if values.ndim != 1 or len(values) < 2 or intervals.shape != (len(values), 2):
        raise ValueError(
            f"values have shape {values.shape} and intervals {intervals.shape}; give (S,) and (S, 2) of at "
            "least two seeds"
        )
    if scale not in RANGES:
        raise ValueError(f"scale is {scale!r}; give one of {', '.join(RANGES)}")
    least, most = RANGES[scale]
    if values.min() < least or values.max() > most:
        raise ValueError(f"a {scale} lies in [{least}, {most}]; the values are {values.tolist()}")
    widths = np.ptp(intervals, axis=1) / 2
    if scale == "plain" or values.min() == least or values.max() == most:
        low, high = _interval(values, widths, shared)
        return max(low, least), min(high, most)
    x = (values - least) / (most - least)  # artanh(r) is half the logit of (r + 1) / 2
    low, high = _interval(np.log(x / (1 - x)), widths / (most - least) / (x * (1 - x)), shared)
    low, high = (float(least + (most - least) / (1 + np.exp(-end))) for end in (low, high))
    return low, high


def _interval(values, widths, shared):
    root = np.sqrt(len(values))
    between = t_quantile(len(values) - 1) * values.std(ddof=1) / root
    within = np.nanmean(widths) if np.isfinite(widths).any() else 0.0
    half = np.hypot(between, within if shared else within / root)
    return float(values.mean() - half), float(values.mean() + half)


def t_quantile(degrees: int) -> float:
    """The 0.975 quantile of Student's t, by Fisher's expansion from 10 degrees of freedom on."""
    if degrees <= len(T):
        return T[degrees - 1]
    z = NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
