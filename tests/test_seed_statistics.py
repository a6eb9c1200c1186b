"""Intervals over seeds: against simulation, against Student's t by numerical integration, and by hand."""

import math

import numpy as np
import pytest

from keras_neuronlevel.statistics import interval_over_seeds
from keras_neuronlevel.statistics.seeds import t_quantile

UNKNOWN = math.nan, math.nan


def t_probability(t, degrees):
    """The probability of at most t, by Simpson's rule over the density from 0 on."""
    x = np.linspace(0, t, 20_001)
    log = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - 0.5 * math.log(degrees * math.pi)
    density = np.exp(log - (degrees + 1) / 2 * np.log1p(x * x / degrees))
    weights = np.ones(len(x))
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    return 0.5 + (weights @ density) * (x[1] - x[0]) / 3


@pytest.mark.parametrize("degrees", [*range(1, 13), 20, 50])
def test_quantiles_of_t(degrees):
    assert t_probability(t_quantile(degrees), degrees) == pytest.approx(0.975, abs=2e-4)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_covers_the_mean_as_often_as_it_says(seeds):
    rng = np.random.default_rng(0)
    bounds = [interval_over_seeds(rng.normal(size=seeds), [UNKNOWN] * seeds) for _ in range(4000)]
    assert np.mean([low < 0 < high for low, high in bounds]) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("seeds", [2, 4])
def test_an_error_that_seeds_share_is_not_averaged_away(seeds):
    """Every seed has its own deviation, and all have that of the test set."""
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(4000):
        values = rng.normal(0, 0.3, seeds) + rng.normal()
        intervals = np.stack([values - 1.959964, values + 1.959964], axis=1)
        low, high = interval_over_seeds(values, intervals, shared=True)
        covered.append(low < 0 < high)
    assert np.mean(covered) >= 0.94


def test_by_hand():
    between = 4.3027 * 0.1 / math.sqrt(3)
    expected = math.hypot(between, 0.05 / math.sqrt(3))
    intervals = [(0.35, 0.45), (0.45, 0.55), (0.55, 0.65)]
    assert interval_over_seeds([0.4, 0.5, 0.6], intervals) == pytest.approx((0.5 - expected, 0.5 + expected))
    expected = math.hypot(between, 0.05)
    found = interval_over_seeds([0.4, 0.5, 0.6], [UNKNOWN, *intervals[1:]], shared=True)
    assert found == pytest.approx((0.5 - expected, 0.5 + expected))
    assert interval_over_seeds([0.4, 0.4], [UNKNOWN, UNKNOWN]) == (0.4, 0.4)


def test_scales_keep_an_interval_where_its_quantity_lives():
    """By hand: the plain interval of the transformed numbers, transformed back."""
    shares = [0.9, 0.97, 0.99]
    low, high = interval_over_seeds([math.log(x / (1 - x)) for x in shares], [UNKNOWN] * 3)
    expected = [1 / (1 + math.exp(-end)) for end in (low, high)]
    found = interval_over_seeds(shares, [UNKNOWN] * 3, scale="share")
    assert found == pytest.approx(expected) and 0 < found[0] < 0.9 < 0.99 < found[1] < 1
    assert interval_over_seeds(shares, [UNKNOWN] * 3)[1] > 1
    correlations = [-0.5, 0.9, 0.2]
    low, high = interval_over_seeds([math.atanh(r) for r in correlations], [UNKNOWN] * 3)
    found = interval_over_seeds(correlations, [UNKNOWN] * 3, scale="correlation")
    assert found == pytest.approx((math.tanh(low), math.tanh(high)))


@pytest.mark.parametrize(("scale", "to", "back"), [
    ("share", lambda x: np.log(x / (1 - x)), lambda z: 1 / (1 + np.exp(-z))),
    ("correlation", np.arctanh, np.tanh),
])  # fmt: skip
def test_a_seeds_own_interval_is_taken_to_the_scale(scale, to, back):
    """A small own error, against the same error transformed end by end."""
    value, half = 0.8, 1e-3
    found = interval_over_seeds([value] * 3, [(value - half, value + half)] * 3, scale=scale)
    width = (to(value + half) - to(value - half)) / 2 / math.sqrt(3)
    assert found == pytest.approx((back(to(value) - width), back(to(value) + width)), abs=1e-6)


def test_at_the_end_of_its_range_the_plain_scale_is_cut():
    low, high = interval_over_seeds([1.0, 0.9, 1.0], [UNKNOWN] * 3, scale="share")
    assert high == 1 and low == interval_over_seeds([1.0, 0.9, 1.0], [UNKNOWN] * 3)[0]
    assert interval_over_seeds([-1, -1], [UNKNOWN] * 2, scale="correlation") == (-1, -1)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="a share lies in .* the values are .0.5, 1.1"):
        interval_over_seeds([0.5, 1.1], [UNKNOWN] * 2, scale="share")
    with pytest.raises(ValueError, match="scale is 'odd'; give one of plain, share, correlation"):
        interval_over_seeds([0.5, 1.1], [UNKNOWN] * 2, scale="odd")
    with pytest.raises(ValueError, match=r"\(1,\) and intervals \(1, 2\).*at least two seeds"):
        interval_over_seeds([1], [UNKNOWN])
    with pytest.raises(ValueError, match=r"\(2,\) and intervals \(3, 2\)"):
        interval_over_seeds([1, 2], np.zeros((3, 2)))
