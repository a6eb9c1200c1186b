import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from keras_neuronlevel.statistics.percentiles import (
    percentile_rank,
    percentile_rank_of_zero,
    percentiles,
    streaming_percentiles,
)

quick = settings(max_examples=50, deadline=None, database=None)
RANKS = [0, 3, 10, 50, 90, 99.5, 100]
whole = st.integers(-20, 20).map(float)


def matrices(**options):
    shape = array_shapes(min_dims=2, max_dims=4, max_side=6)
    return arrays(np.float64, shape, elements=whole, **options)


@quick
@given(matrices())
def test_percentiles_are_numpys_for_each_neuron_over_samples_and_positions(p):
    for u in range(p.shape[-1]):
        expected = np.percentile(p[..., u].ravel(), RANKS)
        np.testing.assert_array_equal(percentiles(p, RANKS)[:, u], expected)


def test_percentiles_by_hand():
    p = np.array([[0.0, 5.0], [10.0, 5.0], [20.0, 5.0]])
    np.testing.assert_array_equal(percentiles(p, [0, 25, 50, 100]), [[0, 5], [5, 5], [10, 5], [20, 5]])


def test_percentiles_keep_float32_and_hit_the_extremes_exactly():
    p = np.random.default_rng(0).normal(size=(101, 4)).astype(np.float32)
    found = percentiles(p, [0, 100])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [p.min(0), p.max(0)])


@quick
@given(matrices(), st.lists(whole, min_size=1, max_size=1))
def test_ranks_are_the_same_under_increasing_maps(p, value):
    mapped = percentile_rank(np.exp(p / 7) * 3 - 5, np.exp(np.array(value) / 7) * 3 - 5)
    np.testing.assert_array_equal(mapped, percentile_rank(p, value[0]))


@quick
@given(matrices())
def test_rank_of_zero_equals_a_loop_over_values(p):
    expected = np.zeros(p.shape[-1])
    for u in range(p.shape[-1]):
        values = list(p[..., u].ravel())
        for value in values:
            expected[u] += 100 * (1.0 if value < 0 else 0.5 if value == 0 else 0.0) / len(values)
    np.testing.assert_allclose(percentile_rank_of_zero(p), expected, rtol=1e-12)


def test_rank_of_zero_at_the_boundaries():
    p = np.array([[0.0, 1.0, -1.0, -3.0], [0.0, 2.0, -2.0, 0.0]])
    np.testing.assert_array_equal(percentile_rank_of_zero(p), [50, 0, 100, 75])


@pytest.mark.parametrize("kind", ["normal", "heavy tails", "few values", "one constant neuron"])
def test_streaming_stays_within_its_stated_error(kind):
    rng = np.random.default_rng(1)
    p = rng.normal(size=(300, 7, 3)).astype(np.float32)
    if kind == "heavy tails":
        p = p**5
    if kind == "few values":
        p = np.round(p)
    if kind == "one constant neuron":
        p[..., 1] = 2.5
    bins = 512
    found = streaming_percentiles(lambda: np.array_split(p, 7), RANKS, bins=bins)
    exact = percentiles(p, RANKS)
    for u in range(3):
        values = np.sort(p[..., u].ravel())
        places = np.array(RANKS) / 100 * (len(values) - 1)
        gap = values[np.ceil(places).astype(int)] - values[np.floor(places).astype(int)]
        allowed = (values[-1] - values[0]) / bins + gap
        assert (np.abs(found[:, u] - exact[:, u]) <= allowed * (1 + 1e-5) + 1e-7).all()
    np.testing.assert_array_equal(found[[0, -1]], exact[[0, -1]])


def test_streaming_does_not_depend_on_the_batches():
    p = np.random.default_rng(2).normal(size=(50, 4))
    whole_, cut = (streaming_percentiles(lambda n=n: np.array_split(p, n), RANKS) for n in (1, 9))
    np.testing.assert_array_equal(whole_, cut)


def test_empty_and_not_finite_pre_activations_are_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        percentiles(np.ones((0, 3)), [50])
    with pytest.raises(ValueError, match=r"NaN or infinite.*index \(1, 0\)"):
        percentiles(np.array([[1.0], [np.nan]]), [50])
    with pytest.raises(ValueError, match="at least one batch"):
        streaming_percentiles(lambda: [], [50])


def test_whole_numbers_are_not_truncated():
    p = np.array([[0, 0], [1, 3]])
    found = percentiles(p, [25, 50])
    np.testing.assert_array_equal(found, [[0.25, 0.75], [0.5, 1.5]])
    assert percentiles(p.astype(np.float16), [50]).dtype == np.float16


def test_what_can_be_read_only_once_is_refused():
    once = iter([np.ones((4, 2)), np.zeros((3, 2))])
    with pytest.raises(ValueError, match="7 values of each neuron at its first call and 0 at its second"):
        streaming_percentiles(lambda: once, [50])


def test_a_value_that_is_nan_has_no_rank():
    with pytest.raises(ValueError, match="NaN, which has no rank"):
        percentile_rank(np.ones((2, 2)), [np.nan, 1])
