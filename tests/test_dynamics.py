"""What the panels of single neurons show: against loops, with few neurons and positions recorded."""

import dataclasses
import json
import math

import keras
import numpy as np
import pytest

from keras_neuronlevel import dynamics, selection
from keras_neuronlevel.records import Records, RecordsError, RecordsWriter

SAMPLES = 60
STEPS = (0, 10, 30, 70, 200, 900)
UNITS, KEPT, SNAPPED = 9, [1, 3, 4, 7, 8], [3, 8]
PLACES, SNAPPED_PLACES = [2, 5, 9, 11], [5, 11]
SHAPES = {"dense-relu": (UNITS,), "map-sigmoid": (3, 4, UNITS)}


def true_values():
    """Signs (N, U[, 12]) and pre-activations (S, N, U[, 12]) of *all* units and positions."""
    rng = np.random.default_rng(1)
    signs, p = {}, {}
    for layer, shape in SHAPES.items():
        full = (SAMPLES, UNITS) if len(shape) == 1 else (SAMPLES, UNITS, 12)
        nonzero = rng.integers(0, 6, full)
        signs[layer] = rng.integers(-nonzero, nonzero + 1), nonzero
        p[layer] = np.cumsum(rng.normal(size=(len(STEPS), *full)), axis=0).astype(np.float16)
    return signs, p


@pytest.fixture
def records(tmp_path):
    chosen = selection.select(
        SHAPES,
        SAMPLES,
        selection.Keep(KEPT, PLACES),
        selection.Snapshots(neurons=SNAPPED, positions=SNAPPED_PLACES),
    )
    signs, p = true_values()
    writer = RecordsWriter(tmp_path / "r.h5")
    writer.create(chosen, np.zeros(SAMPLES, int), np.arange(SAMPLES), "float16", {})
    for i, recording in enumerate((0, 1, 3, 7, 20, 90)):
        dense, feature_map = p["dense-relu"][i][:, SNAPPED], p["map-sigmoid"][i][:, SNAPPED]
        writer.append_snapshot(
            recording, {"dense-relu": dense, "map-sigmoid": feature_map[..., SNAPPED_PLACES]}
        )
    kept = {
        "dense-relu": tuple(part[:, KEPT] for part in signs["dense-relu"]),
        "map-sigmoid": tuple(part[:, KEPT][..., PLACES] for part in signs["map-sigmoid"]),
    }
    table = [(10 * t, t // 40, t % 40, 2.0, t / 100) for t in range(91)]
    writer.finish(table, kept)
    with Records(tmp_path / "r.h5") as opened:
        yield opened


def pairs(layer, unit):
    """[(pre-activations at each snapshot, s or None), ...] of a neuron, by loops over what is true."""
    signs, p = true_values()
    places = [()] if layer == "dense-relu" else [(q,) for q in SNAPPED_PLACES]
    found = []
    for n in range(SAMPLES):
        for place in places:
            sign_sum, nonzero = (int(part[(n, unit, *place)]) for part in signs[layer])
            values = [float(p[layer][(i, n, unit, *place)]) for i in range(len(STEPS))]
            found.append((values, sign_sum / nonzero if nonzero else None))
    return found


def counted(values, edges):
    """Counts in bins [e_i, e_i+1), the last one with both ends, what lies beyond in the outermost."""
    counts = [0] * (len(edges) - 1)
    for value in values:
        bin_ = sum(edge <= value for edge in edges[1:-1])
        counts[bin_] += 1
    return counts


def panels(records, layer, unit, moments=None, bins=dynamics.BINS):
    return dynamics.panels(dynamics.read(records, layer, [unit])[0], moments, bins)


CASES = [(layer, unit) for layer in SHAPES for unit in SNAPPED]


@pytest.mark.parametrize(("layer", "unit"), CASES)
def test_panels_against_loops(layer, unit, records):
    found = panels(records, layer, unit, moments=[0, 2, 5], bins=7)
    truth = pairs(layer, unit)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["layer"], found["unit"], len(found["edges"])) == (layer, unit, 8)
    ranges = [np.percentile([v[m] for v, _ in truth], (0.1, 99.9)) for m in (0, 2, 5)]
    np.testing.assert_allclose(found["edges"][0], min(low for low, _ in ranges), rtol=1e-6)
    np.testing.assert_allclose(found["edges"][-1], max(high for _, high in ranges), rtol=1e-6)
    np.testing.assert_allclose(np.diff(found["edges"]), (found["edges"][-1] - found["edges"][0]) / 7)
    high_at_the_end = sorted((v[5] for v, s in truth if s is not None and s < 0), reverse=True)
    least = high_at_the_end[math.ceil(len(high_at_the_end) / 10) - 1]
    for moment, m in zip(found["moments"], (0, 2, 5), strict=True):
        low = [v[m] for v, s in truth if s is not None and s > 0]
        high = [v[m] for v, s in truth if s is not None and s < 0]
        top = [v[m] for v, s in truth if s is not None and s < 0 and v[5] >= least]
        assert moment["low"] == counted(low, found["edges"])
        assert moment["high"] == counted(high, found["edges"])
        assert moment["top"] == counted(top, found["edges"]) and sum(moment["top"]) >= 2
        above = [(h > l) + (h == l) / 2 for h in high for l in low]  # noqa: E741
        assert moment["auc"] == pytest.approx(sum(above) / len(above))
    assert found["undefined"] == sum(s is None or s == 0 for _, s in truth) > 0
    signs = [s for _, s in truth if s]
    assert found["low_share"] == pytest.approx(sum(s > 0 for s in signs) / len(signs))
    defined = [float(np.float32(s)) for _, s in truth if s is not None]
    assert found["average_sign"]["counts"] == counted(defined, found["average_sign"]["edges"])
    assert found["average_sign"]["undefined"] == len(truth) - len(defined)


def test_panels_say_when(records):
    found = panels(records, "dense-relu", 3, moments=[5, 3])
    assert [(m["recording"], m["step"], m["epoch"], m["accuracy"]) for m in found["moments"]] == (
        [(90, 900, 2, 0.9), (7, 70, 0, 0.07)]
    )
    default = panels(records, "dense-relu", 3)["moments"]
    assert [m["recording"] for m in default] == [
        records.snapshot_recordings[i] for i in dynamics.moments(records.snapshot_recordings)
    ]


def test_several_neurons_are_read_at_once_in_the_order_asked_for(records):
    both = dynamics.read(records, "map-sigmoid", [8, 3])
    assert [neuron.unit for neuron in both] == [8, 3]
    for neuron in both:
        truth = pairs("map-sigmoid", neuron.unit)
        assert neuron.p.T.tolist() == [values for values, _ in truth]
        np.testing.assert_allclose(neuron.s, [np.nan if s is None else s for _, s in truth], rtol=1e-6)


def test_a_neuron_without_snapshots_and_an_unknown_layer(records):
    with pytest.raises(ValueError, match="neuron 4 of dense-relu has no snapshots.*those that have are 3, 8"):
        panels(records, "dense-relu", 4)
    with pytest.raises(RecordsError, match="no layer 'dense3'"):
        panels(records, "dense3", 3)


@pytest.mark.parametrize("moments", [[], [6], [-1]])
def test_moments_that_are_none(moments, records):
    with pytest.raises(
        ValueError, match="give (indices of snapshots|a whole number at least 0 and at most 5)"
    ):
        panels(records, "dense-relu", 3, moments=moments)


LOG_SPACED = [0, 1, 3, 7, 16, 33, 68, 139, 282, 572, 1159, 2349]


@pytest.mark.parametrize(
    ("recordings", "count", "expected"),
    [
        (LOG_SPACED, 5, [0, 3, 6, 8, 11]),
        (LOG_SPACED, 12, list(range(12))),
        (LOG_SPACED, 50, list(range(12))),
        (LOG_SPACED, 2, [0, 11]),
        (LOG_SPACED, 1, [11]),
        (range(1000), 4, [0, 9, 99, 999]),  # 1, 10, 100, 1000 counted from 1
        ([4], 5, [0]),
        ([0, 1000, 1001, 1002], 3, [0, 1, 3]),  # none is taken twice
    ],
)
def test_moments_are_spread_in_the_logarithm(recordings, count, expected):
    assert dynamics.moments(recordings, count) == expected


def test_random_units_have_snapshots_and_come_from_the_seed(records):
    assert dynamics.random_units(records, "dense-relu", 5) == SNAPPED
    drawn = {dynamics.random_units(records, "dense-relu", 1, seed)[0] for seed in range(30)}
    assert drawn == set(SNAPPED)
    for layer in SHAPES:
        assert dynamics.random_units(records, layer, 1, 4) == dynamics.random_units(records, layer, 1, 4)


# One neuron by hand --------------------------------------------------------------------------------


def neuron(p, s, layer="dense-relu"):
    p = np.atleast_2d(np.asarray(p, np.float32))
    table = np.array(
        [(10 * t, t, 0, 1.0, 0.5) for t in range(len(p))],
        [("step", "i8"), ("epoch", "i4"), ("batch", "i4"), ("loss", "f8"), ("accuracy", "f8")],
    )
    return dynamics.Neuron(
        layer, 0, p, np.asarray(s, np.float32), np.arange(len(p)), table, layer.rsplit("-", 1)[-1]
    )


@pytest.mark.parametrize(
    ("final", "s", "share", "expected"),
    [
        (range(20), [-1] * 20, 0.1, [18, 19]),
        (range(20), [1] * 5 + [-1] * 10 + [1] * 5, 0.1, [14]),  # only 'high' counts
        (range(20), [-1] * 15 + [0, np.nan, 1, 1, 1], 0.2, [12, 13, 14]),
        ([1, 5, 5, 5, 2], [-1] * 5, 0.2, [1, 2, 3]),  # ties belong to it
        ([3, 1, 2], [-1] * 3, 0.1, [0]),  # rounded up
        ([3, 1, 2], [1] * 3, 0.1, []),
        ([np.nan, 1, 2, np.inf], [-1] * 4, 0.1, [3]),
    ],
)
def test_top_of_high(final, s, share, expected):
    early = np.zeros(len(s))
    assert np.flatnonzero(dynamics.top_of_high(neuron([early, final], s), share)).tolist() == expected


def test_outliers_are_in_the_outermost_bins():
    p = [*np.linspace(0, 1, 2000), 1000.0, -1000.0]
    found = dynamics.panels(neuron(p, [1.0] * 2002), bins=4)
    assert -0.01 < found["edges"][0] < 0.01 and 0.99 < found["edges"][-1] < 1.01
    assert sum(found["moments"][0]["low"]) == 2002 and sum(found["moments"][0]["high"]) == 0


def test_a_dead_neuron_has_one_bar():
    found = dynamics.panels(neuron([[0.25] * 6] * 2, [-1, 1, 1, 1, np.nan, 0]), bins=4)
    np.testing.assert_allclose(found["edges"], [-0.25, 0, 0.25, 0.5, 0.75])
    assert [m["low"] for m in found["moments"]] == [[0, 0, 3, 0]] * 2
    assert [m["top"] for m in found["moments"]] == [[0, 0, 1, 0]] * 2


def test_a_neuron_of_no_category_has_empty_panels():
    found = dynamics.panels(neuron([1, 2, 3], [np.nan, 0, np.nan]), bins=3)
    assert found["moments"][0]["low"] == found["moments"][0]["high"] == found["moments"][0]["top"] == [0] * 3
    assert found["undefined"] == 3 and found["low_share"] is None
    assert found["moments"][0]["auc"] is None


def test_one_sample():
    found = dynamics.panels(neuron([2.0], [-1]), bins=2)
    assert found["moments"][0]["high"] == found["moments"][0]["top"] == [0, 1]


def test_what_is_not_finite_is_left_out():
    found = dynamics.panels(neuron([[0, 1, 2, 3], [0, np.inf, np.nan, 3]], [-1, -1, -1, 1]), bins=3)
    assert [sum(m["high"]) for m in found["moments"]] == [3, 1]
    assert [m["auc"] for m in found["moments"]] == [0, 0]
    with pytest.raises(ValueError, match="every pre-activation of neuron 0 of dense-relu.*NaN or infinite"):
        dynamics.panels(neuron([np.nan, np.inf], [1, -1]))


# Subtask creation ----------------------------------------------------------------------------------


def share_by_loops(p, s, groups):
    kept = [(value, sign) for value, sign in zip(p, s, strict=True) if math.isfinite(value) and sign]
    ordered = sorted(value for value, _ in kept)
    edges = []
    for g in range(groups + 1):
        place = g / groups * (len(ordered) - 1)
        i = min(int(place), len(ordered) - 2)
        edges.append(ordered[i] + (place - i) * (ordered[i + 1] - ordered[i]))
    shares, pairs = [], []
    for g in range(groups):
        last = g == groups - 1
        inside = [s for v, s in kept if edges[g] <= v and (v < edges[g + 1] or last)]
        pairs.append(len(inside))
        shares.append(sum(s < 0 for s in inside) / len(inside) if inside else math.nan)
    return edges, shares, pairs


@pytest.mark.parametrize("decimals", [6, 1, 0])
def test_share_of_high_against_loops(decimals):
    rng = np.random.default_rng(decimals)
    p = rng.normal(size=333).round(decimals)
    s = rng.integers(-1, 2, 333)
    p[:3] = np.inf, -np.inf, np.nan
    found = dynamics.high_share_by_decile(p, s)
    edges, shares, pairs = share_by_loops(p, s, 10)
    np.testing.assert_allclose(found["decile_edges"], edges)
    np.testing.assert_allclose(found["high_share"], shares)
    assert found["decile_pairs"].tolist() == pairs and sum(pairs) == np.count_nonzero(s[3:])


def test_share_of_high_of_equal_values_and_of_none():
    found = dynamics.high_share_by_decile(np.ones(4), np.array([1, -1, 1, 1]))
    assert found["decile_pairs"].tolist() == [0] * 9 + [4]
    assert found["high_share"][-1] == 0.25 and np.isnan(found["high_share"][:-1]).all()
    found = dynamics.high_share_by_decile(np.ones(4), np.zeros(4, int))
    assert np.isnan(found["high_share"]).all() and found["decile_pairs"].tolist() == [0] * 10


def test_share_of_high_of_a_neuron_that_separates():
    p = np.arange(100.0)
    found = dynamics.high_share_by_decile(p, np.where(p < 50, 1, -1))
    assert found["high_share"].tolist() == [0] * 5 + [1] * 5
    assert found["decile_pairs"].tolist() == [10] * 10


@pytest.mark.parametrize(("layer", "unit"), CASES)
def test_subtask_is_of_the_last_snapshot(layer, unit, records):
    found = dynamics.subtask(dynamics.read(records, layer, [unit])[0], bins=6)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    truth = [(v[-1], s) for v, s in pairs(layer, unit)]
    assert (found["step"], found["activation"]) == (900, layer.split("-")[1])
    assert found["low"] == counted([v for v, s in truth if s and s > 0], found["edges"])
    assert found["high"] == counted([v for v, s in truth if s and s < 0], found["edges"])
    edges, shares, counts = share_by_loops(*zip(*[(v, s or 0) for v, s in truth], strict=True), 10)
    np.testing.assert_allclose(found["decile_edges"], edges, rtol=1e-6)
    np.testing.assert_allclose(found["high_share"], shares)
    assert found["decile_pairs"] == counts
    assert found["slope"]["p"][0] == found["edges"][0] and found["slope"]["p"][-1] == found["edges"][-1]
    np.testing.assert_array_equal(
        found["slope"]["value"], dynamics.activation_slope(found["activation"], found["slope"]["p"])
    )


@pytest.mark.parametrize(
    ("activation", "slope"),
    [
        ("relu", lambda p: (p > 0) * 1.0),
        ("linear", np.ones_like),
        ("sigmoid", lambda p: np.exp(-p) / (1 + np.exp(-p)) ** 2),
        ("tanh", lambda p: 1 - np.tanh(p) ** 2),
    ],
)
def test_the_slope_of_the_activation(activation, slope):
    p = np.linspace(-6, 6, 41)
    np.testing.assert_allclose(dynamics.activation_slope(activation, p), slope(p), atol=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "log_softmax", "sparsemax", "glu"])
def test_what_is_not_applied_element_by_element_has_no_slope(activation):
    for p in ([0.5], [-1.0, 0.0, 2.0]):
        with pytest.raises(ValueError, match=f"'{activation}' does not make of each pre-activation"):
            dynamics.activation_slope(activation, p)


def test_an_activation_that_keras_does_not_know():
    with pytest.raises(ValueError, match="activation 'phi' is not known to Keras"):
        dynamics.subtask(neuron([1, 2], [1, -1], layer="conv1-phi"))
    assert dynamics.subtask(neuron([1, 2], [1, -1], layer="conv1-phi"), "tanh")["activation"] == "tanh"


def test_the_slope_is_that_of_the_function_that_the_file_names(records):
    neuron = dataclasses.replace(dynamics.read(records, "dense-relu", [SNAPPED[0]])[0], activation="tanh")
    found = dynamics.subtask(neuron)
    p = np.array(found["slope"]["p"])
    assert found["activation"] == "tanh"
    np.testing.assert_allclose(found["slope"]["value"], 1 - np.tanh(p) ** 2, atol=1e-5)
    leaky = dataclasses.replace(neuron, activation="leaky_relu")
    with pytest.raises(ValueError, match="applies leaky_relu, and not with which options.*give activation="):
        dynamics.subtask(leaky)
    found = dynamics.subtask(leaky, lambda p: keras.ops.leaky_relu(p, negative_slope=0.25))
    p = np.array(found["slope"]["p"])
    np.testing.assert_allclose(np.array(found["slope"]["value"])[p < 0], 0.25)
