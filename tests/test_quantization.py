import json

import keras
import numpy as np
import pytest

from keras_neuronlevel.evaluation import accuracy, calibration_subset, quantization_curve

RANKS = [0, 30, 50, 100]


def twin(net, layer, x, y, calibration, ranks):
    """The curve by loops over neurons, in float64: accuracies and losses."""
    chain = [name for name, _ in net.chain]
    before = chain[chain.index(layer) - 1]
    p_cal, p_test = net.values(calibration)[before], net.values(x)[before]
    accuracy, losses = [], []
    for rank in ranks:
        injected = np.zeros_like(p_test)
        for u in range(p_test.shape[-1]):
            values = p_cal[..., u].ravel()
            threshold = {0: -np.inf, 100: np.inf}.get(rank, np.percentile(values, rank))
            low, high = values[values < threshold], values[values >= threshold]
            low = low.mean() if len(low) else values.mean()
            high = high.mean() if len(high) else values.mean()
            injected[..., u] = np.where(p_test[..., u] < threshold, low, high)
        after = dict(net.chain)[layer](injected)
        wrong = np.stack([net.losses(after, layer, np.full(len(x), k)) for k in range(3)], axis=1)
        accuracy.append(np.mean(wrong.argmin(1) == y))
        losses.append(net.losses(after, layer, y).mean())
    return accuracy, losses


@pytest.mark.parametrize("layer", ["dense1-relu", "dense2-relu"])
def test_the_curve_equals_its_twin_on_an_mlp(make_mlp, data, numpy_net, layer):
    model = make_mlp()
    x, y = data.x_test, data.y_test
    curve = quantization_curve(model, layer, x, y, ranks=RANKS, calibration=data.x_train)
    accuracy, losses = twin(numpy_net(model), layer, x, y, data.x_train, RANKS)
    np.testing.assert_array_equal(curve.accuracy, accuracy)
    np.testing.assert_allclose(curve.loss, losses, rtol=1e-5)


@pytest.mark.parametrize("layer", ["conv1-phi", "conv2-phi"])
def test_the_curve_equals_its_twin_on_feature_maps(make_convnet, make_data, numpy_net, layer):
    model, data = make_convnet(), make_data((4, 5, 2))
    x, y = data.x_test, data.y_test
    curve = quantization_curve(model, layer, x, y, ranks=RANKS, calibration=data.x_train)
    accuracy, losses = twin(numpy_net(model), layer, x, y, data.x_train, RANKS)
    np.testing.assert_array_equal(curve.accuracy, accuracy)
    np.testing.assert_allclose(curve.loss, losses, rtol=1e-4)


def test_baseline_and_ends(make_mlp, data):
    model = make_mlp()
    curve = quantization_curve(model, "dense1-relu", data.x_test, data.y_test, ranks=RANKS)
    logits = model.predict(data.x_test, verbose=0)
    assert curve.baseline_accuracy == np.mean(logits.argmax(1) == data.y_test)
    loss = keras.losses.sparse_categorical_crossentropy(data.y_test, logits, from_logits=True)
    assert curve.baseline_loss == pytest.approx(float(np.mean(loss)), rel=1e-5)
    assert curve.loss[0] == curve.loss[-1]  # one constant per neuron, the same at both ends
    assert curve.chance == np.bincount(data.y_test).max() / len(data.y_test)
    assert curve.calibrated_on == "evaluated images"


def test_values_beyond_the_calibration_set_stay_on_their_side(make_mlp, data):
    model = make_mlp()
    far = np.concatenate([data.x_test * 50, -data.x_test * 50])
    labels = np.concatenate([data.y_test, data.y_test])
    curve = quantization_curve(model, "dense1-relu", far, labels, ranks=[0, 100], calibration=data.x_train)
    answers = [np.mean(labels == k) for k in range(3)]  # a constant answer, whatever comes
    assert curve.accuracy[0] == curve.accuracy[1]
    assert any(np.isclose(curve.accuracy[0], answer) for answer in answers)


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_batch_size_does_not_change_results(make_convnet, make_data, batch_size):
    model, data = make_convnet(), make_data((4, 5, 2))
    one, other = (
        quantization_curve(
            model, "conv1-phi", data.x_test, data.y_test, calibration=data.x_train, batch_size=size
        )
        for size in (10, batch_size)
    )
    np.testing.assert_array_equal(one.accuracy, other.accuracy)
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-5)
    np.testing.assert_allclose(one.thresholds, other.thresholds, rtol=1e-5, atol=1e-6)


def test_a_dead_neuron_changes_nothing(make_mlp, data):
    model = make_mlp()
    kernel, bias = model.get_layer("dense1").get_weights()
    kernel[:, 2], bias[2] = 0, -1.5
    model.get_layer("dense1").set_weights([kernel, bias])
    curve = quantization_curve(model, "dense1-relu", data.x_test, data.y_test, ranks=RANKS)
    np.testing.assert_array_equal(curve.low[:, 2], -1.5)
    np.testing.assert_array_equal(curve.high[:, 2], -1.5)
    assert curve.zero_rank[2] == 100


def test_one_sample_and_one_class(make_mlp, data):
    model = make_mlp()
    x, y = data.x_test[:1], np.array([1])
    curve = quantization_curve(model, "dense1-relu", x, y, ranks=RANKS)
    # One sample is its own mean: the quantized network is the network.
    np.testing.assert_array_equal(curve.accuracy, curve.baseline_accuracy)
    np.testing.assert_allclose(curve.loss, curve.baseline_loss, rtol=1e-6)
    assert curve.chance == 1


def test_outputs_that_are_only_ranked_have_no_loss(data):
    inputs = keras.Input((4, 4, 1))
    a = keras.layers.Dense(5, activation="relu", name="d")(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="sigmoid")(a))
    curve = quantization_curve(model, "d-relu", data.x_test, data.y_test, ranks=RANKS)
    answers = model.predict(data.x_test, verbose=0).argmax(1)
    assert curve.baseline_accuracy == np.mean(answers == data.y_test)
    assert np.isnan(curve.loss).all()
    assert curve.to_dict()["loss"] == [None] * 4


def test_the_model_is_left_as_it_was(make_convnet, make_data):
    model, data = make_convnet(), make_data((4, 5, 2))
    weights, outputs = model.get_weights(), np.asarray(model(data.x_test))
    quantization_curve(model, "conv1-phi", data.x_test, data.y_test)
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(outputs, model(data.x_test))


def test_json_form(make_mlp, data):
    curve = quantization_curve(make_mlp(), "dense1-relu", data.x_test, data.y_test, ranks=RANKS, seed=4)
    plain = json.loads(json.dumps(curve.to_dict(), allow_nan=False))
    assert plain["kind"] == "quantization" and plain["ranks"] == RANKS and plain["seed"] == 4
    assert plain["accuracy"] == list(curve.accuracy)
    assert plain["zero_rank"]["mean"] == pytest.approx(curve.zero_rank.mean())
    assert plain["zero_rank"]["neurons"] == 6 and "thresholds" not in plain


def test_calibration_subset():
    images = np.arange(100)
    chosen = calibration_subset(images, 30, seed=1)
    assert len(set(chosen)) == 30 and (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, calibration_subset(images, 30, seed=1))
    assert set(chosen) != set(calibration_subset(images, 30, seed=2))
    np.testing.assert_array_equal(calibration_subset(images, 1000), images)


def test_errors(make_mlp, data):
    model, x, y = make_mlp(), data.x_test, data.y_test

    def curve(layer="dense1-relu", x=x, y=y, **options):
        return quantization_curve(model, layer, x, y, **options)

    for match, arguments in (
        ("looks one-hot, but", {"y": np.eye(3)[y] / 2}),
        ("two of the ranks are 100, as printed", {"ranks": [99.99999, 100]}),
        (
            "image 1 of the calibration set holds",
            {"calibration": np.stack([x[0], x[1].astype(float) * 1e60])},
        ),
    ):
        with pytest.raises(ValueError, match=match):
            curve(**arguments)
    broken = make_mlp()
    broken.get_layer("dense1").kernel.assign(np.full((16, 6), np.nan))
    with pytest.raises(ValueError, match="pre-activations are NaN or infinite"):
        quantization_curve(broken, "dense1-relu", x, y)
    with pytest.raises(ValueError, match="on the test images are NaN or infinite"):
        accuracy(broken, x, y)
