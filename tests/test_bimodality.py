"""The bimodality coefficient: against its formula in loops, and at its landmarks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from keras_neuronlevel.statistics import bimodality

signs = st.one_of(st.just(math.nan), st.integers(-8, 8).map(lambda k: k / 8))


def by_loops(values):
    values = [float(v) for v in values if not math.isnan(v)]
    if len(values) < 4 or len(set(values)) < 2:
        return math.nan
    mean = sum(values) / len(values)
    second, third, fourth = (sum((v - mean) ** k for v in values) / len(values) for k in (2, 3, 4))
    skewness, kurtosis = third / second**1.5, fourth / second**2
    return (skewness**2 + 1) / kurtosis


@settings(max_examples=80, deadline=None, database=None)
@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=3, max_side=6), elements=signs))
def test_bimodality_is_sarles_formula(s):
    expected = [by_loops(s[:, u].ravel()) for u in range(s.shape[1])]
    np.testing.assert_allclose(bimodality(s), expected, rtol=1e-9)


def test_landmarks():
    rng = np.random.default_rng(0)
    two = np.where(np.arange(100) < 7, -1.0, 1.0)
    half = np.concatenate([np.repeat([-1.0, 1.0], 25_000), np.linspace(-1, 1, 50_000)])
    columns = np.stack([half, np.linspace(-1, 1, 100_000), rng.normal(size=100_000)], axis=1)
    assert bimodality(two[:, None]) == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(bimodality(columns), [20 / 27, 5 / 9, 1 / 3], rtol=0.02)
    np.testing.assert_allclose(bimodality(columns)[:2], [20 / 27, 5 / 9], rtol=1e-4)


def test_what_has_no_coefficient():
    s = np.array([[1, 0.5, np.nan], [1, -0.5, 1], [1, 0.5, -1], [1, np.nan, -1], [1, np.nan, 1]])
    found = bimodality(s)
    assert np.isnan(found[:2]).all() and found[2] == 1
    assert np.isnan(bimodality(np.full((9, 1), np.float32(0.1)))).all()
    with pytest.raises(ValueError, match="1 dimensions"):
        bimodality(np.zeros(3))
