"""How far pre-activations keep the categories apart: against double loops and definitions."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from keras_neuronlevel import statistics
from keras_neuronlevel.statistics import HIGH, LOW

quick = settings(max_examples=60, deadline=None, database=None)
shapes = array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=7)
tied = st.integers(-3, 3).map(float)


@st.composite
def pairs(draw):
    shape = draw(shapes)
    p = draw(arrays(np.float64, shape, elements=tied))
    return p, draw(arrays(np.int8, shape, elements=st.integers(-1, 1)))


def neuron(values, u):
    """The values of one neuron as a list, positions pooled."""
    return [float(v) for v in values[:, u].ravel()]


def loop_auc(p, c):
    high = [v for v, kind in zip(p, c, strict=True) if kind == HIGH]
    low = [v for v, kind in zip(p, c, strict=True) if kind == LOW]
    if not (high and low):
        return math.nan
    won = sum(1.0 if h > w else 0.5 if h == w else 0.0 for h, w in itertools.product(high, low))
    return won / (len(high) * len(low))


def loop_rank(values, value):
    """Mean rank, 1 to M, of ``value`` among ``values``."""
    return sum(v < value for v in values) + (sum(v == value for v in values) + 1) / 2


@quick
@given(pairs())
def test_auc_counts_pairs(given_pairs):
    p, c = given_pairs
    expected = [loop_auc(neuron(p, u), neuron(c, u)) for u in range(p.shape[1])]
    np.testing.assert_allclose(statistics.auc(p, c), expected, rtol=1e-12)


@quick
@given(pairs(), st.sampled_from([0.0, 1.0, -0.5]))
def test_auc_by_side_counts_pairs_of_the_side(given_pairs, split):
    p, c = given_pairs
    above, below = statistics.auc_by_side(p, c, split, fewest=1)
    for u in range(p.shape[1]):
        both = list(zip(neuron(p, u), neuron(c, u), strict=True))
        for found, side in (
            (above, [x for x in both if x[0] > split]),
            (below, [x for x in both if x[0] < split]),
        ):
            expected = loop_auc([v for v, _ in side], [k for _, k in side])
            np.testing.assert_allclose(found[u], expected, rtol=1e-12)


def test_auc_by_hand_in_half_precision():
    p = np.array([[1, 0], [2, 0], [2, 0], [3, 0]], np.float16)
    c = np.array([[LOW, LOW], [LOW, LOW], [HIGH, HIGH], [HIGH, HIGH]])
    np.testing.assert_array_equal(statistics.auc(p, c), [3.5 / 4, 0.5])
    np.testing.assert_array_equal(statistics.auc(-p, c), [0.5 / 4, 0.5])


def test_auc_is_unknown_without_a_category_or_with_too_few():
    p = np.arange(4.0)[:, None]
    assert np.isnan(statistics.auc(p, np.full((4, 1), HIGH)))
    assert np.isnan(statistics.auc(p, np.zeros((4, 1), int)))
    c = np.array([[LOW], [LOW], [LOW], [HIGH]])
    assert statistics.auc(p, c) == 1 and np.isnan(statistics.auc(p, c, fewest=2))


def test_infinite_values_are_the_largest_and_nan_has_no_rank():
    c = np.array([[LOW], [HIGH], [LOW], [HIGH]])
    p = np.array([[-np.inf], [0.0], [np.inf], [np.inf]])
    assert statistics.auc(p, c) == loop_auc(neuron(p, 0), neuron(c, 0)) == 0.625
    with pytest.raises(ValueError, match="1 of 4 pre-activations are NaN"):
        statistics.auc(np.where(p == 0, np.nan, p), c)


@quick
@given(pairs())
def test_midranks_are_mean_ranks(given_pairs):
    p, _ = given_pairs
    found = statistics.midranks(p)
    for u in range(p.shape[1]):
        values = np.moveaxis(p, 1, -1)[..., u].ravel()
        np.testing.assert_array_equal(found[:, u], [loop_rank(values, v) for v in values])


@quick
@given(pairs(), st.integers(0, 99))
def test_rank_correlation_is_pearsons_of_mean_ranks(given_pairs, seed):
    a, _ = given_pairs
    b = np.random.default_rng(seed).integers(-3, 4, a.shape)
    found = statistics.rank_correlation(a, b)
    for u in range(a.shape[1]):
        x, y = ([loop_rank(neuron(v, u), w) for w in neuron(v, u)] for v in (a, b))
        mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
        covariance = sum((i - mean_x) * (j - mean_y) for i, j in zip(x, y, strict=True))
        scale = math.sqrt(sum((i - mean_x) ** 2 for i in x) * sum((j - mean_y) ** 2 for j in y))
        np.testing.assert_allclose(found[u], covariance / scale if scale else math.nan, rtol=1e-9, atol=1e-12)


def test_rank_correlation_of_maps():
    p = np.random.default_rng(0).normal(size=(40, 3))
    np.testing.assert_allclose(statistics.rank_correlation(p, np.exp(p) + 5), 1)
    np.testing.assert_allclose(statistics.rank_correlation(p, -p), -1)
    assert np.isnan(statistics.rank_correlation(p, np.zeros_like(p))).all()
    with pytest.raises(ValueError, match=r"\(40, 3\) and \(39, 3\)"):
        statistics.rank_correlation(p, p[1:])


@quick
@given(pairs(), st.sampled_from([0.1, 0.5, 1.0]), st.integers(0, 99))
def test_top_of_high_is_a_mean_of_percentile_ranks(given_pairs, share, seed):
    final, c = given_pairs
    early = np.random.default_rng(seed).integers(-3, 4, final.shape).astype(float)
    found = statistics.top_of_high(early, final, c, share)
    for u in range(final.shape[1]):
        before, after, kind = neuron(early, u), neuron(final, u), neuron(c, u)
        high = sorted((v for v, k in zip(after, kind, strict=True) if k == HIGH), reverse=True)
        if not high:
            assert np.isnan(found[u])
            continue
        least = high[math.ceil(share * len(high)) - 1]
        top = [b for b, v, k in zip(before, after, kind, strict=True) if k == HIGH and v >= least]
        ranks = [
            100 * (sum(v < b for v in before) + sum(v == b for v in before) / 2) / len(before) for b in top
        ]
        np.testing.assert_allclose(found[u], sum(ranks) / len(ranks), rtol=1e-12)


def test_top_of_high_does_not_move_under_a_translation():
    rng = np.random.default_rng(1)
    p, c = rng.normal(size=(50, 4)), rng.choice([HIGH, LOW], (50, 4))
    np.testing.assert_array_equal(statistics.top_of_high(p, p + 9, c), statistics.top_of_high(p, p, c))
    with pytest.raises(ValueError, match="shapes"):
        statistics.top_of_high(p[1:], p, c)


@quick
@given(pairs(), st.integers(1, 3))
def test_category_accuracy_counts_samples(given_pairs, fewest):
    p, c = given_pairs
    found = statistics.category_accuracy(p, c, fewest)
    for u in range(p.shape[1]):
        values = list(zip(neuron(p, u), neuron(c, u), strict=True))
        for name, side, right in (("above_zero", 1, HIGH), ("below_zero", -1, LOW)):
            kinds = [k for v, k in values if v * side > 0 and k != 0]
            expected = kinds.count(right) / len(kinds) if len(kinds) >= fewest else math.nan
            np.testing.assert_allclose(found[name][u], expected)
        assert found["share_above_zero"][u] == sum(v > 0 for v, _ in values) / len(values)
        defined = [(v, k) for v, k in values if k != 0]
        deciles = [[] for _ in range(10)]
        for v, k in defined:
            below = sum(w < v for w, _ in defined) + sum(w == v for w, _ in defined) / 2
            deciles[min(int(10 * below / len(defined)), 9)].append(k)
        for d, kinds in enumerate(deciles):
            majority = max(kinds.count(HIGH), kinds.count(LOW))
            expected = majority / len(kinds) if len(kinds) >= fewest else math.nan
            np.testing.assert_allclose(found["by_decile"][d, u], expected)


def test_category_accuracy_of_a_neuron_that_knows_the_upper_half():
    p = np.linspace(-1, 1, 200)[:, None]
    c = np.where(p > 0, HIGH, np.where(np.arange(200)[:, None] % 2, HIGH, LOW))
    found = statistics.category_accuracy(p, c)
    assert found["above_zero"] == 1 and found["below_zero"] == 0.5 and found["share_above_zero"] == 0.5
    np.testing.assert_array_equal(found["by_decile"][:, 0], [0.5] * 5 + [1] * 5)


def test_a_constant_neuron_fills_one_decile():
    found = statistics.category_accuracy(np.ones((30, 1)), np.full((30, 1), LOW))["by_decile"]
    assert np.flatnonzero(np.isfinite(found)).tolist() == [5]


@pytest.mark.parametrize("shape", [(3,), (0, 2), (2, 2, 2, 2)])
def test_shapes_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="shape|dimensions"):
        statistics.auc(np.zeros(shape), np.zeros(shape))


def test_categories_of_other_samples_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 2\) and categories \(2, 2\)"):
        statistics.auc(np.zeros((3, 2)), np.zeros((2, 2)))
