"""Bootstrap intervals: against a loop over the same draws, and all draws of a tiny sample."""

import itertools

import numpy as np
import pytest

from keras_neuronlevel.statistics import bootstrap_interval

VALUES = np.random.default_rng(3).exponential(size=17)


def quantiles(found, level=0.95):
    """The quantiles by hand: linear between the sorted values."""
    found = sorted(found)
    bounds = []
    for q in ((1 - level) / 2, (1 + level) / 2):
        place = q * (len(found) - 1)
        low = int(place)
        high = min(low + 1, len(found) - 1)
        bounds.append(found[low] + (place - low) * (found[high] - found[low]))
    return bounds


@pytest.mark.parametrize("statistic", [np.mean, np.median])
def test_interval_equals_a_loop_over_the_same_draws(statistic):
    rng = np.random.default_rng(11)
    chosen = rng.integers(0, len(VALUES), (300, len(VALUES)))
    loop = [float(statistic([VALUES[i] for i in row])) for row in chosen]
    found = bootstrap_interval(VALUES, statistic, resamples=300, seed=11, level=0.9)
    np.testing.assert_allclose(found, quantiles(loop, 0.9), rtol=1e-12)


def test_interval_comes_near_all_possible_draws():
    values = np.array([0.0, 1.0, 5.0, 6.0])
    every = [np.mean(draw) for draw in itertools.product(values, repeat=4)]
    found = bootstrap_interval(values, resamples=40_000, level=0.8)
    np.testing.assert_allclose(found, quantiles(every, 0.8), atol=0.26)  # the means lie 0.25 apart


def test_interval_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    bounds = [bootstrap_interval(rng.normal(size=60), resamples=400, seed=k) for k in range(300)]
    assert 0.9 < np.mean([low < 0 < high for low, high in bounds]) < 0.98


def test_interval_depends_on_its_seed_alone():
    assert bootstrap_interval(VALUES, seed=1) == bootstrap_interval(VALUES.copy(), seed=1)
    assert bootstrap_interval(VALUES, seed=1) != bootstrap_interval(VALUES, seed=2)


def test_chunks_change_no_draw(monkeypatch):
    whole = bootstrap_interval(VALUES, resamples=103)
    monkeypatch.setattr("keras_neuronlevel.statistics.bootstrap.CHUNK", 100)
    assert bootstrap_interval(VALUES, resamples=103) == whole


def test_nan_is_left_out_and_one_value_has_no_interval():
    with_nan = np.insert(VALUES, [0, 4], np.nan)
    assert bootstrap_interval(with_nan) == bootstrap_interval(VALUES)
    for few in ([], [2.0], [np.nan, 2.0]):
        assert np.isnan(bootstrap_interval(few)).all()
    assert bootstrap_interval([2.0, 2.0, 2.0]) == (2.0, 2.0)
