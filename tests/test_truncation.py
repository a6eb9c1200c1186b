import gc
import random
import weakref

import keras
import numpy as np
import pytest

from keras_neuronlevel import evaluation, networks, neurons
from keras_neuronlevel.evaluation import Truncation, truncate

L = keras.layers


def images(model, n=3):
    return np.random.default_rng(0).normal(size=(n, *model.input_shape[1:])).astype(np.float32)


def assert_identity_everywhere(model, layers=None, tolerance=1e-5):
    x = images(model)
    expected = model(x, training=False).numpy()
    softmax = neurons.output_softmax(neurons.split_fused(neurons.functional(model))) is not None
    before = [w.copy() for w in model.get_weights()]
    for layer in layers or neurons.neuron_layers(model):
        truncation = truncate(model, layer)
        logits = truncation.suffix(*truncation.prefix(x))
        found = keras.ops.softmax(logits) if softmax else logits
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance, err_msg=layer)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(model(x, training=False), expected)


def perturb_norms(model):
    """Statistics of batch normalization that are not 0 and 1, so that a mix-up would show."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable in layer.weights:
                variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


@pytest.fixture(scope="module")
def resnet():
    return perturb_norms(networks.cifar_resnet("relu", filters=2, input_shape=(16, 16, 3), seed=0))


def test_identity_at_every_layer_of_the_mlp(make_mlp):
    assert_identity_everywhere(make_mlp(dropout=0.5))


@pytest.mark.parametrize("order", ["activation-norm", "norm-activation"])
def test_identity_at_every_layer_of_the_cnn(order):
    options = {"filters": 2, "order": order, "mean": (0.1, 0.2, 0.3), "std": (2.0, 1.0, 0.5)}
    model = networks.cifar_cnn("relu", input_shape=(16, 16, 3), seed=0, **options)
    assert_identity_everywhere(perturb_norms(model))


def test_identity_at_every_layer_of_the_residual_network(resnet):
    assert_identity_everywhere(resnet)


def test_inside_a_residual_block_the_skip_connection_crosses_the_cut(resnet):
    skipped, plain = truncate(resnet, "stage1layer1-relu"), truncate(resnet, "stage1layer0-relu")
    assert skipped.crossing_shapes == [(8, 8, 4)]
    assert plain.crossing_shapes == []
    x = images(resnet)
    p, crossing = skipped.prefix(x)
    (norm,) = (resnet.get_layer("stage1layer0-norm"),)
    reference = keras.Model(resnet.input, norm.output)(x, training=False)
    np.testing.assert_allclose(crossing[0], reference, rtol=1e-6)
    with pytest.raises(ValueError, match="1 cross the cut"):
        skipped.suffix(p)


@pytest.mark.slow
def test_identity_at_every_layer_of_resnet50():
    keras.utils.set_random_seed(0)
    model = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=7)
    layers = neurons.neuron_layers(model)
    assert len(layers) == 49
    assert_identity_everywhere(perturb_norms(model), layers[1::8], tolerance=1e-4)  # within and after blocks


def test_identity_where_branches_share_layers_and_p_is_read_twice():
    inputs = keras.Input((6,))
    shared = keras.layers.Dense(6, name="shared")
    p = shared(inputs)
    a = keras.layers.Activation("tanh", name="phi1")(p)
    b = keras.layers.Activation("relu", name="phi2")(shared(a))
    joined = keras.layers.Concatenate()([a, b, p, keras.layers.Dropout(0.5)(inputs)])
    keras.layers.Dense(1, name="not-needed")(b)
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(joined + 2 * joined))
    assert_identity_everywhere(model, ["phi1", "phi2"])
    assert sorted(truncate(model, "phi1").crossing_shapes) == [(6,), (6,)]


def test_injection_reaches_phi_alone():
    inputs = keras.Input((2,))
    p = keras.layers.Dense(2, use_bias=False, kernel_initializer="identity", name="dense")(inputs)
    a = keras.layers.Activation("relu", name="phi")(p)
    model = keras.Model(inputs, keras.layers.Add()([a, p]))
    truncation = truncate(model, "phi")
    p, crossing = truncation.prefix(np.array([[1.0, -2.0]]))
    np.testing.assert_array_equal(truncation.suffix(p * 0 + 5, crossing), [[6, 3]])


def test_sequential_and_fused_models():
    model = keras.Sequential(
        [
            keras.Input((5, 5, 2)),
            keras.layers.Conv2D(3, 3, activation="relu", name="conv"),
            keras.layers.Flatten(),
            keras.layers.Dense(4, activation="sigmoid", name="hidden"),
            keras.layers.Dense(3, activation="softmax", name="out"),
        ]
    )
    assert_identity_everywhere(model, ["conv-relu", "hidden-sigmoid"])


@pytest.mark.parametrize(
    ("activation", "is_logits"), [("softmax", True), ("linear", True), ("sigmoid", False)]
)
def test_outputs(activation, is_logits):
    inputs = keras.Input((4,))
    a = keras.layers.Activation("relu", name="phi")(keras.layers.Dense(4)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, activation=activation)(a))
    truncation = truncate(model, "phi")
    x = images(model)
    assert truncation.is_logits == is_logits
    logits = np.asarray(truncation.suffix(*truncation.prefix(x)))
    np.testing.assert_array_equal(logits.argmax(1), np.asarray(model(x)).argmax(1))
    assert np.allclose(logits.sum(1), 1) is False


def test_it_follows_the_models_weights(make_mlp):
    model = make_mlp()
    truncation = truncate(model, "dense2-relu")
    for weight in model.weights:
        weight.assign(weight + 0.25)
    x = images(model)
    np.testing.assert_allclose(truncation.suffix(*truncation.prefix(x)), model(x), rtol=1e-6)


def test_it_is_built_once_adds_no_nodes_and_goes_with_the_model(make_mlp):
    model = make_mlp()
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    first = truncate(model, "dense1-relu")
    first.suffix(*first.prefix(images(model)))
    assert truncate(model, "dense1-relu") is first
    assert nodes == [len(layer._inbound_nodes) for layer in model.layers]
    gone = weakref.ref(model)
    del model, first
    gc.collect()
    assert gone() is None


def test_fresh_suffix_has_the_same_layers_and_other_weights(make_mlp):
    model = make_mlp(dropout=0.5)  # its initializers have seeds written into them
    model.get_layer("logits").trainable = False
    truncation = truncate(model, "dense1-relu")
    fresh, again, other = (truncation.fresh_suffix(seed) for seed in (0, 0, 1))
    names = ["dense1-relu", "dropout1", "dense2", "dense2-relu", "dropout2", "logits"]
    assert [layer.name for layer in fresh.layers][1:] == names
    assert len(fresh.trainable_variables) == 4
    for name in ("dense2", "logits"):
        kernel = fresh.get_layer(name).get_weights()[0]
        np.testing.assert_array_equal(kernel, again.get_layer(name).get_weights()[0])
        assert not np.allclose(kernel, other.get_layer(name).get_weights()[0])
        assert not np.allclose(kernel, networks_initial(make_mlp, name))
        limit = np.sqrt(6 / sum(kernel.shape))
        assert limit * 0.5 < np.abs(kernel).max() <= limit


def networks_initial(make_mlp, layer):
    return make_mlp(dropout=0.5).get_layer(layer).get_weights()[0]


def test_fresh_suffix_with_the_originals_weights_is_the_suffix(resnet):
    truncation = truncate(resnet, "stage1layer1-relu")
    fresh = truncation.fresh_suffix(0)
    for layer in fresh.layers:
        if layer.weights:
            layer.set_weights(resnet.get_layer(layer.name).get_weights())
    p, crossing = truncation.prefix(images(resnet))
    np.testing.assert_allclose(
        fresh([p, *crossing], training=False), truncation.suffix(p, crossing), rtol=1e-5, atol=1e-6
    )


def test_what_cannot_be_cut_is_refused(make_mlp):
    with pytest.raises(ValueError, match="nearest.*dense1-relu"):
        truncate(make_mlp(), "dens1-relu")
    x = keras.Input((4, 4, 1))
    a = keras.layers.Activation("relu", name="phi")(x)
    outputs = [keras.layers.Rescaling(2.0)(a), keras.layers.Dense(2, name="out")(a)]
    with pytest.raises(ValueError, match="2 outputs.*output="):
        Truncation(keras.Model(x, outputs), "phi")
    with pytest.raises(ValueError, match="no output 'in'.*'out'"):
        Truncation(keras.Model(x, outputs), "phi", "in")


class Changing(L.Layer):
    """Its calls change a variable: a trained weight, a counter or a metric."""

    def __init__(self, what):
        super().__init__()
        self.metric, self.what = keras.metrics.Mean(name="metric"), what

    def build(self, shape):
        self.weight = self.add_weight(shape=(5,), name="weight", initializer="ones")
        self.counter = self.add_weight(shape=(), name="counter", trainable=False)

    def call(self, x):
        found = x * self.weight
        if self.what == "weight":
            self.weight.assign(0.9 * self.weight)
        elif self.what == "counter":
            self.counter.assign_add(1.0)
        else:
            self.metric.update_state(keras.ops.mean(x))
        return found


@pytest.mark.parametrize("what", ["weight", "counter", "metric"])
@pytest.mark.parametrize("fused", [True, False])
def test_a_model_whose_calls_change_it_is_refused_and_left_as_it_was(what, fused):
    inputs = keras.Input((8,))
    x = L.Dense(5, activation="relu" if fused else None, name="hidden")(inputs)
    x = x if fused else L.Activation("relu", name="hidden-relu")(x)
    model = keras.Model(inputs, L.Dense(3)(Changing(what)(x)))
    variables = [*model.variables, *model.metrics_variables]
    before = [np.array(variable) for variable in variables]
    with pytest.raises(ValueError, match=f"changes its state .*{what}"):
        evaluation.quantization_curve(model, "hidden-relu", images(model), [0, 1, 2], ranks=[50])
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_a_fresh_layer_that_would_be_another_function_is_refused():
    class Scaled(L.Dense):
        def __init__(self, units, gain=1.0, **options):
            super().__init__(units, **options)
            self.gain = gain  # absent from get_config

        def call(self, inputs, training=None):
            return self.gain * super().call(inputs, training=training)

    inputs = keras.Input((4,))
    a = L.ReLU(name="phi")(L.Dense(3)(inputs))
    for gain, words in ((3.0, r"'out'.*does not say gain"), (1.0, None)):
        cut = truncate(keras.Model(inputs, Scaled(2, gain=gain, name="out")(a)), "phi")
        if words is None:
            assert cut.fresh_suffix(0)
            continue
        with pytest.raises(ValueError, match=words):
            cut.fresh_suffix(0)


# Fresh weights ------------------------------------------------------------------------------------------


class Unseeded(keras.layers.Layer):
    """As most people write a layer: the weight has no initializer that a config could hold."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 3))

    def call(self, x):
        return x @ self.kernel


def behind_phi(layer, *, shape=(6, 8), call=lambda layer, x: layer(x)):
    inputs = keras.Input(shape)
    x = keras.layers.Activation("relu", name="phi")(keras.layers.Dense(8)(inputs))
    x = keras.layers.Flatten()(call(layer, x))
    return truncate(keras.Model(inputs, keras.layers.Dense(2)(x)), "phi")


@pytest.mark.parametrize(
    ("layer", "call"),
    [
        (keras.layers.MultiHeadAttention(2, 4), lambda layer, x: layer(x, x)),
        (keras.layers.GroupQueryAttention(4, 2, 1), lambda layer, x: layer(x, x)),
        (keras.layers.LSTM(3, return_sequences=True), lambda layer, x: layer(x)),
    ],
)
def test_weights_of_one_initializer_differ(layer, call):
    """As they do in the original, where every clone of the initializer draws a seed of its own."""
    fresh = behind_phi(layer, call=call).fresh_suffix(0)
    kernels = [w.numpy() for w in fresh.trainable_variables if "kernel" in w.path]
    assert len(kernels) >= 3
    for i, one in enumerate(kernels):
        assert not any(one.shape == other.shape and (one == other).all() for other in kernels[:i])


@pytest.mark.parametrize(
    ("layer", "call"),
    [
        (Unseeded(), lambda layer, x: layer(x)),
        (keras.layers.AdditiveAttention(), lambda layer, x: layer([x, x])),
        (keras.layers.MultiHeadAttention(2, 4), lambda layer, x: layer(x, x)),
    ],
)
def test_fresh_weights_depend_on_the_seed_alone(layer, call):
    truncation = behind_phi(layer, call=call)
    random.seed(5)
    one = truncation.fresh_suffix(0).get_weights()
    after = random.random()
    random.seed(6)
    for found, expected in zip(truncation.fresh_suffix(0).get_weights(), one, strict=True):
        np.testing.assert_array_equal(found, expected)
    other = truncation.fresh_suffix(1).get_weights()
    assert not all((a == b).all() for a, b in zip(one, other, strict=True))
    random.seed(5)
    assert random.random() == after  # the program's own numbers are not touched
