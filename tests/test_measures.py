"""The numbers of finished runs, against loops."""

import numpy as np
import pytest

from keras_neuronlevel import files, results, selection, statistics
from keras_neuronlevel.protocol import measures
from keras_neuronlevel.records import Records, RecordsWriter

SAMPLES, LABELS = 120, np.arange(120) % 3


@pytest.fixture
def recorded(tmp_path):
    """A file of a dense layer and of a feature map, with snapshots of some neurons and positions."""
    rng = np.random.default_rng(4)
    shapes = {"dense-relu": (7,), "map-sigmoid": (2, 2, 5)}
    chosen = selection.select(
        shapes,
        SAMPLES,
        selection.Keep(
            {"dense-relu": [1, 2, 4, 5, 6], "map-sigmoid": [0, 2, 3, 4]}, {"map-sigmoid": [0, 2, 3]}
        ),
        selection.Snapshots(neurons=3, positions=2),
    )
    signs = {}
    for layer, shape in (("dense-relu", (SAMPLES, 5)), ("map-sigmoid", (SAMPLES, 4, 3))):
        nonzero = rng.integers(0, 5, shape)
        signs[layer] = (rng.integers(-nonzero, nonzero + 1), nonzero)
    writer = RecordsWriter(tmp_path / "r.h5")
    writer.create(chosen, LABELS, np.arange(SAMPLES), "float16", {})
    for recording in (0, 3, 5):
        dense, maps = rng.normal(size=(SAMPLES, 3)), rng.normal(size=(SAMPLES, 3, 2))
        maps[:, 1] = -np.abs(maps[:, 1])  # the one sigmoid neuron with all p negative
        writer.append_snapshot(recording, {"dense-relu": dense, "map-sigmoid": maps})
    writer.finish([(i, 0, i, 1.0, 0.5) for i in range(6)], signs)
    return tmp_path / "r.h5"


def test_derivative_metrics_are_those_of_loops(recorded):
    found = measures.derivative_metrics(recorded, 3)["map-sigmoid"]
    with Records(recorded) as records:
        s = records.average_sign("map-sigmoid")
    up_to, near, one_sided, ends, bins = [], [], [], [], [0] * 40
    for u in range(4):
        known = [(float(v), n % 3) for n in range(SAMPLES) for v in s[n, u] if np.isfinite(v)]
        up_to.append(np.mean([abs(v) <= 0.5 for v, _ in known]))
        signed = [(v > 0, k) for v, k in known if v != 0]
        near.append(0.4 <= np.mean([low for low, _ in signed]) <= 0.6)
        shares = [np.mean([low for low, k in signed if k == label]) for label in range(3)]
        for label in range(3):
            of_class = [low for low, k in signed if k == label]
            bins[min(40 * sum(of_class) // len(of_class), 39)] += 1
        ends.append(np.mean([share < 0.1 for share in shares]))
        one_sided.append(np.mean([share < 0.1 or share > 0.9 for share in shares]))
    assert found["up_to_0.5_share"]["mean"] == pytest.approx(np.mean(up_to))
    assert found["low_share_near_half"]["mean"] == np.mean(near)
    assert found["class_consistency"]["one_sided"]["mean"] == np.mean(one_sided)
    assert found["class_consistency"]["peaks"]["low"]["mean"] == np.mean(ends)
    assert found["class_consistency"]["histogram"] == bins
    assert found["class_consistency"]["undefined"] == 0 and found["class_consistency"]["pairs"] == 12
    values = [k / 6 for k in range(-6, 7, 2)]  # of six recordings without a zero, a bin each
    every = s[np.isfinite(s)]
    assert found["histogram"] == [sum(v - 1 / 6 <= one < v + 1 / 6 for one in every) for v in values]
    assert found["bimodality"]["mean"] == pytest.approx(statistics.bimodality(s).mean())
    expected = statistics.bootstrap_interval(np.array(up_to))
    assert found["up_to_0.5_share"]["interval"] == pytest.approx(list(expected))
    assert expected[0] < np.mean(up_to) < expected[1]
    results.check("derivatives", files.as_written(found))


def test_clipped_metrics_are_those_of_loops(recorded):
    found = measures.clipped_metrics(recorded)
    results.check("clipped", files.as_written(found["map-sigmoid"]))
    with Records(recorded) as records:
        sums, counts = records.sign_sum("map-sigmoid"), records.nonzero("map-sigmoid")
    expected = {"left_out": [], "counted": []}
    for u in range(sums.shape[1]):
        pairs = [(int(a), int(b)) for a, b in zip(sums[:, u].ravel(), counts[:, u].ravel(), strict=True)]
        left_out = [abs(total) / count for total, count in pairs if count]
        counted = [abs(total) / 6 for total, _ in pairs]  # of 6 recordings
        for name, a in (("left_out", left_out), ("counted", counted)):
            expected[name].append([np.mean([v == 1 for v in a]), np.mean([v > 0.9 for v in a]), np.mean(a)])
    for name, of_neurons in expected.items():
        numbers = [found["map-sigmoid"][name][key]["mean"] for key in
                   ("constant_share", "above_0.9_share", "mean_abs")]  # fmt: skip
        assert numbers == pytest.approx(np.mean(of_neurons, axis=0), rel=1e-6)
    assert found["map-sigmoid"]["left_out"]["constant_share"]["mean"] > 0
    assert found["map-sigmoid"]["nonzero_share"] == pytest.approx(counts.mean() / 6)
    assert found["map-sigmoid"]["undefined_share"] == pytest.approx((counts == 0).mean())
    assert found["map-sigmoid"]["recordings"] == 6


def test_pairs_that_were_often_nonzero_against_loops(recorded):
    found = measures.derivative_metrics(recorded, 3)["map-sigmoid"]
    with Records(recorded) as records:
        sums, counts = records.sign_sum("map-sigmoid"), records.nonzero("map-sigmoid")
        recordings = len(records.recordings)
    per_neuron, often, total = [], 0, 0
    for u in range(4):
        kept = [
            abs(int(total_) / int(count))
            for total_, count in zip(sums[:, u].ravel(), counts[:, u].ravel(), strict=True)
            if count >= recordings / 2
        ]
        per_neuron.append((np.mean(kept), np.mean([a > 0.9 for a in kept])))
        often, total = often + len(kept), total + sums[:, u].size
    assert 0 < often < total, "some pairs are often zero, and some are not"
    assert found["often_nonzero"]["share"] == pytest.approx(often / total)
    assert found["often_nonzero"]["mean_abs"]["mean"] == pytest.approx(np.mean(per_neuron, axis=0)[0])
    assert found["often_nonzero"]["above_0.9_share"]["mean"] == pytest.approx(np.mean(per_neuron, axis=0)[1])
    assert found["nonzero_share"] == pytest.approx(counts.mean() / recordings)


def matching_categories(records, layer):
    """The categories of the snapshots' neurons and positions, looked up one by one."""
    s = records.average_sign(layer)
    neurons = [list(records.neurons(layer)).index(n) for n in records.snapshot_neurons(layer)]
    if records.positions(layer) is None:
        return np.sign(np.nan_to_num(s[:, neurons]))
    places = [list(records.positions(layer)).index(p) for p in records.snapshot_positions(layer)]
    picked = np.stack([np.stack([s[:, n, p] for p in places], axis=-1) for n in neurons], axis=1)
    return np.sign(np.nan_to_num(picked))


@pytest.mark.parametrize("layer", ["dense-relu", "map-sigmoid"])
def test_dynamics_metrics_compare_the_same_neurons_and_positions(recorded, layer):
    found = measures.dynamics_metrics(recorded)[layer]
    with Records(recorded) as records:
        p, c = records.snapshots(layer), matching_categories(records, layer)
    assert found["recordings"] == [0, 3, 5] and found["neurons"] == 3
    auc = np.stack([statistics.auc(values, c) for values in p])
    top = np.stack([statistics.top_of_high(values, p[2], c) for values in p])
    for i in range(3):
        assert found["auc"][i]["mean"] == pytest.approx(auc[i].mean())
        assert found["top_of_high"][i]["mean"] == pytest.approx(top[i].mean())
        expected = statistics.rank_correlation(p[i], p[2]).mean()
        assert found["rank_correlation"][i]["mean"] == pytest.approx(expected)
    assert found["rank_correlation"][2]["mean"] == pytest.approx(1)
    assert found["change"]["auc"]["mean"] == pytest.approx((auc[2] - auc[0]).mean())
    assert found["change"]["auc"]["interval"] == list(statistics.bootstrap_interval(auc[2] - auc[0]))
    assert found["change"]["top_of_high"]["mean"] == pytest.approx((top[2] - top[0]).mean())
    ended, began = (statistics.top_of_high(values, p[0], c) for values in (p[2], p[0]))
    assert found["change"]["initial_top_of_high"]["mean"] == pytest.approx((ended - began).mean())
    results.check("dynamics", files.as_written(found))


def test_subtasks_of_the_last_snapshot(recorded):
    found = measures.dynamics_metrics(recorded)["dense-relu"]["subtask"]
    with Records(recorded) as records:
        p, c = records.snapshots("dense-relu")[-1], matching_categories(records, "dense-relu")
    above = [np.mean([c[n, u] < 0 for n in range(SAMPLES) if p[n, u] > 0 and c[n, u]]) for u in range(3)]
    below = [np.mean([c[n, u] > 0 for n in range(SAMPLES) if p[n, u] < 0 and c[n, u]]) for u in range(3)]
    assert found["activation"] == "relu" and found["all_negative"]["neurons"] == 0
    assert found["all_negative"]["separation_difference"]["mean"] is None
    assert found["accuracy_above_zero"]["mean"] == pytest.approx(np.mean(above))
    assert found["accuracy_below_zero"]["mean"] == pytest.approx(np.mean(below))
    assert found["difference"]["mean"] == pytest.approx(np.mean(above) - np.mean(below))
    assert found["share_above_zero"]["mean"] == pytest.approx(np.mean(np.asarray(p) > 0))
    assert len(found["accuracy_by_decile"]) == 10


def test_neurons_without_positive_pre_activations(recorded):
    found = measures.dynamics_metrics(recorded)["map-sigmoid"]["subtask"]
    with Records(recorded) as records:
        p, c = records.snapshots("map-sigmoid")[-1], matching_categories(records, "map-sigmoid")
    p, c = p[:, 1].astype(float).ravel(), c[:, 1].ravel()
    halves = [
        statistics.auc(p[side, None], c[side, None])[0] for side in (p > np.median(p), p < np.median(p))
    ]
    deciles = statistics.category_accuracy(p[:, None], c[:, None])["by_decile"][:, 0]
    negative = found["all_negative"]
    assert found["activation"] == "sigmoid" and negative["neurons"] == 1
    assert negative["separation_difference"]["mean"] == pytest.approx(halves[0] - halves[1])
    difference = np.mean(deciles[5:]) - np.mean(deciles[:5])
    assert np.isfinite(difference) and negative["accuracy_difference"]["mean"] == pytest.approx(difference)


def test_a_file_without_snapshots_has_no_dynamics(tmp_path):
    writer = RecordsWriter(tmp_path / "r.h5")
    writer.create(selection.select({"d": (2,)}, 3), np.zeros(3, int), np.arange(3), "float16", {})
    writer.finish([(0, 0, 0, 1.0, 0.5)], {"d": (np.zeros((3, 2), int), np.zeros((3, 2), int))})
    assert measures.dynamics_metrics(tmp_path / "r.h5") == {}
