"""Statistics of average signs against triple loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_neuronlevel import statistics
from keras_neuronlevel.statistics import HIGH, LOW, UNDEFINED

VALUES = st.sampled_from([-1.0, -0.95, -0.9, -0.5, -0.0, 0.0, 0.25, 0.9, 0.91, 1.0, float("nan")])
SHAPES = st.one_of(
    st.tuples(st.integers(1, 6), st.integers(1, 4)),
    st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3)),
)
SIGNS = SHAPES.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=VALUES.map(np.float32)))
nan = float("nan")


def pairs(s, u, samples=None):
    """The values of neuron u: over samples and, in maps, positions."""
    for n in range(s.shape[0]) if samples is None else samples:
        yield from ([s[n, u]] if s.ndim == 2 else [s[n, u, p] for p in range(s.shape[2])])


def low_share(values):
    low = sum(v > 0 for v in values)
    high = sum(v < 0 for v in values)
    return low / (low + high) if low + high else nan


# average_sign --------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.sampled_from([-1, 0, 1]), min_size=6, max_size=6), min_size=1, max_size=9))
def test_average_sign_of_a_history(history):
    history = np.array(history)
    sign_sum, nonzero = history.sum(axis=0).astype(np.int16), (history != 0).sum(axis=0).astype(np.int16)
    found = statistics.average_sign(sign_sum.reshape(3, 2), nonzero.reshape(3, 2))
    assert found.dtype == np.float32
    for column, s in enumerate(found.ravel()):
        seen = [int(v) for v in history[:, column] if v]
        if seen:
            assert s == np.float32(sum(seen) / len(seen))
        else:
            assert np.isnan(s)


def test_constant_signs_give_exactly_one():
    counts = np.arange(1, 3001, dtype=np.int16)
    assert (statistics.average_sign(counts, counts) == 1).all()
    assert (statistics.average_sign(-counts, counts) == -1).all()


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=9))
def test_average_sign_that_counts_zeros_of_a_history(history):
    s = statistics.average_sign_counting_zeros(np.array([[sum(history)]], np.int16), len(history))
    assert s.dtype == np.float32 and s[0, 0] == np.float32(sum(history) / len(history))
    assert (abs(s[0, 0]) == 1) == (set(history) in ({1}, {-1}))


def test_a_derivative_that_is_always_zero_is_undefined_or_zero():
    nothing = np.zeros((1, 1), np.int16)
    assert np.isnan(statistics.average_sign(nothing, nothing))
    assert statistics.average_sign_counting_zeros(nothing, 4) == 0
    with pytest.raises(ValueError, match="a sum of signs exceeds"):
        statistics.average_sign_counting_zeros(np.array([[5]]), 4)
    with pytest.raises(ValueError, match="recordings"):
        statistics.average_sign_counting_zeros(nothing, 0)


def test_counts_beyond_float32_are_divided_exactly():
    n = 2**24 + 1
    found = statistics.average_sign(np.array([n, -n, n - 2]), np.array([n, n, n]))
    np.testing.assert_array_equal(found, np.array([1, -1, (n - 2) / n], np.float32))


def test_arrays_that_do_not_belong_together():
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        statistics.average_sign(np.zeros(2, int), np.zeros(3, int))
    with pytest.raises(ValueError, match="exceeds its number"):
        statistics.average_sign(np.array([-3]), np.array([2]))
    with pytest.raises(ValueError, match="exceeds"):  # |−32768| overflows int16
        statistics.average_sign(np.array([-32768], np.int16), np.array([5], np.int16))


# categories and balance ----------------------------------------------------------------------------


def test_categories_at_the_boundaries():
    tiny = np.nextafter(np.float32(0), np.float32(1))
    s = np.array([[1, tiny, 0, -0.0], [-tiny, -1, np.nan, 0.5]], np.float32)
    expected = [[LOW, LOW, UNDEFINED, UNDEFINED], [HIGH, HIGH, UNDEFINED, LOW]]
    found = statistics.categories(s)
    assert found.tolist() == expected and found.dtype == np.int8
    assert (LOW, HIGH, UNDEFINED) == (1, -1, 0)


@given(SIGNS)
def test_category_balance_against_loops(s):
    expected = [low_share(list(pairs(s, u))) for u in range(s.shape[1])]
    np.testing.assert_allclose(statistics.category_balance(s), expected, rtol=1e-12)


def test_balance_of_a_dead_neuron_is_undefined():
    s = np.array([[np.nan, 1], [np.nan, -1], [np.nan, 1], [0, 1]])
    np.testing.assert_array_equal(statistics.category_balance(s), [np.nan, 0.75])


# constancy -----------------------------------------------------------------------------------------


@given(SIGNS, st.sampled_from([0.0, 0.5, 0.9]))
def test_sign_constancy_against_loops(s, threshold):
    found = statistics.sign_constancy(s, threshold)
    assert set(found) == {"constant", "above", "mean_abs", "defined"}
    for u in range(s.shape[1]):
        everything = [float(v) for v in pairs(s, u)]
        known = [abs(v) for v in everything if not math.isnan(v)]
        assert found["defined"][u] == pytest.approx(len(known) / len(everything))
        if known:
            assert found["constant"][u] == pytest.approx(sum(v == 1 for v in known) / len(known))
            above = sum(np.float32(v) > np.float32(threshold) for v in known)
            assert found["above"][u] == pytest.approx(above / len(known))
            assert found["mean_abs"][u] == pytest.approx(sum(known) / len(known))
        else:
            assert np.isnan([found[name][u] for name in ("constant", "above", "mean_abs")]).all()


def test_the_threshold_itself_is_not_above():
    s = np.array([[0.5], [-0.5], [0.75], [-0.75]])
    assert statistics.sign_constancy(s, 0.5)["above"].tolist() == [0.5]


def test_default_threshold():
    s = np.array([[0.89], [-0.91], [1.0], [np.nan]])
    found = statistics.sign_constancy(s)
    assert found["above"][0] == pytest.approx(2 / 3) and found["constant"][0] == pytest.approx(1 / 3)


# class consistency ---------------------------------------------------------------------------------


@given(SIGNS, st.integers(1, 4), st.randoms(use_true_random=False))
def test_class_consistency_against_loops(s, classes, random):
    labels = np.array([random.randrange(classes) for _ in range(len(s))])
    found = statistics.class_consistency(s, labels, classes)
    assert found.shape == (s.shape[1], classes)
    for u in range(s.shape[1]):
        for k in range(classes):
            samples = [n for n in range(len(s)) if labels[n] == k]
            expected = low_share(list(pairs(s, u, samples)))
            np.testing.assert_allclose(found[u, k], expected, rtol=1e-12)


@given(st.lists(st.tuples(st.integers(0, 200), st.just(200)), max_size=20), st.sampled_from([1, 10, 40]))
def test_the_histogram_of_class_consistency_against_loops(shares, bins):
    """Every share is a fraction: its bin is found exactly, on the edges too."""
    expected = [0] * bins
    for part, whole in shares:
        expected[min(part * bins // whole, bins - 1)] += 1
    share = np.array([part / whole for part, whole in shares] + [nan])
    assert statistics.consistency_histogram(share, bins).tolist() == expected


def test_shares_outside_of_the_histogram_are_refused():
    assert statistics.consistency_histogram(np.full((2, 3), nan)).tolist() == [0] * 40
    for wrong in (-0.1, 1.1, np.inf):
        with pytest.raises(ValueError, match=r"shares lie in \[0, 1\]"):
            statistics.consistency_histogram(np.array([0.5, wrong]))


def test_one_sample_and_absent_classes():
    found = statistics.class_consistency(np.array([[0.2, -0.4, np.nan]]), np.array([1]), 3)
    np.testing.assert_array_equal(found, [[np.nan, 1, np.nan], [np.nan, 0, np.nan], [np.nan] * 3])


def test_one_class_is_the_balance():
    s = np.random.default_rng(0).uniform(-1, 1, (20, 5))
    found = statistics.class_consistency(s, np.zeros(20, int), 1)
    np.testing.assert_array_equal(found[:, 0], statistics.category_balance(s))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 1, 1], r"labels has shape \(3,\), but there are 2 samples"),
        ([0, 2], r"label 2 of sample 1 in labels is not in 0..1"),
        ([-1, 1], "label -1 of sample 0"),
    ],
)
def test_labels_that_do_not_fit(labels, words):
    with pytest.raises(ValueError, match=words):
        statistics.class_consistency(np.zeros((2, 3)), labels, 2)


@pytest.mark.parametrize("recordings", [1, 2, 5, 40, 41, 100, 1600, 2350])
def test_bins_of_signs_hold_equally_many_possible_values(recordings):
    edges = statistics.sign_edges(recordings)
    values = np.array([-1 + 2 * k / recordings for k in range(recordings + 1)])
    held = np.histogram(values, edges)[0]
    assert held.sum() == recordings + 1 and held.max() - held.min() <= 1
    np.testing.assert_array_equal(held, held[::-1])
    np.testing.assert_allclose(edges, -edges[::-1])
    assert (len(held) == recordings + 1) == (recordings + 1 <= 42)
    np.testing.assert_allclose(np.diff(edges) * recordings / 2, held)


@pytest.mark.parametrize("recordings", [*range(1, 64), 147, 273, 1600, 2350])
def test_fair_edges_move_no_value_and_are_as_wide_as_what_they_hold(recordings):
    given = np.linspace(-1, 1, 22)
    edges = statistics.fair_sign_edges(given, recordings)
    values = np.arange(-recordings, recordings + 1, 2) / recordings
    held = np.histogram(values.astype(np.float32), given)[0]  # as average signs are counted
    np.testing.assert_allclose(np.diff(edges) * recordings / 2, held, atol=1e-9)
    if recordings == 40:  # the false gap: two values in every bin but the middle one
        assert held.tolist() == [2] * 10 + [1] + [2] * 10
    with pytest.raises(ValueError, match="recordings"):
        statistics.fair_sign_edges(given, 0)
