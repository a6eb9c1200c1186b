"""∂L/∂a against finite differences in float64, and the accumulators against plain loops."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_neuronlevel import neurons, recording, selection

L = keras.layers
ACTIVATIONS = ("relu", "sigmoid", "linear", "tanh")
# float32 derivatives against float64 central differences
CLOSE = {"rtol": 1e-3, "atol": 2e-6}


def samples(shape, count=4, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, *shape)).astype(np.float32)
    return x, (np.arange(count) % classes).astype(np.int32)


def hand_weighted():
    """p = x, a = relu(p), logits = (2·a0 − a1, −a0 + a1): every derivative follows by hand."""
    inputs = keras.Input((2,))
    a = L.Activation("relu", name="phi")(L.Dense(2, name="in")(inputs))
    model = keras.Model(inputs, L.Dense(2, name="logits")(a))
    model.get_layer("in").set_weights([np.eye(2), np.zeros(2)])
    model.get_layer("logits").set_weights([np.array([[2.0, -1.0], [-1.0, 1.0]]), np.zeros(2)])
    return model


# Finite differences --------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dense_derivatives(activation, make_mlp, numpy_net):
    model = make_mlp(activation)
    x, y = samples((4, 4, 1))
    found = recording.activation_derivatives(model, x, y)
    assert list(found) == [f"dense1-{activation}", f"dense2-{activation}"]
    for name, d in found.items():
        assert d.dtype == np.float32
        np.testing.assert_allclose(d, numpy_net(model).derivatives(x, y, name), **CLOSE)
        assert np.abs(d).max() > 1e-2  # the tolerance could not hide it


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_convolutional_derivatives(activation, make_convnet, numpy_net):
    model = make_convnet(activation)
    x, y = samples((4, 5, 2), count=3)
    found = recording.activation_derivatives(model, x, y)
    assert {name: d.shape for name, d in found.items()} == {
        "conv1-phi": (3, 4, 5, 3),
        "conv2-phi": (3, 4, 5, 4),
    }
    for name, d in found.items():
        np.testing.assert_allclose(d, numpy_net(model).derivatives(x, y, name), **CLOSE)
        assert np.abs(d).max() > 1e-3


def test_a_skip_connection_counts_in_the_derivative():
    """a goes two ways: L depends on a through both."""
    inputs = keras.Input((3,))
    a = L.Activation("tanh", name="phi")(inputs)
    model = keras.Model(inputs, L.Dense(3, name="logits")(L.Add()([a, L.Dense(3, name="way")(a)])))
    x, y = samples((3,))
    way, out = (model.get_layer(n).get_weights()[0].astype(float) for n in ("way", "logits"))
    logits = np.asarray(model(x), np.float64)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = (softmax - np.eye(3)[y]) @ out.T @ (np.eye(3) + way).T
    np.testing.assert_allclose(recording.activation_derivatives(model, x, y)["phi"], expected, **CLOSE)


def test_a_linear_activation_is_told_apart_from_its_pre_activation():
    """logits = W(2p + a) with a = p: ∂L/∂a holds what comes through a only, a third of the whole."""
    inputs = keras.Input((3,))
    p = L.Dense(3, name="p")(inputs)
    a = L.Activation("linear", name="phi")(p)
    model = keras.Model(inputs, L.Dense(3, name="logits")(L.Add()([p, p, a])))
    x, y = samples((3,))
    logits = np.asarray(model(x), np.float64)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = (softmax - np.eye(3)[y]) @ model.get_layer("logits").get_weights()[0].T
    np.testing.assert_allclose(recording.activation_derivatives(model, x, y)["phi"], expected, **CLOSE)


@pytest.mark.parametrize("loss", [None, keras.losses.SparseCategoricalCrossentropy(from_logits=True)])
@pytest.mark.parametrize("seed", range(4))
def test_a_model_in_float64_is_held_to_the_digits_that_its_loss_has(seed, loss):
    """A Keras loss computes in float32, and float64 would promise more digits than there are."""
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy("float64")
    try:
        a = L.Dense(6, activation="tanh", name="a")(inputs := keras.Input((8,)))
        b = L.Dense(5, activation="tanh", name="b")(a)
        model = keras.Model(inputs, L.Dense(3, name="logits")(b))
    finally:
        keras.config.set_dtype_policy("float32")
    x, y = samples((8,), count=47, seed=seed)
    logits = np.asarray(model(x))
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = (softmax - np.eye(3)[y]) @ model.get_layer("logits").get_weights()[0].T
    found = recording.activation_derivatives(model, x, y, loss=loss)["b-tanh"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_confident_sample_of_a_model_in_float64_has_a_derivative():
    """Of logits 25 and 0: -q and q with q = 1 / (1 + e²⁵), where float32 gives 0 and q."""
    found = {}
    for dtype in ("float64", "float32"):
        a = L.Activation("relu", dtype=dtype, name="phi")(inputs := keras.Input((2,)))
        model = keras.Model(inputs, L.Dense(2, dtype=dtype, name="logits")(a))
        model.get_layer("logits").set_weights([np.eye(2), np.zeros(2)])
        found[dtype] = recording.activation_derivatives(
            model, np.array([[25.0, 0.0]] * 3, np.float32), [0] * 3
        )
    q = 1 / (1 + np.exp(25))
    np.testing.assert_allclose(found["float64"]["phi"], [[-q, q]] * 3, rtol=1e-5)
    np.testing.assert_allclose(found["float32"]["phi"], [[0, q]] * 3, rtol=1e-5)


@pytest.mark.parametrize("kind", ["fused", "activation", "layer"])
def test_a_model_that_ends_in_softmax_gives_what_its_logits_give(kind, make_mlp):
    plain = make_mlp("tanh")
    x, y = samples((4, 4, 1))
    if kind == "fused":
        features = plain.get_layer("dense2-tanh").output
        last = L.Dense(3, activation="softmax", name="fused")
        model = keras.Model(plain.inputs[0], last(features))
        last.set_weights(plain.get_layer("logits").get_weights())
    else:
        softmax = L.Softmax() if kind == "layer" else L.Activation("softmax")
        model = keras.Model(plain.inputs[0], softmax(plain.outputs[0]))
    expected = recording.activation_derivatives(plain, x, y)
    found = recording.activation_derivatives(model, x, y)
    assert list(found) == list(expected)
    for name, d in found.items():
        np.testing.assert_allclose(d, expected[name], rtol=1e-5, atol=1e-7)


def test_fused_layers_give_what_separate_ones_give(make_mlp):
    separate = make_mlp("tanh")
    inputs = keras.Input((4, 4, 1))
    x = L.Flatten()(inputs)
    x = L.Dense(6, activation="tanh", name="dense1")(x)
    x = L.Dense(5, activation="tanh", name="dense2")(x)
    fused = keras.Model(inputs, L.Dense(3)(x))
    fused.set_weights(separate.get_weights())
    batch = samples((4, 4, 1))
    expected = recording.activation_derivatives(separate, *batch)
    found = recording.activation_derivatives(fused, *batch)
    assert list(found) == list(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-7)


def test_own_loss(make_mlp, numpy_net):
    model = make_mlp("sigmoid")
    x, _ = samples((4, 4, 1))
    targets = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)

    def loss(y, out):
        return tf.reduce_sum(tf.square(out - y), axis=-1)

    net = numpy_net(model)

    def numpy_loss(a, name, y):
        after = [layer for layer, _ in net.chain].index(name) + 1
        for _, function in net.chain[after:]:
            a = function(a)
        return ((a - targets[y]) ** 2).sum(axis=1)

    found = recording.activation_derivatives(model, x, targets, loss=loss)
    for name, d in found.items():
        np.testing.assert_allclose(d, net.derivatives(x, np.arange(4), name, numpy_loss), **CLOSE)


def test_the_loss_must_be_one_value_a_sample(make_mlp):
    x, y = samples((4, 4, 1))
    with pytest.raises(ValueError, match="one value for each sample"):
        recording.activation_derivatives(make_mlp(), x, y, loss=lambda y, out: tf.reduce_sum(out))


def test_frozen_model_has_the_same_derivatives(make_convnet):
    model = make_convnet("tanh")
    batch = samples((4, 5, 2))
    before = recording.activation_derivatives(model, *batch)
    model.trainable = False
    frozen = recording.activation_derivatives(model, *batch)
    for name in before:
        np.testing.assert_array_equal(frozen[name], before[name])


def test_sequential_derivatives(numpy_net):
    keras.utils.set_random_seed(2)
    layers = [L.Dense(4), L.Activation("tanh", name="phi"), L.Dropout(0.5), L.Dense(3, name="logits")]
    model = keras.Sequential([keras.Input((5,)), *layers])
    x, y = samples((5,))
    found = recording.activation_derivatives(model, x, y)["phi"]
    np.testing.assert_allclose(found, numpy_net(model).derivatives(x, y, "phi"), **CLOSE)


def test_regularization_is_left_out(numpy_net):
    inputs = keras.Input((5,))
    x = L.Activation("tanh", name="phi", activity_regularizer="l2")(L.Dense(4)(inputs))
    model = keras.Model(inputs, L.Dense(3, kernel_regularizer="l2")(x))
    batch = samples((5,))
    found = recording.activation_derivatives(model, *batch)["phi"]
    np.testing.assert_allclose(found, numpy_net(model).derivatives(*batch, "phi"), **CLOSE)


# What may not leak in ------------------------------------------------------------------------------


def test_batch_normalization_lets_no_other_sample_in(make_convnet):
    model = make_convnet("relu")
    x, y = samples((4, 5, 2), count=6)
    together = recording.activation_derivatives(model, x, y)
    others = recording.activation_derivatives(model, np.concatenate([x[:1], 50 * x[1:]]), y)
    for name in together:
        alone = np.concatenate(
            [recording.activation_derivatives(model, x[[n]], y[[n]])[name] for n in range(6)]
        )
        np.testing.assert_allclose(together[name], alone, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(others[name][0], together[name][0], rtol=1e-4, atol=1e-7)


def test_dropout_drops_nothing_and_draws_nothing(make_mlp, numpy_net):
    model = make_mlp("tanh", dropout=0.5)
    x, y = samples((4, 4, 1))
    states = [np.array(v.numpy()) for v in model.variables if v.name == "seed_generator_state"]
    assert states
    first = recording.activation_derivatives(model, x, y)
    for name, d in first.items():
        np.testing.assert_allclose(d, numpy_net(model).derivatives(x, y, name), **CLOSE)
    after = [np.array(v.numpy()) for v in model.variables if v.name == "seed_generator_state"]
    np.testing.assert_array_equal(after, states)


@pytest.mark.parametrize("ending", ["logits", "softmax"])
def test_a_confidently_wrong_sample_keeps_its_sign(ending):
    """Logit gap 300: the probability of the true class underflows, ∂L/∂logits is still (1, −1)."""
    model = hand_weighted()
    if ending == "softmax":
        model = keras.Model(model.inputs[0], L.Softmax()(model.outputs[0]))
    d = recording.activation_derivatives(model, np.array([[100.0, 0.0]]), np.array([1]))["phi"]
    np.testing.assert_allclose(d, [[3.0, -2.0]], rtol=1e-6)


def test_hand_weighted_network():
    """x = (1, 1): logits (1, 0), softmax σ = 1 / (1 + e^-1). Dead and zero neurons have derivatives too."""
    model = hand_weighted()
    x = np.array([[1.0, 1.0], [1.0, 1.0], [-5.0, 0.0]], np.float32)
    d = recording.activation_derivatives(model, x, np.array([0, 1, 0]))["phi"]
    p0 = 1 / (1 + np.exp(-1.0))
    by_hand = [[3 * (p0 - 1), -2 * (p0 - 1)], [3 * p0, -2 * p0], [-1.5, 1.0]]
    np.testing.assert_allclose(d, by_hand, rtol=1e-5)


def test_confidently_right_gives_exact_zeros():
    d = recording.activation_derivatives(hand_weighted(), np.array([[100.0, 0.0]]), np.array([0]))["phi"]
    np.testing.assert_array_equal(d, [[0.0, 0.0]])


# Batches -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_batch_size_changes_nothing(batch_size, make_convnet):
    model = make_convnet("tanh")
    x, y = samples((4, 5, 2), count=7)
    whole = recording.activation_derivatives(model, x, y, batch_size=7)
    for name, d in recording.activation_derivatives(model, x, y, batch_size=batch_size).items():
        np.testing.assert_allclose(d, whole[name], rtol=1e-4, atol=1e-7)


def test_one_layer_of_many(make_mlp):
    model = make_mlp()
    batch = samples((4, 4, 1))
    only = recording.activation_derivatives(model, *batch, layers=["dense2-relu"])
    both = recording.activation_derivatives(model, *batch)
    assert list(only) == ["dense2-relu"]
    np.testing.assert_array_equal(only["dense2-relu"], both["dense2-relu"])


def test_the_model_is_left_as_it_was(make_convnet):
    model = make_convnet()
    weights = [np.array(w.numpy()) for w in model.variables]
    recording.activation_derivatives(model, *samples((4, 5, 2)))
    for before, after in zip(weights, model.variables, strict=True):
        np.testing.assert_array_equal(before, after)
    assert all("call" not in vars(layer) for layer in model.layers)


# Errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (np.zeros((2, 4, 4)), [0, 1], r"shape \(2, 4, 4\).*takes images of shape \(N, 4, 4, 1\)"),
        (np.zeros((2, 5, 4, 1)), [0, 1], r"shape \(2, 5, 4, 1\).*takes images of shape \(N, 4, 4, 1\)"),
        (np.zeros((2, 4, 4, 1)), [0, 1, 2], "2 samples and 3 labels"),
        (np.zeros((0, 4, 4, 1)), [], "x is empty"),
        (np.full((2, 4, 4, 1), np.inf), [0, 1], "image 0 of x holds NaN or infinite"),
        (np.zeros((2, 4, 4, 1)), [0, 3], r"label 3 of sample 1 in y is not in 0\.\.2"),
        (np.zeros((2, 4, 4, 1)), [-1, 2], r"label -1 of sample 0"),
        (np.zeros((2, 4, 4, 1)), [0.5, 1.0], "float64 that are no whole numbers"),
        (np.zeros((2, 4, 4, 1)), np.full((2, 3), 1 / 3), "looks one-hot, but"),
        (np.zeros((2, 4, 4, 1)), np.zeros((2, 2, 3)), "one label each"),
    ],
)
def test_samples_that_do_not_fit(x, y, words, make_mlp):
    with pytest.raises(ValueError, match=words):
        recording.activation_derivatives(make_mlp(), x, np.asarray(y))


def test_the_first_bad_sample_is_named(make_mlp):
    x, y = samples((4, 4, 1), count=5)
    x[3, 2, 1, 0] = np.nan
    with pytest.raises(ValueError, match="image 3 of x holds NaN"):
        recording.activation_derivatives(make_mlp(), x, y)


def test_models_that_do_not_fit(make_mlp):
    x, y = samples((3,))
    one, two = keras.Input((3,)), keras.Input((3,))
    phi = L.Activation("relu", name="phi")(one)
    several = keras.Model([one, two], L.Dense(3)(L.Add()([phi, two])))
    with pytest.raises(ValueError, match="2 inputs .*a list of arrays"):
        recording.activation_derivatives(several, x, y)
    with pytest.raises(ValueError, match="1 output; cross-entropy"):
        recording.activation_derivatives(keras.Model(one, L.Dense(1)(phi)), x, y)
    with pytest.raises(ValueError, match="nearest"):
        recording.activation_derivatives(make_mlp(), *samples((4, 4, 1)), layers=["dense9"])


def test_a_layer_without_influence_is_refused():
    inputs = keras.Input((3,))
    phi = L.Activation("relu", name="phi")(inputs)
    cut = L.Lambda(tf.stop_gradient, output_shape=(3,))(phi)
    with pytest.raises(ValueError, match="does not depend on the activations of 'phi'"):
        recording.activation_derivatives(keras.Model(inputs, L.Dense(3)(cut)), *samples((3,)))


# Accumulators --------------------------------------------------------------------------------------


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_accumulate_against_a_loop(dtype, jit):
    rng = np.random.default_rng(0)
    counts = tf.Variable(np.zeros((5, 3), dtype))
    compiled = tf.function(recording.accumulate, jit_compile=jit)
    sign_sum, nonzero = np.zeros((5, 3), int), np.zeros((5, 3), int)
    for _ in range(20):
        d = rng.choice([-2.5, -1e-30, 0.0, -0.0, 1e-30, 3.0, np.nan, np.inf, -np.inf], (5, 3))
        compiled(counts, tf.constant(d, tf.float32))
        for n in range(5):
            for u in range(3):
                if d[n, u] > 0:
                    sign_sum[n, u] += 1
                    nonzero[n, u] += 1
                elif d[n, u] < 0:
                    sign_sum[n, u] -= 1
                    nonzero[n, u] += 1
    for found, expected in zip(recording.unpacked(counts.numpy()), (sign_sum, nonzero), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype.itemsize * 2 == counts.dtype.size
    assert (nonzero < 20).all() and (np.abs(sign_sum) < nonzero).any()


def test_pick_against_loops():
    values = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    neurons_, positions = np.array([1, 4]), np.array([0, 5, 11])
    picked = np.asarray(recording.pick(tf.constant(values), neurons_, positions, 5))
    assert picked.shape == (2, 3, 2)
    for n in range(2):
        for i, position in enumerate(positions):
            row, column = divmod(position, 4)
            for j, neuron in enumerate(neurons_):
                assert picked[n, i, j] == values[n, row, column, neuron]
    dense = recording.pick(tf.constant(values[:, 0, 0]), neurons_, None, 5)
    np.testing.assert_array_equal(dense, values[:, 0, 0][:, neurons_])


def test_recording_step_gives_loss_accuracy_and_pre_activations(make_mlp, numpy_net):
    model = make_mlp("tanh")
    x, y = samples((4, 4, 1), count=9)
    chosen = selection.select({"dense1-tanh": (6,)}, 9, snapshots=selection.Snapshots(neurons=[1, 4]))
    step = recording.recording_step(model, chosen, snapshot_dtype=tf.float32)
    counts = recording.zero_counts(chosen, 9)
    seen, loss_sum, correct = step(tf.constant(x), tf.constant(y), counts)
    net = numpy_net(model)
    values = net.values(x)
    np.testing.assert_allclose(seen["dense1-tanh"], values["dense1"][:, [1, 4]], rtol=1e-4, atol=1e-6)
    assert float(loss_sum) == pytest.approx(net.losses(values["logits"], "logits", y).sum(), rel=1e-5)
    assert int(correct) == (values["logits"].argmax(axis=1) == y).sum()
    expected = np.sign(net.derivatives(x, y, "dense1-tanh"))
    sign_sum, nonzero = recording.unpacked(counts["dense1-tanh"].numpy())
    np.testing.assert_array_equal(sign_sum, expected)
    np.testing.assert_array_equal(nonzero, np.ones((9, 6)))


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_counts_are_packed_and_unpacked_up_to_the_largest(dtype):
    most = np.iinfo(dtype).max
    pairs = [(s, n) for n in (0, 1, 2, most - 1, most) for s in (-n, -n + 2, n % 2, n - 2, n) if abs(s) <= n]
    sign_sum, nonzero = np.array(pairs, dtype).T
    counts = recording.accumulators.packed(sign_sum, nonzero)
    for value, (s, n) in zip(counts.tolist(), pairs, strict=True):
        assert value == (n + s) // 2 + (n - s) // 2 * 2 ** (4 * counts.itemsize)
    for found, expected in zip(recording.unpacked(counts), (sign_sum, nonzero), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_memory_estimate_by_hand():
    chosen = selection.select(
        {"d": (10,), "m": (3, 4, 5)}, 7, snapshots=selection.Snapshots(neurons=2, positions=3)
    )
    pairs, largest, kept = 10 + 60, 60, 2 + 2 * 3
    accumulators, written, snapshots = 4 * pairs, 4 * 2 * largest, 2 * 2 * kept
    assert recording.memory_estimate(chosen, 7) == 7 * (accumulators + written + snapshots)
    more = recording.memory_estimate(chosen, 7, "float32") - recording.memory_estimate(chosen, 7)
    assert more == 7 * snapshots
    less = recording.memory_estimate(chosen, 7, recordings=40_000, held=2)
    assert less == 2 * 2 * accumulators + 7 * (2 * written + snapshots)
    assert recording.memory_estimate(chosen, 7, held=1000) == recording.memory_estimate(chosen, 7)
    copied = recording.memory_estimate(chosen, 7, revocable=True)
    assert copied == recording.memory_estimate(chosen, 7) + 7 * accumulators


def test_feature_maps_must_be_known_and_channels_last(make_convnet):
    inputs = keras.Input((None, None, 2))
    x = L.Activation("relu", name="phi")(L.Conv2D(3, 3)(inputs))
    model = keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x)))
    with pytest.raises(ValueError, match="not fully known"):
        recording.selections_of(model, ["phi"], 4)
    model = make_convnet()
    keras.config.set_image_data_format("channels_first")
    try:
        assert recording.selections_of(model, ["conv1-phi"], 4)  # its layers say where their channels are
        inputs = keras.Input((4, 5, 2))
        x = L.ReLU(name="phi")(L.Dropout(0.1)(inputs))
        model = keras.Model(inputs, L.Dense(3)(L.Flatten()(x)))
        with pytest.raises(ValueError, match="phi: .*channels come first.*channels_last"):
            recording.selections_of(model, neurons.choose_layers(model, ["phi"]), 4)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_unknown_map_size_still_has_derivatives(numpy_net):
    """Without a recorder the map's size may be open."""
    inputs = keras.Input((None, None, 2))
    x = L.Activation("tanh", name="phi")(L.Conv2D(3, 3, padding="same")(inputs))
    model = keras.Model(inputs, L.Dense(3, name="logits")(L.GlobalAveragePooling2D()(x)))
    batch = samples((3, 4, 2), count=2)
    found = recording.activation_derivatives(model, *batch)["phi"]
    np.testing.assert_allclose(found, numpy_net(model).derivatives(*batch, "phi"), **CLOSE)
    assert neurons.neuron_layers(model) == ["phi"]


def squares(y, output):
    return tf.reduce_mean((output - tf.one_hot(tf.cast(tf.reshape(y, [-1]), tf.int32), 3)) ** 2, axis=-1)


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("losses", [dict, list])
def test_an_outputs_number_means_the_loss_of_its_name(as_dict, losses):
    """Keras sorts the names of a dictionary's outputs, which here come in the other order."""
    keras.utils.set_random_seed(1)
    h = L.Dense(8, activation="tanh", name="h")(inputs := keras.Input((6,)))
    # Layers have the names of outputs in the other order, where the dictionary's keys name these.
    z, a = (L.Dense(3, name=name)(h) for name in ("az" if as_dict else "za"))
    model = keras.Model(inputs, {"z": z, "a": a} if as_dict else [z, a])
    exact = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    of_name = {"z": exact, "a": squares}
    ordered = [of_name[name] for name in (("a", "z") if as_dict else ("z", "a"))]
    model.compile("sgd", of_name if losses is dict else ordered)
    x, y = samples((6,), count=20)
    for number, name in enumerate(("z", "a")):
        found = recording.activation_derivatives(model, x, y, output=number)["h-tanh"]
        np.testing.assert_array_equal(
            found, recording.activation_derivatives(model, x, y, output=name)["h-tanh"]
        )
        kernel = model.get_layer(name if not as_dict else {"z": "a", "a": "z"}[name]).kernel.numpy()
        logits = np.asarray(model(x)[name] if as_dict else model(x)[number], np.float64)
        target = np.eye(3)[y]
        softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        expected = (softmax - target if name == "z" else 2 / 3 * (logits - target)) @ kernel.T
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_an_output_without_a_compiled_loss_is_refused():
    h = L.Dense(8, activation="tanh", name="h")(inputs := keras.Input((6,)))
    model = keras.Model(inputs, [L.Dense(3, name="z")(h), L.Dense(3, name="a")(h)])
    model.compile("sgd", {"a": "mse"})
    x, y = samples((6,))
    with pytest.raises(ValueError, match="with none of 'z'; give loss="):
        recording.activation_derivatives(model, x, y, output=0)
