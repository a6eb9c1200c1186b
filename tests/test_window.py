import itertools
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_neuronlevel import networks
from keras_neuronlevel.data.images import from_array
from keras_neuronlevel.evaluation import Probe, Retrain, truncate, window_curve
from keras_neuronlevel.evaluation.probing import Features
from keras_neuronlevel.evaluation.readout import (
    PlateauRule,
    make_evaluation,
    readout_training,
    split_held_out,
)
from keras_neuronlevel.evaluation.sources import pack, sources, unpack

QUICK = {"centers": [25, 75], "width": 50, "readout": Retrain(epochs=3, batch_size=16)}


def bits(p, reference, start, stop):
    """Window bits by loops over neurons and values."""
    out = np.zeros_like(p)
    for u in range(p.shape[-1]):
        low = -np.inf if start == 0 else np.percentile(reference[..., u].ravel(), start)
        high = np.inf if stop == 100 else np.percentile(reference[..., u].ravel(), stop)
        for i, value in np.ndenumerate(p[..., u]):
            out[(*i, u)] = 1.0 if low <= value < high else 0.0
    return out


def outputs(source, n):
    return [t.numpy() for t in tf.function(source)(tf.range(n))]


def test_packing_keeps_every_bit():
    rng = np.random.default_rng(0)
    p = rng.normal(size=(6, 3, 5)).astype(np.float32)
    low, high = np.full(5, -0.5), np.full(5, 0.7)
    packed = pack(p, low, high)
    assert packed.shape == (6, 2) and packed.dtype == np.uint8
    expected = ((p >= -0.5) & (p < 0.7)).astype(np.float32)
    np.testing.assert_array_equal(unpack(tf.constant(packed), (3, 5), "float32"), expected)


@pytest.mark.parametrize("in_memory", [0, 700, 2**20])
def test_sources_are_the_same_kept_and_computed_again(in_memory):
    model = networks.cifar_resnet("relu", filters=2, input_shape=(8, 8, 1), seed=0)
    truncation = truncate(model, "stage1layer1-relu")  # a skip connection crosses the cut
    x = np.random.default_rng(0).random((9, 8, 8, 1), np.float32)
    p, (skip,) = truncation.prefix(x)
    low, high = np.full(4, -0.1, np.float32), np.full(4, 0.2, np.float32)
    windows = [None, (low, high), (high, np.full(4, np.inf, np.float32))]
    found = list(itertools.chain(*sources(truncation, (x, x[:4]), windows, in_memory)))
    assert len(found) == 3
    inside = [p, (p >= -0.1) & (p < 0.2), p >= 0.2]
    for pair, expected in zip(found, inside, strict=True):
        for source, n in zip(pair, (9, 4), strict=True):
            q, crossing = outputs(source, n)
            np.testing.assert_allclose(q, np.asarray(expected, np.float32)[:n], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(crossing, skip[:n], rtol=1e-5, atol=1e-6)


def test_probe_curve_equals_its_twin(make_mlp, data):
    """Windows by loops, and the probe's problem solved by plain gradient descent in float64."""
    model = make_mlp()
    p = keras.Model(model.input, model.get_layer("dense1").output)
    p_train, p_test = (np.asarray(p(x), np.float64) for x in (data.x_train, data.x_test))
    curve = window_curve(model, "dense1-relu", data, centers=[20, 80], width=40, readout=Probe())
    for i, (start, stop) in enumerate([(0, 40), (60, 100)]):
        b_train, b_test = bits(p_train, p_train, start, stop), bits(p_test, p_train, start, stop)
        mean, std = b_train.mean(0), b_train.std(0)
        std[std == 0] = 1
        z, targets = (b_train - mean) / std, np.eye(3)[data.y_train]
        strength = curve.fits[f"{curve.centers[i]:g}"][0]["strength"]
        weights, bias = np.zeros((6, 3)), np.zeros(3)
        for _ in range(8000):
            scores = np.exp(z @ weights + bias)
            errors = (scores / scores.sum(1, keepdims=True) - targets) / len(z)
            weights -= 0.5 * (z.T @ errors + strength * weights)
            bias -= 0.5 * errors.sum(0)
        scores = (b_test - mean) / std @ weights + bias
        assert curve.accuracy[i] == np.mean(scores.argmax(1) == data.y_test)


def test_retrained_readout_equals_its_twin(make_mlp, data):
    """One full-batch step of Adam on fresh weights, against NumPy: p binarized goes through φ."""
    model = make_mlp("sigmoid", hidden=(6,))
    p = np.asarray(keras.Model(model.input, model.get_layer("dense1").output)(data.x_train), np.float64)
    seen = {}
    window_curve(
        model,
        "dense1-sigmoid",
        data,
        centers=[30],
        width=60,
        readout=Retrain(epochs=1, batch_size=100, learning_rate=0.01),
        seed=5,
        on_result=seen.__setitem__,
    )
    train, held = split_held_out(50, 0.1, 5)
    a = 1 / (1 + np.exp(-bits(p, p, 0, 60)))
    weights, bias = truncate(model, "dense1-sigmoid").fresh_suffix(5).get_layer("logits").get_weights()
    scores = np.exp(a[train] @ weights + bias)
    errors = (scores / scores.sum(1, keepdims=True) - np.eye(3)[data.y_train[train]]) / len(train)
    loss = -np.log((scores / scores.sum(1, keepdims=True))[range(len(train)), data.y_train[train]])
    assert seen["30/0"]["train_loss"] == pytest.approx(loss.mean(), rel=1e-5)
    weights -= 0.01 * np.sign(a[train].T @ errors)  # Adam's first step, away from zero gradients
    bias -= 0.01 * np.sign(errors.sum(0))
    scores = np.exp(a[held] @ weights + bias)
    after = -np.log((scores / scores.sum(1, keepdims=True))[range(len(held)), data.y_train[held]])
    assert seen["30/0"]["held_out_loss"] == pytest.approx(after.mean(), rel=1e-3)


def test_baseline_and_window_tell_what_is_there():
    """One neuron carries the class as the side of its median: outer windows know it, the middle not."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (4000, 1)).astype(np.float32)
    y = ((x[:, 0] > 0) ^ (rng.random(4000) < 0.05)).astype(np.int64)  # one label in 20 is wrong
    data = SimpleNamespace(x_train=x[:3000], y_train=y[:3000], x_test=x[3000:], y_test=y[3000:])
    inputs = keras.Input((1,))
    a = keras.layers.Activation("linear", name="phi")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(a))
    readout = Retrain(learning_rate=0.05, batch_size=256)
    curve = window_curve(model, "phi", data, centers=[25, 50, 75], width=50, readout=readout)
    assert curve.baseline_accuracy > 0.92
    assert curve.accuracy[0] > 0.92 and curve.accuracy[2] > 0.92
    assert curve.accuracy[1] < 0.6
    assert curve.converged
    assert {fit[0]["stopped_by"] for fit in curve.fits.values()} == {"plateau"}


def test_results_are_reproducible_resumable_and_leave_the_model(make_mlp, data):
    model = make_mlp(dropout=0.5)
    weights = model.get_weights()
    seen = {}
    curve = window_curve(model, "dense1-relu", data, repeats=2, seed=3, on_result=seen.__setitem__, **QUICK)
    assert set(seen) == {f"{name}/{r}" for name in ("baseline", "25", "75") for r in (0, 1)}
    done = json.loads(json.dumps({k: seen[k] for k in ("baseline/0", "25/0", "25/1", "75/1")}))
    anew = {}
    again = window_curve(
        model, "dense1-relu", data, repeats=2, seed=3, done=done, on_result=anew.__setitem__, **QUICK
    )
    assert set(anew) == {"baseline/1", "75/0"}
    np.testing.assert_array_equal(curve.repeats, again.repeats)
    np.testing.assert_array_equal(curve.baseline, again.baseline)
    assert anew["75/0"]["held_out_loss"] == pytest.approx(seen["75/0"]["held_out_loss"], rel=1e-6)
    assert seen["75/0"]["held_out_loss"] != seen["75/1"]["held_out_loss"]
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    plain = json.loads(json.dumps(curve.to_dict(), allow_nan=False))
    assert plain["accuracy"] == [np.mean(r) for r in curve.repeats] and not plain["converged"]
    assert plain["fits"]["25"][0]["stopped_by"] == "budget" and plain["fits"]["25"][0]["epochs"] == 3


def test_batch_norm_and_skips_are_retrained():
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(2, 3, padding="same")(inputs)
    y = keras.layers.Activation("relu", name="phi")(keras.layers.Conv2D(2, 3, padding="same")(x))
    x = keras.layers.Add()([x, keras.layers.BatchNormalization(name="norm")(y)])
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    rng = np.random.default_rng(0)
    x, y = rng.random((60, 4, 4, 1), np.float32), rng.integers(0, 3, 60)
    data = SimpleNamespace(x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    weights = model.get_weights()
    kept, recomputed = (
        window_curve(model, "phi", data, in_memory=m, max_train_samples=40, **QUICK) for m in (2**30, 0)
    )
    assert kept.n_train == 40 and kept.budget["epochs"] == 3
    losses = [[f[0]["held_out_loss"] for f in c.fits.values()] for c in (kept, recomputed)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_plateau_rule_by_hand():
    rule = PlateauRule(patience=2, decays=1, min_gain=0.1)
    losses = [1.0, 0.95, 0.89, 0.85, 0.88, 0.7, 0.69, 0.68]
    assert [rule(loss) for loss in losses] == ["go", "go", "go", "go", "decay", "go", "go", "stop"]


def test_plateau_rule_ends_where_the_loss_falls_for_ever():
    rule = PlateauRule(patience=1, decays=0)
    assert [rule(loss) for loss in (4e-4, 2e-4, 1.5e-4)] == ["go", "go", "stop"]


def test_held_out_split():
    train, held = split_held_out(50, 0.1, seed=0)
    assert len(held) == 5 and sorted([*train, *held]) == list(range(50))
    assert [len(part) for part in split_held_out(2, 0.01, 0)] == [1, 1]
    with pytest.raises(ValueError, match="too few"):
        split_held_out(1, 0.1, 0)


def test_a_readout_that_diverges_says_so(make_mlp, data):
    readout = Retrain(learning_rate=1e30, epochs=9)
    with pytest.raises(ValueError, match="lower the learning rate"):
        window_curve(make_mlp(), "dense1-relu", data, readout=readout)


def test_a_readout_that_did_not_learn_has_not_converged(make_mlp, data):
    readout = Retrain(learning_rate=1e-12, batch_size=16, patience=1, decays=0)
    curve = window_curve(make_mlp(), "dense1-relu", data, centers=[50], width=90, readout=readout)
    (fit,) = curve.fits["50"]
    assert fit["stopped_by"] == "plateau" and fit["held_out_loss"] == pytest.approx(fit["untrained_loss"])
    assert fit["converged"] is False and not curve.converged


def pooled(values, grid):
    """Means over grid × grid cells, (N, grid² · U), by loops: of a cell's columns first, then of those."""
    rows, columns = ([i * size // grid for i in range(grid + 1)] for size in values.shape[1:3])
    found = np.zeros((len(values), grid, grid, values.shape[-1]), np.float32)
    for n, i, j, u in np.ndindex(found.shape):
        cell = values[n, rows[i] : rows[i + 1], columns[j] : columns[j + 1], u]
        means = [np.float32(sum(column) / np.float32(len(column))) for column in cell.T]
        found[n, i, j, u] = np.float32(sum(means) / np.float32(len(means)))
    return found.reshape(len(values), -1)


@pytest.mark.parametrize(("layer", "grid"), [*(("conv1-phi", g) for g in (1, 2, 4)), ("dense1-relu", 1)])
def test_features_of_probes_are_exact(make_convnet, make_mlp, make_data, layer, grid, monkeypatch):
    """Bits to the last bit, whatever the batches. Those of dense layers are written as bits, feature maps are
    pooled before they are written: no more is on the disk than that."""
    monkeypatch.setattr("keras_neuronlevel.evaluation.probing.PROBE_BATCH", 7)
    monkeypatch.setattr("keras_neuronlevel.evaluation.sources.FORWARD_BATCH", 5)
    dense = layer.startswith("dense")
    model, data = (make_mlp(), make_data()) if dense else (make_convnet(), make_data((4, 5, 2)))
    truncation, x, y = truncate(model, layer), data.x_test, data.y_test
    p = np.asarray(truncation.prefix(x)[0])
    window = tuple(np.full(p.shape[-1], bound, np.float32) for bound in (-0.1, 0.2))
    values = p, ((p >= -0.1) & (p < 0.2)).astype(np.float32)
    means, bits = values if dense else (pooled(v, grid) for v in values)
    made = from_array(x, lambda image: image, x.shape[1:])
    for images in (x, made):
        with Features(truncation, [None, window], grid, images, y) as features:
            for number, expected in enumerate((means, bits)):
                found, labels = zip(*features.batches(number), strict=True)
                assert [len(part) for part in found] == [7, 7, 7, 2]
                np.testing.assert_array_equal(np.concatenate(labels), y)
                tolerance = {"rtol": 1e-5, "atol": 1e-6} if number == 0 else {"rtol": 0}
                np.testing.assert_allclose(np.concatenate(found), expected, **tolerance)
            sizes = [file.seek(0, 2) for file in features.files]
        assert sizes == [4 * means.size, len(x) if dense else 4 * bits.size]
        with pytest.raises(ValueError, match="closed file"):
            next(features.batches(0))


def test_a_readout_keeps_the_average_of_its_lowest_held_out_loss(make_mlp, data):
    """Its reported held-out loss is that of the weights it is left with."""
    truncation = truncate(make_mlp("sigmoid", dropout=0.5), "dense2-sigmoid")
    ((pair,),) = sources(truncation, (data.x_train, data.x_test), [None], 2**20)
    suffix = truncation.fresh_suffix(0)
    settings = Retrain(epochs=4, batch_size=8, learning_rate=0.05, average=0.5)
    report = readout_training(suffix, pair[0], data.y_train, settings, seed=0)(lambda: None)
    _, held = split_held_out(len(data.y_train), settings.held_out, 0)
    tally = make_evaluation(suffix, pair[0], tf.constant(data.y_train, tf.int64))(held)
    assert tally.mean_loss == pytest.approx(report["held_out_loss"], rel=1e-6)
    assert report["held_out_loss"] == min(report["last_held_out"])
