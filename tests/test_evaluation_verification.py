"""What curves refuse to measure, because it would be another network than the given one."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_neuronlevel import evaluation, neurons, probes, statistics

L = keras.layers
X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
LOST, HEAD = "a-relu', gives other outputs than the whole", "do not give its outputs by a softmax"


def hidden(x, activation="relu", **options):
    return L.Dense(5, activation=activation, name="a", **options)(x)


def curve(model, x=X, layer="a-relu", y=None, **options):
    """Labelled with the model's own answers, so that accuracy is 1."""
    y = np.asarray(model(x, training=False)).argmax(-1) if y is None else y
    return evaluation.quantization_curve(model, layer, x, y, **{"ranks": [50], **options})


def functional(make, end=None, inputs=None):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4,)) if inputs is None else inputs
    x = make(inputs)
    return keras.Model(inputs, L.Dense(3)(x) if end is None else end(x))


class Noisy(L.Layer):
    def call(self, x):
        return x + tf.random.normal(tf.shape(x))


class Clipped(L.Dense):
    def call(self, x):
        return keras.ops.minimum(super().call(x), 1.0)


class Scale(L.Layer):
    def __init__(self):
        super().__init__(name="scale")
        self.factor = 1.0

    def call(self, x):
        return self.factor * x


def attention(inputs):
    """Blocks of a transformer with the normalization first, whose masks Keras keeps beside the tensors."""
    h = L.Embedding(20, 8, mask_zero=True)(inputs)
    n = L.LayerNormalization()(h)
    h = L.Add()([h, L.MultiHeadAttention(2, 4)(n, n)])
    h = L.Add()([h, L.Dense(8)(hidden(L.LayerNormalization()(h)))])
    n = L.LayerNormalization()(h)
    h = L.Add()([h, L.MultiHeadAttention(2, 4)(n, n)])
    return L.GlobalAveragePooling1D()(h)


def test_a_mask_that_is_lost_at_the_cut():
    tokens = np.random.default_rng(0).integers(1, 20, (40, 8))
    tokens[:, 4:] = 0
    keras.utils.set_random_seed(3)
    model = functional(attention, inputs=keras.Input((8,), dtype="int32"))
    with pytest.raises(ValueError, match=f"{LOST}.*a mask is lost"):
        curve(model, tokens)


def test_random_numbers_where_nothing_is_split():
    make = lambda i: L.ReLU(name="phi")(Noisy()(L.Dense(5)(i)))  # noqa: E731
    with pytest.raises(ValueError, match="phi', gives other outputs than the whole.*random numbers"):
        curve(functional(make), layer="phi", y=np.arange(60) % 3)


def test_a_layer_that_clips_only_what_real_images_give():
    model = functional(lambda i: Clipped(8, activation="gelu", name="a")(L.Rescaling(1 / 255)(i)))
    x = np.random.default_rng(0).uniform(0, 2550, (50, 4))
    with pytest.raises(ValueError, match="gives other outputs than the whole.*of one's own does more"):
        curve(model, x, "a-gelu")


def test_a_layer_that_was_changed_after_it_was_measured():
    model = functional(lambda i: Scale()(hidden(i)))
    assert curve(model).baseline_accuracy == 1
    model.get_layer("scale").factor = -1.0
    with pytest.raises(ValueError, match=f"{LOST}.*was changed after"):
        curve(model)


def test_samples_that_meet():
    model = functional(lambda i: hidden(L.Lambda(lambda z: z - keras.ops.mean(z, 0))(i)))
    with pytest.raises(ValueError, match="samples meet in"):
        curve(model)


def sigmoid(z):
    return keras.ops.sigmoid(z - 1)


def softmax(z):
    return keras.ops.softmax(-z)


@pytest.mark.parametrize("units, activation", [(1, sigmoid), (3, softmax)])
def test_a_function_that_is_only_called_like_a_head(units, activation):
    model = functional(hidden, L.Dense(units, activation=activation))
    y = np.arange(60) % max(units, 2)
    with pytest.raises(ValueError, match=HEAD):
        curve(model, y=y)
    with pytest.raises(ValueError, match=HEAD):
        evaluation.accuracy(model, X, y)
    data = SimpleNamespace(x_train=X, y_train=y, x_test=X, y_test=y)
    with pytest.raises(ValueError, match=HEAD):
        evaluation.window_curve(model, "a-relu", data, readout=evaluation.Retrain(1), centers=[50])
    assert np.isfinite(curve(model, y=y, metric=lambda y, outputs: outputs.mean()).score[0])


def test_a_softmax_that_is_masked_or_over_another_axis():
    inputs = [keras.Input((4,)), keras.Input((3,), dtype="bool")]
    model = keras.Model(inputs, L.Softmax()(L.Dense(3)(hidden(inputs[0])), mask=inputs[1]))
    with pytest.raises(ValueError, match=HEAD):
        allowed = np.eye(3)[np.arange(60) % 3] == 0
        evaluation.quantization_curve(model, "a-relu", [X, allowed], np.arange(60) % 3, ranks=[50])
    inputs = keras.Input((3, 4))
    model = keras.Model(inputs, L.Softmax(axis=1)(L.Dense(3)(hidden(inputs))))
    with pytest.raises(ValueError, match=HEAD):
        curve(model, np.random.default_rng(0).normal(size=(20, 3, 4)))


def test_a_rank_at_which_outputs_are_nan():
    def share(z):
        return z / keras.ops.sum(z, -1, keepdims=True)

    model = functional(lambda i: L.Lambda(share)(hidden(i)))
    model.get_layer("a").bias.assign(np.full(5, -2.0))
    x = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    x = x[np.isfinite(np.asarray(model(x))).all(axis=1)]
    assert len(x) > 10
    with pytest.raises(ValueError, match="a-relu quantized at rank 0 the network's outputs are NaN"):
        curve(model, x, ranks=[0, 50])


@pytest.mark.parametrize("make", [lambda: L.Lambda(L.Dense(5)), lambda: L.Activation(L.PReLU())])
def test_a_readout_that_would_train_the_network_itself(make):
    model = functional(lambda i: make()(hidden(i)))
    model(X)  # builds the PReLU
    before, y = model.get_weights(), np.arange(60) % 3
    data = SimpleNamespace(x_train=X, y_train=y, x_test=X, y_test=y)
    with pytest.raises(ValueError, match="a readout of 'a-relu' would train the network's own "):
        evaluation.window_curve(model, "a-relu", data, readout=evaluation.Retrain(1), centers=[50])
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_ties_of_a_layer_in_float64_are_ties():
    """p is 0.1 or 0.3, neither a number of float32; thresholds there are 0.3, which 0.3 is not below."""
    a = L.Activation("linear", dtype="float64", name="phi")(i := keras.Input((1,), dtype="float64"))
    model = keras.Model(i, L.Dense(2, dtype="float64")(a))
    model.layers[-1].set_weights([np.array([[-1.0, 1.0]]), np.array([0.2, -0.2])])
    x = np.where(np.arange(100) < 30, 0.1, 0.3)[:, None]
    y = (np.arange(100) >= 30).astype(int)
    found = evaluation.quantization_curve(model, "phi", x, y, ranks=[50, 80])
    np.testing.assert_array_equal(found.thresholds, [[0.3]] * 2)
    np.testing.assert_allclose(found.low, [[0.1]] * 2, rtol=1e-12)
    np.testing.assert_allclose(found.high, [[0.3]] * 2, rtol=1e-12)
    np.testing.assert_array_equal(found.accuracy, [1, 1])
    data = SimpleNamespace(x_train=x, y_train=y, x_test=x, y_test=y)
    read = evaluation.window_curve(model, "phi", data, readout=evaluation.Probe(), centers=[95])
    assert read.accuracy[0] == 1


def test_sums_of_half_precision_are_not_rounded_while_pooled():
    values = tf.cast(np.random.default_rng(0).normal(3, 0.1, (5, 32, 32, 2)), tf.bfloat16).numpy()
    expected = values.astype(np.float64).mean(axis=(1, 2))
    np.testing.assert_allclose(probes.pool(values), expected, rtol=1e-5)


def test_calibration_inputs_of_different_length():
    inputs = {"one": keras.Input((4,), name="one"), "two": keras.Input((4,), name="two")}
    model = keras.Model(inputs, L.Dense(3)(hidden(L.Concatenate()(list(inputs.values())))))
    with pytest.raises(ValueError, match=r"calibration set have \[50, 60\] samples"):
        curve(model, {"one": X, "two": X}, y=np.arange(60) % 3, calibration={"one": X[:50], "two": X})


def test_a_threshold_of_numpys_type_counts_as_pythons_does():
    s = np.full((4, 1), 0.6, np.float32)
    for threshold in (0.6, np.float64(0.6), np.float32(0.6)):
        assert statistics.sign_constancy(s, threshold)["above"] == 0


def long_kernel(inputs):
    return L.GlobalAveragePooling1D()(L.ReLU(name="phi")(L.Conv1D(4, 80, strides=4)(inputs)))


def looked_up(inputs):
    known = L.IntegerLookup(vocabulary=[10, 20], num_oov_indices=0)(inputs)
    return L.ReLU(name="phi")(L.Dense(5)(L.Flatten()(L.Embedding(4, 3)(known))))


@pytest.mark.parametrize(
    "make, inputs, x",
    [
        (long_kernel, keras.Input((None, 1)), np.random.default_rng(0).normal(size=(12, 400, 1))),
        (looked_up, keras.Input((1,), dtype="int64"), np.array([[10], [20]] * 6)),
    ],
)
def test_models_that_cannot_take_samples_that_were_made_up(make, inputs, x):
    model = keras.Model(inputs, L.Softmax()(L.Dense(3)(make(inputs))))
    assert curve(model, x, "phi").baseline_accuracy == 1


def test_an_output_of_words_beside_the_one_that_is_meant():
    inputs = keras.Input((4,))
    logits = L.Dense(3, name="logits")(L.ReLU(name="phi")(L.Dense(5)(inputs)))
    words = L.StringLookup(vocabulary=["x", "y", "z"], invert=True)(keras.ops.argmax(logits, -1))
    model = keras.Model(inputs, [logits, words])
    y = np.asarray(model(X)[0]).argmax(-1)
    assert curve(model, layer="phi", y=y, output=0).baseline_accuracy == 1


def test_weights_that_are_nan_in_half_precision_have_not_changed():
    model = functional(lambda i: L.Dense(5, dtype="bfloat16")(i))
    kernel = model.layers[1].kernel
    values = np.array(kernel.numpy())
    values[0, 0] = np.nan
    kernel.assign(values)
    with neurons.unchanged_state(model):
        model(X)
