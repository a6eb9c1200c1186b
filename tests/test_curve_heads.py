"""Curves of models that are no classifiers of one class a sample: metrics, tokens, several inputs."""

import json
import logging
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_neuronlevel import plots
from keras_neuronlevel.evaluation import Probe, Retrain, accuracy, quantization_curve, truncate, window_curve
from keras_neuronlevel.evaluation.readout import split_held_out

L = keras.layers
N = 40
QUICK = {"centers": [25, 75], "width": 50}


def model_of(units, activation=None, loss=None, shape=(6,)):
    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [keras.Input(shape), L.Dense(5, activation="relu", name="a"), L.Dense(units, activation=activation)]
    )
    if loss:
        model.compile("sgd", loss)
    return model


def data_of(y, *shape, seed=1):
    x = np.random.default_rng(seed).normal(size=(N, *(shape or (6,)))).astype(np.float32)
    return SimpleNamespace(x_train=x, y_train=y, x_test=x[:15], y_test=y[:15])


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=(N, *shape)).astype(np.float32)


def r_squared(y, output):
    """Of all samples together: no mean of what single samples or batches give."""
    return 1 - np.sum((y - output) ** 2) / np.sum((y - y.mean(axis=0)) ** 2)


def dense(layer, x):
    kernel, bias = (np.asarray(w, np.float64) for w in layer.get_weights())
    return x @ kernel + bias


def quantized_by_hand(model, x, rank, calibration):
    """The outputs (before their activation function), in NumPy."""
    first, last = model.layers
    p, reference = (dense(first, v.astype(np.float64)) for v in (x, calibration))
    for u in range(p.shape[-1]):
        values = reference[..., u].ravel()
        threshold = np.percentile(values, rank)
        low, high = values[values < threshold].mean(), values[values >= threshold].mean()
        p[..., u] = np.where(p[..., u] < threshold, low, high)
    return dense(last, np.maximum(p, 0))


def test_a_metric_is_of_all_samples_together_whatever_the_batches():
    model, data = model_of(2), data_of(numbers(2))
    options = {"ranks": [30, 60], "calibration": data.x_train, "metric": r_squared}
    curve = quantization_curve(model, "a-relu", data.x_test, data.y_test, **options)
    small = quantization_curve(model, "a-relu", data.x_test, data.y_test, batch_size=4, **options)
    for rank, score, other in zip(curve.ranks, curve.score, small.score, strict=True):
        expected = r_squared(data.y_test, quantized_by_hand(model, data.x_test, rank, data.x_train))
        assert score == pytest.approx(expected, rel=1e-4) and other == pytest.approx(expected, rel=1e-4)
    assert curve.baseline_score == pytest.approx(r_squared(data.y_test, model.predict(data.x_test)), rel=1e-5)
    assert np.isnan(curve.loss).all() and np.isnan(curve.chance)


def test_a_metric_is_never_called_accuracy():
    model, data = model_of(1), data_of(numbers())
    curve = quantization_curve(model, "a-relu", data.x_test, data.y_test, metric="mse")
    window = window_curve(model_of(1, loss="mse"), "a-relu", data, metric="mse", readout=Retrain(2), **QUICK)
    for one in (curve, window):
        found = json.loads(json.dumps(one.to_dict(), allow_nan=False))
        assert found["metric"] == "mse" and found["chance"] is None
        assert "score" in found and not any("accuracy" in key for key in found)
        with pytest.raises(AttributeError, match="score is mse, no accuracy"):
            _ = one.accuracy
        with pytest.raises(ValueError, match="score is mse"):
            (plots.accuracy_by_rank if one is curve else plots.accuracy_by_window)(None, one, "title")
    own = quantization_curve(model_of(3), "a-relu", data.x_test, np.arange(15) % 3)
    assert "metric" not in own.to_dict() and "accuracy" in own.to_dict() and "score" not in own.to_dict()
    assert repr(own).startswith("<QuantizationCurve of a-relu: accuracy ") and "\n" not in repr(own)
    assert repr(curve).startswith("<QuantizationCurve of a-relu: mse ") and "mse" in repr(window)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("mae", lambda y, o: np.mean(np.abs(y - o))),
        (keras.metrics.RootMeanSquaredError(), lambda y, o: np.sqrt(np.mean((y - o) ** 2))),
        (lambda y, o: y.shape[1] * o.shape[1], lambda y, o: 1),
    ],
)
def test_kinds_of_metrics(metric, expected):
    model, data = model_of(1), data_of(numbers())
    curve = quantization_curve(model, "a-relu", data.x_test, data.y_test, ranks=[50], metric=metric)
    by_hand = quantized_by_hand(model, data.x_test, 50, data.x_test)
    assert curve.score[0] == pytest.approx(expected(data.y_test[:, None], by_hand), rel=1e-4)


def test_a_metric_of_probabilities_is_warned_of_logits(caplog):
    y = (numbers(4) > 0).astype(int)
    for activation, warned in ((None, True), ("sigmoid", False)):
        caplog.clear()
        model = model_of(4, activation)
        quantization_curve(model, "a-relu", numbers(6), y, ranks=[50], metric="binary_accuracy")
        assert warned == any("takes probabilities" in record.getMessage() for record in caplog.records)


def test_a_metric_of_outputs_without_an_axis_of_their_own():
    inputs = keras.Input((6,))
    one = L.Dense(1)(L.Dense(5, activation="relu", name="a", dtype="mixed_bfloat16")(inputs))
    model, y = (
        keras.Model(inputs, L.Lambda(lambda z: tf.cast(z[:, 0], tf.bfloat16), dtype="bfloat16")(one)),
        numbers(),
    )
    curve = quantization_curve(model, "a-relu", numbers(6, seed=1), y, ranks=[50], metric="mse")
    outputs = np.asarray(model(numbers(6, seed=1)), np.float32)
    assert curve.baseline_score == pytest.approx(np.mean((outputs - y) ** 2), rel=1e-2)


def test_accuracy_of_tokens_is_their_mean():
    model, x = model_of(3, shape=(4, 6)), numbers(4, 6)
    y = np.random.default_rng(3).integers(0, 3, (N, 4))
    hits = model.predict(x, verbose=0).argmax(-1) == y
    assert accuracy(model, x, y) == pytest.approx(hits.mean(), rel=1e-12)
    by_hand = quantized_by_hand(model, x, 50, x)
    curve = quantization_curve(model, "a-relu", x, y, ranks=[50], batch_size=7)
    assert curve.score[0] == pytest.approx(np.mean(by_hand.argmax(-1) == y), rel=1e-12)
    assert curve.chance == pytest.approx(np.bincount(y.ravel()).max() / y.size)


def probabilities(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def of_squares(z, y):
    return (z - y) ** 2, 2 * (z - y)


def of_yes_or_no(z, y):
    a = 1 / (1 + np.exp(-z))
    return -(y * np.log(a) + (1 - y) * np.log(1 - a)), a - y


def of_classes(z, y):
    a, one_hot = probabilities(z), np.eye(z.shape[-1])[y]
    return -np.log((a * one_hot).sum(-1)), a - one_hot


HEADS = [
    ("regression", model_of, (1, None, "mse"), lambda: numbers(1), "mse", of_squares),
    (
        "labels",
        model_of,
        (4, "sigmoid"),
        lambda: (numbers(4) > 0).astype(int),
        "binary_accuracy",
        of_yes_or_no,
    ),
    (
        "tokens",
        model_of,
        (3, None, None, (4, 6)),
        lambda: np.arange(4 * N).reshape(N, 4) % 3,
        None,
        of_classes,
    ),
]


@pytest.mark.parametrize(("name", "make", "arguments", "labels", "metric", "own"), HEADS)
def test_a_readout_is_trained_with_the_models_own_loss(name, make, arguments, labels, metric, own):
    """One full-batch step of Adam on fresh weights against NumPy, then the score of the test images."""
    model, y = make(*arguments), labels()
    data, seen = data_of(y, *model.input_shape[1:]), {}
    readout = Retrain(epochs=1, batch_size=100, learning_rate=0.01)
    options = {"centers": [30], "width": 60, "metric": metric, "seed": 5}
    curve = window_curve(model, "a-relu", data, readout=readout, on_result=seen.__setitem__, **options)
    p = dense(model.layers[0], data.x_train)
    top = np.percentile(p.reshape(-1, p.shape[-1]), 60, axis=0)
    a = (p < top).astype(np.float64)  # the window 0 to 60; a ReLU leaves bits as they are
    train, held = split_held_out(N, 0.1, 5)
    fresh = truncate(model, "a-relu").fresh_suffix(5)
    weights, bias = (np.asarray(w, np.float64) for w in fresh.get_weights())
    losses, errors = own(a[train] @ weights + bias, y[train])
    assert seen["30/0"]["train_loss"] == pytest.approx(losses.mean(), rel=1e-4)
    flat = errors.reshape(-1, errors.shape[-1])
    weights -= 0.01 * np.sign(a[train].reshape(len(flat), -1).T @ flat)  # Adam's first step
    bias -= 0.01 * np.sign(flat.sum(0))
    after = own(a[held] @ weights + bias, y[held])[0].mean()
    assert seen["30/0"]["held_out_loss"] == pytest.approx(after, rel=1e-3)
    z = a[:15] @ weights + bias
    by_hand = {
        "regression": lambda: np.mean((z - y[:15]) ** 2),
        "labels": lambda: np.mean((z > 0) == y[:15]),
        "tokens": lambda: np.mean(z.argmax(-1) == y[:15]),
    }[name]()
    assert curve.score[0] == pytest.approx(by_hand, rel=1e-3)


def test_a_readout_with_a_metric_is_the_same_kept_and_computed_again():
    one, other = keras.Input((6,), name="one"), keras.Input((2,), name="other")
    keras.utils.set_random_seed(4)
    h = L.Concatenate()([L.Dense(5, activation="relu", name="a")(one), other])
    model = keras.Model({"one": one, "other": other}, [L.Dense(2, name="no")(h), L.Dense(1, name="size")(h)])
    model.compile("sgd", ["mse", "mae"])
    x = {"one": numbers(6), "other": numbers(2, seed=1)}
    few = {key: value[:9] for key, value in x.items()}
    data = SimpleNamespace(x_train=x, y_train=numbers(), x_test=few, y_test=numbers()[:9])
    options = {"metric": "mae", "output": "size", "readout": Retrain(3), "max_train_samples": 30}
    kept, again = (window_curve(model, "a-relu", data, in_memory=m, **options, **QUICK) for m in (2**20, 0))
    np.testing.assert_allclose(kept.score, again.score, rtol=1e-3)
    assert (kept.n_train, kept.n_test, kept.n_calibration) == (30, 9, 30)
    errors = np.abs(np.asarray(model(few)[1])[:, 0] - data.y_test)
    assert kept.original_score == pytest.approx(errors.mean(), rel=1e-5)


def test_probes_take_classes_whatever_the_model_answers():
    model, data = model_of(1), data_of(np.arange(N) % 3)
    curve = window_curve(model, "a-relu", data, readout=Probe(classes=3), **QUICK)
    same = model_of(3)
    for old, new in zip(same.layers[0].weights, model.layers[0].weights, strict=True):
        old.assign(new)
    np.testing.assert_array_equal(
        curve.score, window_curve(same, "a-relu", data, readout=Probe(), **QUICK).score
    )
    assert np.isnan(curve.original_score) and curve.metric == "accuracy"


def of_maps(data_format):
    """conv, φ, conv, φ, mean, logits on maps of 6 x 5 whose channels come first or last; the same weights."""
    keras.utils.set_random_seed(3)
    first = data_format == "channels_first"
    inputs = keras.Input((2, 6, 5) if first else (6, 5, 2))
    h = L.Conv2D(4, 3, activation="relu", data_format=data_format, name="a")(inputs)
    h = L.Conv2D(3, 2, activation="relu", data_format=data_format, name="b")(h)
    return keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D(data_format=data_format)(h)))


@pytest.mark.parametrize("readout", [Probe(grid=2), Retrain(2, batch_size=16)])
def test_where_channels_stand_makes_no_difference(readout):
    y, found = np.arange(N) % 3, []
    for data_format in ("channels_last", "channels_first"):
        data = data_of(y, 6, 5, 2)
        if data_format == "channels_first":
            data.x_train, data.x_test = (np.moveaxis(x, -1, 1) for x in (data.x_train, data.x_test))
        model = of_maps(data_format)
        quantized = quantization_curve(model, "a-relu", data.x_test, data.y_test, ranks=[30, 70])
        window = window_curve(model, "a-relu", data, readout=readout, **QUICK)
        losses = [fit["loss"] for fits in window.fits.values() for fit in fits]
        found.append([*quantized.loss, *quantized.zero_rank, *losses])
        assert truncate(model, "a-relu").shape == (4, 3, 4)
    np.testing.assert_allclose(*found, rtol=1e-3)


def test_what_does_not_suit_the_output_is_refused():
    y = numbers(4)
    regression, tokens = model_of(1), model_of(3, shape=(4, 6))
    masked = keras.Sequential(
        [
            keras.Input((4,)),
            L.Embedding(9, 6, mask_zero=True),
            L.Dense(5, activation="relu", name="a"),
            L.Dense(3),
        ]
    )
    words = np.ones((N, 4), int), np.ones((N, 4), int)
    for match, model, x, labels, options in (
        ("gives one number.*metric=", regression, numbers(6), numbers(), {}),
        ("metric= for curves", model_of(4, "sigmoid"), numbers(6), (y > 0).astype(int), {}),
        ("no Keras metric called 'badness'", regression, numbers(6), numbers(), {"metric": "badness"}),
        ("metric is 3; give a function", regression, numbers(6), numbers(), {"metric": 3}),
        (
            "gave shape .15,.; it must give one number",
            model_of(4),
            numbers(6),
            y,
            {"metric": lambda y, o: o[:, 0]},
        ),
        ("y has shape .40, 4., but the outputs have .40, 1.", regression, numbers(6), y, {"metric": "mse"}),
        ("labels of shape|one label each", tokens, numbers(4, 6), np.zeros(N), {}),
        ("are masked, of which a metric", masked, *words, {"metric": "sparse_categorical_accuracy"}),
        ("no output 'b'", model_of(3), numbers(6), np.zeros(N), {"output": "b"}),
    ):
        x = x[:15] if "15" in match else x
        with pytest.raises(ValueError, match=match):
            quantization_curve(model, "a-relu", x, labels[: len(x)], **options)
    for match, model, data, options in (
        (
            "learns one class for each sample, and mse",
            regression,
            data_of(y),
            {"metric": "mse", "readout": Probe()},
        ),
        ("a probe learns one class", tokens, data_of(words[0], 4, 6), {"readout": Probe()}),
        ("the model has 1 output; cross-entropy", regression, data_of(numbers()), {"metric": "mse"}),
        ("metric= to retrain", model_of(4, "sigmoid"), data_of(np.arange(N) % 4), {}),
        ("are masked, and a retrained", masked, data_of(words[0], 4), {}),
    ):
        with pytest.raises(ValueError, match=match):
            window_curve(model, "a-relu", data, **QUICK, **options)


def test_nothing_is_traced_again_and_again(caplog):
    keras.utils.set_random_seed(0)
    names = [f"layer{i}" for i in range(7)]
    model = keras.Sequential(
        [keras.Input((6,)), *(L.Dense(4, activation="relu", name=name) for name in names), L.Dense(3)]
    )
    data = data_of(np.arange(N) % 3)
    with caplog.at_level(logging.WARNING, logger="tensorflow"):
        tf.get_logger().propagate = True
        for name in names:
            quantization_curve(model, f"{name}-relu", data.x_test, data.y_test, ranks=[50])
        window_curve(model, "layer3-relu", data, readout=Retrain(1), repeats=4, **QUICK)
    assert not [r.getMessage() for r in caplog.records if "retracing" in r.getMessage()]
