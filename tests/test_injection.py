import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from keras_neuronlevel.evaluation import (
    open_ends,
    quantize,
    side_means,
    window_ranks,
)
from keras_neuronlevel.evaluation.injection import inside, means_of_sides, sides
from keras_neuronlevel.statistics.percentiles import percentiles

quick = settings(max_examples=50, deadline=None, database=None)
whole = st.integers(-9, 9).map(float)
floats = st.floats(-1e3, 1e3, width=32)


@st.composite
def cases(draw, dtype=np.float64, elements=floats):
    p = draw(arrays(dtype, array_shapes(min_dims=2, max_dims=3, max_side=7), elements=elements))
    threshold = draw(arrays(dtype, p.shape[-1:], elements=elements))
    return p, threshold


@quick
@given(cases())
def test_quantize_equals_a_loop(case):
    p, thresholds = case
    found = quantize(p, thresholds)
    for u, threshold in enumerate(thresholds):
        values = p[..., u].ravel()
        low, high = values[values < threshold], values[values >= threshold]
        expected = [np.mean(low if value < threshold else high) for value in values]
        np.testing.assert_allclose(found[..., u].ravel(), expected, rtol=1e-12, atol=1e-9)


@quick
@given(cases())
def test_quantize_is_idempotent(case):
    p, thresholds = case
    once = quantize(p, thresholds)
    np.testing.assert_allclose(quantize(once, thresholds), once, rtol=1e-12, atol=1e-12)


@quick
@given(cases(np.float32))
def test_quantize_is_exactly_idempotent_in_float32(case):
    p, thresholds = case
    once = quantize(p, thresholds)
    assert once.dtype == np.float32
    np.testing.assert_array_equal(quantize(once, thresholds), once)


@quick
@given(cases())
def test_quantize_leaves_two_values_on_their_own_sides_and_keeps_their_means(case):
    p, thresholds = case
    found = quantize(p, thresholds)
    for u, threshold in enumerate(thresholds):
        before, after = p[..., u].ravel(), found[..., u].ravel()
        assert len(np.unique(after)) <= 2
        np.testing.assert_array_equal(before < threshold, after < threshold)
        for side in (before < threshold, before >= threshold):
            if side.any():
                np.testing.assert_allclose(after[side].mean(), before[side].mean(), rtol=1e-9, atol=1e-9)


def test_a_value_equal_to_the_threshold_is_on_the_high_side():
    p = np.array([[1.0], [2.0], [4.0]])
    np.testing.assert_array_equal(quantize(p, [2.0])[:, 0], [1, 3, 3])


def test_an_empty_side_and_a_constant_neuron_give_one_constant():
    p = np.array([[1.0, 7.0], [2.0, 7.0], [6.0, 7.0]])
    for thresholds in ([-np.inf, -np.inf], [np.inf, np.inf], [0.0, 7.0], [100.0, 7.5]):
        np.testing.assert_array_equal(quantize(p, thresholds), [[3, 7]] * 3)
        np.testing.assert_array_equal(side_means(p, thresholds), [[3, 7]] * 2)


@quick
@given(cases(elements=whole))
def test_ranks_0_and_100_put_everything_on_one_side(case):
    p, _ = case
    ranks = [0, 50, 100]
    thresholds = open_ends(percentiles(p, ranks), ranks)
    mean = np.broadcast_to(p.reshape(-1, p.shape[-1]).mean(0), p.shape)
    for end in (thresholds[0], thresholds[-1]):
        np.testing.assert_allclose(quantize(p, end), mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(thresholds[1], percentiles(p, [50])[0])


@quick
@given(cases(elements=whole), st.integers(1, 7))
def test_means_of_sides_do_not_depend_on_the_batches(case, size):
    p, threshold = case
    thresholds = np.stack([threshold, threshold + 1])
    pieces = [p[i : i + size] for i in range(0, len(p), size)]
    np.testing.assert_allclose(
        means_of_sides(pieces, thresholds), means_of_sides([p], thresholds), rtol=1e-12, atol=1e-12
    )


@quick
@given(cases(np.float32, whole))
def test_numpy_and_tensors_share_one_definition(case):
    p, threshold = case
    low, high = side_means(p, threshold)
    tensors = [tf.constant(v) for v in (p, threshold, low, high)]
    np.testing.assert_array_equal(sides(*tensors, where=tf.where), quantize(p, threshold))


@quick
@given(cases(elements=whole), st.sampled_from([5, 10, 25, 50, 100]))
def test_windows_partition_the_values(case, width):
    p, _ = case
    ranks = window_ranks(np.arange(width / 2, 100, width), width)
    bounds = open_ends(percentiles(p, ranks.ravel()), ranks.ravel()).reshape(len(ranks), 2, -1)
    total = sum(inside(p, low, high).astype(int) for low, high in bounds)
    np.testing.assert_array_equal(total, np.ones_like(p))
    beyond = np.stack([p.min((*range(p.ndim - 1),)) - 5, p.max((*range(p.ndim - 1),)) + 5])
    np.testing.assert_array_equal(sum(inside(beyond, *b).astype(int) for b in bounds), 1)


def test_a_window_holds_its_lower_bound_and_not_its_upper_one():
    p = np.array([[1.0], [2.0], [3.0], [4.0]], np.float32)
    np.testing.assert_array_equal(inside(p, [2.0], [4.0])[:, 0], [False, True, True, False])


@pytest.mark.parametrize("count", range(1, 51))
def test_windows_of_any_equal_width_partition_the_ranks(count):
    width = 100 / count
    ranks = window_ranks((np.arange(count) + 0.5) * width, width)
    assert ranks[0, 0] == 0 and ranks[-1, 1] == 100
    np.testing.assert_array_equal(ranks[1:, 0], ranks[:-1, 1])
    assert np.isinf(open_ends(np.zeros((2, 1)), [ranks[0, 0], ranks[-1, 1]])).all()


def test_window_ranks():
    np.testing.assert_array_equal(window_ranks([5, 50, 95], 10), [[0, 10], [45, 55], [90, 100]])
    with pytest.raises(ValueError, match="centres go from 5 to 95"):
        window_ranks([50, 3], 10)
    with pytest.raises(ValueError, match="centers have shape .*at least one"):
        window_ranks([], 10)


def test_wrong_shapes_and_values_are_refused():
    with pytest.raises(ValueError, match="one per neuron"):
        quantize(np.ones((3, 2)), [1.0, 2.0, 3.0])
    for call in (quantize, side_means):
        with pytest.raises(ValueError, match="hold NaN, on no side"):
            call(np.ones((3, 2)), [1.0, np.nan])
    with pytest.raises(ValueError, match="NaN or infinite"):
        quantize(np.array([[np.nan, 1.0]]), [0.0, 0.0])
    with pytest.raises(ValueError, match="at least one sample"):
        quantize(np.ones((0, 2)), [0.0, 0.0])
