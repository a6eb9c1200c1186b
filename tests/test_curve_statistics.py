"""Curves in one number each: by hand, and their intervals against the worst case of their parts."""

import itertools
import math

import numpy as np
import pytest

from keras_neuronlevel.statistics import curves

TEN, FIVE, THREE = tuple(range(5, 96, 10)), (5, 25, 50, 75, 95), (5, 50, 95)


def quantization(accuracy, ranks=range(0, 101, 10), **more):
    return {"ranks": list(ranks), "accuracy": list(accuracy), "baseline_accuracy": 0.9, "chance": 0.1, **more}


def window(accuracy, centers=TEN, **more):
    return {
        "centers": list(centers),
        "accuracy": list(accuracy),
        "baseline_accuracy": 0.9,
        "chance": 0.1,
        **more,
    }


CURVE = quantization([0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.9, 0.7, 0.4, 0.1])


def valley(centers, slope=0.004, tilt=0.0):
    return [0.5 + slope * abs(c - 50) + tilt * (c - 50) for c in centers]


@pytest.mark.parametrize("n", [1, 7, 1000])
def test_wilsons_bounds_solve_its_equation(n):
    """The bounds are the fractions whose own normal interval just reaches what was found."""
    for correct in {0, 1, n // 2, n}:
        found = correct / n
        for bound in curves.wilson_interval(found, n):
            distance = 1.959963984540054 * math.sqrt(bound * (1 - bound) / n)
            assert abs(abs(found - bound) - distance) < 1e-9
    assert curves.wilson_interval(0, n)[0] == 0 and curves.wilson_interval(1, n)[1] == 1


def test_wilson_by_hand():
    low, high = curves.wilson_interval(0, 10)
    assert low == 0 and high == pytest.approx(1.959964**2 / (10 + 1.959964**2))
    assert curves.wilson_interval(0.8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


def test_wilson_refuses_an_empty_test_set():
    with pytest.raises(ValueError, match="n_test is 0"):
        curves.wilson_interval(0.5, 0)


def test_contrast_is_the_worst_case_of_its_parts():
    accuracy, weights = [0.9, 0.5, 0.7, math.nan], [1, -2, 0.5, 0]
    value, (low, high) = curves.contrast(accuracy, weights, 200, 0.25)
    ends = [curves.wilson_interval(a, 200) for a in accuracy[:3]]
    sums = [
        0.25 + sum(w * e for w, e in zip(weights, some, strict=False)) for some in itertools.product(*ends)
    ]
    assert value == pytest.approx(0.9 - 1.0 + 0.35 + 0.25)
    assert (low, high) == (pytest.approx(min(sums)), pytest.approx(max(sums)))
    assert curves.contrast(accuracy, weights, None) == (pytest.approx(0.25), None)
    assert math.isnan(curves.contrast([math.nan], [1], 10)[0])


def test_quantization_by_hand():
    assert curves.best_kept(CURVE) == (1.0, None)
    assert curves.preference_for_high_ranks(CURVE)[0] == pytest.approx((2.9 - 1.7) / 4)


def test_what_is_kept_is_bounded_by_both_accuracies():
    kept, (low, high) = curves.best_kept(quantization([0.8], [50], n_test=1000))
    best, untouched = curves.wilson_interval(0.8, 1000), curves.wilson_interval(0.9, 1000)
    every = [(b - 0.1) / (u - 0.1) for b in best for u in untouched]
    assert kept == pytest.approx(0.875)
    assert (low, high) == (pytest.approx(min(every)), pytest.approx(max(every)))
    assert curves.best_kept(CURVE | {"n_test": 3, "baseline_accuracy": 0.2}) == (pytest.approx(8), None)
    assert curves.best_kept(CURVE | {"baseline_accuracy": 0.1}) == curves.UNKNOWN


def test_preference_takes_mirrored_ranks_alone():
    some = quantization([0.2, 0.9, 0.3, 0.6, 0.8], [10, 20, 50, 90, 100])
    assert curves.preference_for_high_ranks(some)[0] == pytest.approx(0.4)
    assert curves.preference_for_high_ranks(quantization([0.2, 0.9], [10, 50])) == curves.UNKNOWN


def test_missing_accuracies_are_unknown_where_they_matter():
    some = quantization([None, 0.5, None, 0.7], [10, 40, 50, 60])
    assert curves.preference_for_high_ranks(some)[0] == pytest.approx(0.2)
    assert curves.best_kept(quantization([None], [10])) == curves.UNKNOWN


def test_rank_of_zero():
    spread = {"mean": 60.0, "std": 8.0, "neurons": 65}
    mean, (low, high) = curves.zero_rank({"zero_rank": spread})
    assert mean == 60 and (low, high) == (pytest.approx(58.04, abs=1e-3), pytest.approx(61.96, abs=1e-3))
    assert curves.zero_rank({"zero_rank": spread | {"neurons": 1}}) == (60.0, None)
    assert curves.zero_rank({"zero_rank": {"mean": 60.0, "std": 8.0}}) == (60.0, None)
    assert curves.zero_rank({}) == curves.UNKNOWN


@pytest.mark.parametrize(("centers", "inner"), [(TEN, 5), (FIVE, 0), (THREE, 0)])
def test_a_symmetric_valley(centers, inner):
    curve = window(valley(centers), centers)
    depth = 0.004 * (45 - inner)
    assert curves.margin_over_chance(curve)[0] == pytest.approx(0.4 + 0.004 * inner)
    assert curves.symmetry_margin(curve)[0] == pytest.approx(depth / 2)
    for side in ("left", "right"):
        assert curves.gain_with_distance(curve, side)[0] == pytest.approx(0.04)


@pytest.mark.parametrize("centers", [TEN, FIVE, THREE])
def test_a_slope_is_no_valley(centers):
    curve = window(valley(centers, slope=0, tilt=0.005), centers)
    away = [c - 50 for c in centers if c > 50]
    assert curves.symmetry_margin(curve)[0] == pytest.approx(-0.01 * max(away))
    assert curves.gain_with_distance(curve, "left")[0] == pytest.approx(-0.05)
    assert curves.gain_with_distance(curve, "right")[0] == pytest.approx(0.05)


def test_gain_is_the_least_squares_slope():
    accuracy = np.random.default_rng(0).uniform(0.3, 0.9, 5)
    curve = window(accuracy, FIVE)
    for side, places in (("left", [2, 1, 0]), ("right", [2, 3, 4])):
        distance = [abs(FIVE[i] - 50) / 10 for i in places]
        slope = np.polyfit(distance, accuracy[places], 1)[0]
        assert curves.gain_with_distance(curve, side)[0] == pytest.approx(slope)


@pytest.mark.parametrize("inner", [(0.6, 0.8), (0.7, 0.7)])
def test_symmetry_is_that_of_the_ends(inner):
    """The lower end keeps 0.2 of a depth of 0.3: less than three quarters; what lies inside takes no part."""
    curve = window([0.9, inner[0], 0.5, inner[1], 0.7], FIVE)
    assert curves.symmetry_margin(curve)[0] == pytest.approx(0.5 * 0.3 - 0.2)
    curve["accuracy"][-1] = 0.8  # 0.3 of 0.35
    assert curves.symmetry_margin(curve)[0] == pytest.approx(0.5 * 0.35 - 0.1)


def test_window_numbers_have_the_test_sets_interval():
    curve = window(valley(TEN), n_test=10_000)
    value, (low, high) = curves.margin_over_chance(curve)
    assert low < value < high and high - low < 0.05
    assert curves.margin_over_chance(curve | {"n_test": 100})[1][0] < low


def test_curves_without_the_places():
    one = window([0.5], [50])
    assert curves.symmetry_margin(one) == curves.UNKNOWN
    assert curves.preference_for_high_ranks(one | {"ranks": [50]}) == curves.UNKNOWN
    assert curves.gain_with_distance(one, "left") == curves.UNKNOWN
    assert curves.gain_with_distance(window([0.5, 0.6], [85, 95]), "left") == curves.UNKNOWN
    with pytest.raises(ValueError, match="side is 'up'"):
        curves.gain_with_distance(one, "up")


def test_how_much_nearer_the_dip_is_to_half_than_to_zero():
    """By brute force over every window that the images cannot tell from the lowest."""
    rng, with_dip = np.random.default_rng(3), 0
    for n_test in (50, 1000, *(100_000,) * 9):
        accuracy, zero, ends = rng.uniform(0.4, 0.6, 10), 77.0, (75.0, 79.0)
        curve = window(accuracy, np.arange(5, 96, 10)) | {"n_test": n_test}
        value, (low, high) = curves.nearer_to_half(curve, zero, ends)
        top = curves.wilson_interval(accuracy.min(), n_test)[1]
        outer = [curves.wilson_interval(accuracy[i], n_test)[0] <= top for i in (0, -1)]
        assert curves.has_dip(curve) is not any(outer)
        if any(outer):
            assert (value, low, high) == (0, 0, 0)
            continue
        found = []
        for a, m in zip(accuracy, curve["centers"], strict=True):
            if curves.wilson_interval(a, n_test)[0] <= top:
                anywhere = np.linspace(m - 5, m + 5, 41)
                found += [abs(dip - z) - abs(dip - 50) for dip in anywhere for z in (*ends, zero)]
        lowest = curve["centers"][int(np.argmin(accuracy))]
        assert value == pytest.approx(abs(lowest - zero) - abs(lowest - 50))
        assert (low, high) == pytest.approx((min(found), max(found)))
        with_dip += 1
    assert 3 <= with_dip < 11


@pytest.mark.parametrize("backwards", [False, True])
def test_windows_far_apart_do_not_tell_where_the_dip_is(backwards):
    """It may lie anywhere up to halfway to the next windows: here between 37.5 and 62.5, zero within."""
    centers, accuracy = np.array([5, 25, 50, 75, 95]), np.array([0.99, 0.6, 0.55, 0.99, 0.99])
    if backwards:
        centers, accuracy = centers[::-1], accuracy[::-1]
    value, interval = curves.nearer_to_half(window(accuracy, centers) | {"n_test": 10_000}, 38, (37, 39))
    assert (value, interval) == (12, (pytest.approx(37.5 - 38 + 0.0 - 12.5 + 1), 13))


@pytest.mark.parametrize(
    ("accuracy", "n_test", "dip"),
    [
        ([0.9, 0.5, 0.9], None, True),
        ([0.5, 0.5, 0.9], None, False),  # an end equals the lowest
        ([0.9, 0.5, 0.4], None, False),
        ([0.501, 0.5, 0.9], 1000, False),  # the images cannot tell
        ([0.9, 0.5, 0.9], 1000, True),
        ([None, 0.5, 0.9], None, False),  # two are known
        ([0.9, 0.5], None, False),
    ],
)
def test_a_dip_is_lower_than_both_ends(accuracy, n_test, dip):
    centers = np.arange(5, 5 + 10 * len(accuracy), 10)
    curve = window(accuracy, centers) | {"n_test": n_test}
    assert curves.has_dip(curve) is dip
    backwards = window(accuracy[::-1], centers[::-1]) | {"n_test": n_test}
    assert curves.has_dip(backwards) is dip
    if not dip:
        assert curves.nearer_to_half(curve, 80.0, (79.0, 81.0))[0] == 0


def test_dips_at_the_boundaries():
    curve = window([0.9, 0.5, 0.5, 0.9], [35, 45, 55, 65]) | {"n_test": None}
    assert curves.nearer_to_half(curve, 80.0) == (30, None)  # of two equal windows the middle
    apart = [0.9, 0.5, 0.7, 0.8, 0.9, 0.9, 0.8, 0.7, 0.5, 0.9]
    curve = window(apart, list(range(5, 96, 10))) | {"n_test": None}
    assert curves.nearer_to_half(curve, 80.0) == (5 - 35, None)  # at 85, not at 15 (65 - 35), nor at 50
    curve = window([0.9, 0.5], [45, 50]) | {"n_test": 100_000}
    assert curves.nearer_to_half(curve, 50.0, (50.0, 50.0)) == (0, (0, 0))
    assert curves.nearer_to_half(window([None, None], [45, 55]), 80.0, (79.0, 81.0)) == curves.UNKNOWN


# What drawings share with the statistics ----------------------------------------------------------------


def test_the_share_kept_has_nothing_to_divide_by_at_chance():
    curve = {"chance": 0.25, "baseline_accuracy": 0.75, "accuracy": [0.25, 0.5, 1.0]}
    np.testing.assert_allclose(curves.share_kept(curve, curve["accuracy"]), [0, 0.5, 1.5])
    for baseline in (0.25, 0.1):
        assert np.isnan(curves.share_kept({**curve, "baseline_accuracy": baseline}, [0.3, 0.4])).all()


def test_the_first_of_equally_low_windows():
    assert curves.lowest_center({"centers": [5, 50, 95], "accuracy": [0.4, 0.2, 0.2]}) == 50
    assert curves.lowest_center({"centers": [5], "accuracy": [0.4]}) == 5
