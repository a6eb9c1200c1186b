"""Neuron layers: which are found, their tensors, split layers, taps."""

import keras
import numpy as np
import pytest

from keras_neuronlevel import neurons

L = keras.layers


def images(count=6, shape=(4, 4, 1), seed=0):
    return np.random.default_rng(seed).uniform(0, 1, (count, *shape)).astype(np.float32)


def fused_model(**options):
    inputs = keras.Input((5,))
    x = L.Dense(4, activation="relu", name="one")(inputs)
    x = L.Dense(4, activation="tanh", name="two")(x)
    return keras.Model(inputs, L.Dense(3, name="logits", **options)(x))


def test_every_kind_of_activation_layer_is_found_in_order():
    inputs = keras.Input((3,))
    x = inputs
    kinds = [
        L.Activation("relu", name="z"),
        L.Activation("linear", name="y"),
        L.ReLU(name="x"),
        L.LeakyReLU(name="w"),
        L.PReLU(name="v"),
        L.ELU(name="u"),
    ]
    for kind in kinds:
        x = kind(L.Dense(3)(x))
    model = keras.Model(inputs, L.Dense(2)(x))
    assert neurons.neuron_layers(model) == ["z", "y", "x", "w", "v", "u"]


def test_softmax_mixing_functions_and_the_output_are_no_neurons():
    inputs = keras.Input((3,))
    attention = L.Activation("softmax", name="attention")(L.Dense(3)(inputs))
    x = L.Activation("sigmoid", name="hidden")(L.Dense(3)(L.Softmax(name="other")(attention)))
    model = keras.Model(inputs, L.Activation("linear", name="out")(L.Dense(2)(x)))
    assert neurons.neuron_layers(model) == ["hidden"]


def test_an_output_activation_is_a_neuron_layer_where_it_is_not_the_output():
    inputs = keras.Input((3,))
    hidden = L.Activation("relu", name="phi")(L.Dense(3)(inputs))
    keras.Model(inputs, hidden)  # here phi is the output
    assert neurons.neuron_layers(keras.Model(inputs, L.Dense(2)(hidden))) == ["phi"]


def test_tensors_are_pre_activation_and_activation(make_mlp):
    model = make_mlp("sigmoid")
    x = images()
    for name, dense in (("dense1-sigmoid", "dense1"), ("dense2-sigmoid", "dense2")):
        p, a = neurons.pre_activation(model, name), neurons.activation(model, name)
        probe = keras.Model(model.inputs[0], [p, a, model.get_layer(dense).output])
        p, a, dense_output = (np.asarray(v) for v in probe(x))
        np.testing.assert_array_equal(p, dense_output)
        np.testing.assert_allclose(a, 1 / (1 + np.exp(-p)), rtol=1e-5)


def test_tensors_of_a_layer_that_stands_in_two_models(make_mlp):
    model = make_mlp()
    layer = model.get_layer("dense1-relu")
    other_input = keras.Input((6,))
    other = keras.Model(other_input, L.Dense(2)(layer(other_input)))
    assert neurons.pre_activation(other, "dense1-relu") is other_input
    assert neurons.pre_activation(model, "dense1-relu") is model.get_layer("dense1").output


def test_unknown_name_says_the_nearest(make_mlp):
    with pytest.raises(ValueError, match=r"'dense1_relu'.*nearest.*dense1-relu"):
        neurons.neuron_layer(make_mlp(), "dense1_relu")
    with pytest.raises(ValueError, match="nearest"):
        neurons.activation(make_mlp(), "dense1")  # a layer, but no neuron layer


def test_a_name_far_from_all_still_says_what_there_is(make_mlp):
    with pytest.raises(ValueError, match="dense1-relu, dense2-relu"):
        neurons.neuron_layer(make_mlp(), "@@@@")


def test_no_neuron_layers_says_how_to_get_them():
    inputs = keras.Input((3,))
    with pytest.raises(ValueError, match="no neuron layer.*Activation"):
        neurons.choose_layers(keras.Model(inputs, L.Dense(2)(inputs)))
    with pytest.raises(ValueError, match="one, two apply.*split_fused"):
        neurons.choose_layers(fused_model())


def test_a_layer_applied_twice_is_refused():
    inputs = keras.Input((3,))
    phi = L.Activation("relu", name="phi")
    model = keras.Model(inputs, L.Dense(2)(phi(L.Dense(3)(phi(L.Dense(3)(inputs))))))
    with pytest.raises(ValueError, match="'phi' is applied 2 times"):
        neurons.neuron_layer(model, "phi")


def test_choose_layers_checks_and_orders(make_mlp):
    model = make_mlp()
    both = ["dense1-relu", "dense2-relu"]
    assert neurons.choose_layers(model) == both
    assert neurons.choose_layers(model, reversed(both)) == both
    assert neurons.choose_layers(model, "dense2-relu") == ["dense2-relu"]
    with pytest.raises(ValueError, match="layers is empty"):
        neurons.choose_layers(model, [])
    with pytest.raises(ValueError, match="'dense3-relu'"):
        neurons.choose_layers(model, ["dense1-relu", "dense3-relu"])


def test_subclassed_and_unbuilt_models_are_refused():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(2)

        def call(self, x):
            return self.dense(x)

    own = Own()
    own(np.zeros((1, 3), np.float32))
    with pytest.raises(ValueError, match="Own.*not a functional or Sequential model"):
        neurons.neuron_layers(own)
    with pytest.raises(ValueError, match=r"not built.*build\(input_shape\)"):
        neurons.neuron_layers(keras.Sequential([L.Dense(2)]))


def test_sequential_becomes_functional_with_the_same_layers():
    model = keras.Sequential([keras.Input((3,)), L.Dense(4), L.ReLU(name="phi"), L.Dense(2)])
    graph = neurons.functional(model)
    assert neurons.neuron_layers(model) == ["phi"]
    assert graph.get_layer("phi") is model.get_layer("phi")
    x = images(4, (3,))
    np.testing.assert_array_equal(graph(x), model(x))


@pytest.mark.parametrize("kind", ["none", "activation", "layer"])
def test_logits_are_what_goes_into_the_last_softmax(kind):
    inputs = keras.Input((3,))
    scores = L.Dense(4)(inputs)
    softmax = {"none": None, "activation": L.Activation("softmax"), "layer": L.Softmax()}[kind]
    model = keras.Model(inputs, softmax(scores) if softmax else scores)
    assert neurons.output_softmax(model) is softmax
    assert neurons.logits(model) is scores


def test_several_outputs_are_refused():
    inputs = keras.Input((3,))
    with pytest.raises(ValueError, match="2 outputs"):
        neurons.logits(keras.Model(inputs, [L.Dense(2)(inputs), L.Dense(2)(inputs)]))


# split_fused ---------------------------------------------------------------------------------------


def test_split_model_is_the_same_function_with_neuron_layers():
    model = fused_model()
    split = neurons.split_fused(model)
    x = images(7, (5,)) - 0.5
    np.testing.assert_array_equal(split(x), model(x))
    assert neurons.fused_layers(model) == ["one", "two"]
    assert neurons.fused_layers(split) == []
    assert neurons.neuron_layers(split) == ["one-relu", "two-tanh"]
    probe = keras.Model(split.inputs[0], neurons.pre_activation(split, "one-relu"))
    kernel, bias = (np.asarray(w) for w in model.get_layer("one").weights)
    np.testing.assert_allclose(probe(x), x @ kernel + bias, rtol=1e-5, atol=1e-6)


def test_split_model_shares_its_weights():
    model = fused_model()
    split = neurons.split_fused(model)
    assert {id(v) for v in split.trainable_variables} == {id(v) for v in model.trainable_variables}
    model.get_layer("one").kernel.assign(np.full((5, 4), 0.25))
    x = images(2, (5,))
    np.testing.assert_array_equal(split(x), model(x))
    split.get_layer("two").bias.assign(np.arange(4.0))
    np.testing.assert_array_equal(split(x), model(x))


@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.Conv2D(3, 3, strides=2, padding="same", dilation_rate=1, activation="relu", name="c"),
        lambda: L.Conv2D(4, 3, groups=2, use_bias=False, activation="relu", name="c"),
        lambda: L.DepthwiseConv2D(3, depth_multiplier=2, activation="relu", name="c"),
        lambda: L.SeparableConv2D(3, 3, activation="relu", name="c"),
        lambda: L.Conv2DTranspose(3, 3, strides=2, activation="relu", name="c"),
        lambda: L.EinsumDense("bhwc,cd->bhwd", (6, 6, 3), bias_axes="d", activation="relu", name="c"),
    ],
    ids=["conv", "grouped", "depthwise", "separable", "transpose", "einsum"],
)
def test_split_convolutions_compute_the_same(layer):
    inputs = keras.Input((6, 6, 2))
    model = keras.Model(inputs, L.Dense(2)(L.Flatten()(layer()(inputs))))
    split = neurons.split_fused(model)
    x = images(3, (6, 6, 2)) - 0.5
    np.testing.assert_array_equal(split(x), model(x))
    assert neurons.neuron_layers(split) == ["c-relu"]
    a = keras.Model(split.inputs[0], neurons.activation(split, "c-relu"))(x)
    assert np.min(keras.Model(split.inputs[0], neurons.pre_activation(split, "c-relu"))(x)) < 0 == np.min(a)


def test_split_avoids_names_that_are_taken():
    inputs = keras.Input((3,))
    x = L.Dense(3, activation="relu", name="one")(inputs)
    model = keras.Model(inputs, L.Dense(2)(L.ReLU(name="one-relu")(x)))
    assert neurons.neuron_layers(neurons.split_fused(model)) == ["one-relu_", "one-relu"]


def test_nothing_to_split_gives_the_model_itself(make_mlp):
    model = make_mlp()
    assert neurons.split_fused(model) is model


def test_split_softmax_gives_logits():
    model = fused_model(activation="softmax")
    split = neurons.split_fused(model)
    x = images(4, (5,))
    probe = keras.Model(split.inputs[0], neurons.logits(split))
    np.testing.assert_allclose(keras.ops.softmax(probe(x)), model(x), rtol=1e-5)
    assert neurons.neuron_layers(split) == ["one-relu", "two-tanh"]


def test_split_sequential():
    model = keras.Sequential([keras.Input((3,)), L.Dense(4, activation="relu", name="d"), L.Dense(2)])
    split = neurons.split_fused(model)
    x = images(4, (3,)) - 0.5
    np.testing.assert_array_equal(split(x), model(x))
    assert neurons.neuron_layers(split) == ["d-relu"]


def test_splitting_leaves_the_given_model_as_it_was():
    model = fused_model()
    tensors = {layer.name: layer.output for layer in model.layers}
    x = images(4, (5,))
    before = np.asarray(model(x))
    neurons.split_fused(model)
    assert {layer.name: layer.output for layer in model.layers} == tensors
    assert neurons.fused_layers(model) == ["one", "two"]
    np.testing.assert_array_equal(model(x), before)


def test_split_keeps_each_layers_precision():
    """A float32 output layer in a mixed_float16 model must not have its logits rounded to float16."""
    inputs = keras.Input((5,))
    hidden = L.Dense(4, activation="relu", name="one", dtype="mixed_float16")(inputs)
    model = keras.Model(inputs, L.Dense(3, activation="softmax", name="out", dtype="float32")(hidden))
    split = neurons.split_fused(model)
    assert split.get_layer("one-relu").compute_dtype == "float16"
    keras.config.set_dtype_policy("mixed_float16")
    try:
        split = neurons.split_fused(model)
    finally:
        keras.config.set_dtype_policy("float32")
    assert split.get_layer("out-softmax").compute_dtype == "float32"


# tapped --------------------------------------------------------------------------------------------


def test_taps_report_every_call_and_change_nothing(make_mlp):
    model, x, seen = make_mlp("sigmoid"), images(), []
    before = np.asarray(model(x))
    layers = [model.get_layer("dense1-sigmoid"), model.get_layer("dense2-sigmoid")]
    with neurons.tapped(layers, lambda layer, p, a: seen.append((layer.name, p, a))):
        inside = np.asarray(model(x))
    np.testing.assert_array_equal(inside, before)
    assert [name for name, _, _ in seen] == ["dense1-sigmoid", "dense2-sigmoid"]
    for _, p, a in seen:
        np.testing.assert_allclose(a, 1 / (1 + np.exp(-np.asarray(p))), rtol=1e-5)
    model(x)
    assert len(seen) == 2


def test_taps_are_removed_after_an_error(make_mlp):
    model = make_mlp()
    layer = model.get_layer("dense1-relu")
    with pytest.raises(RuntimeError, match="mine"), neurons.tapped([layer], lambda *_: None):
        raise RuntimeError("mine")
    assert "call" not in vars(layer)


def test_taps_may_be_nested(make_mlp):
    """The inner taps end; the outer ones still report."""
    model, outer, inner = make_mlp(), [], []
    layer = model.get_layer("dense1-relu")
    with neurons.tapped([layer], lambda *found: outer.append(found)):
        with neurons.tapped([layer], lambda *found: inner.append(found)):
            model(images())
        model(images())
    assert (len(outer), len(inner)) == (2, 1)
    assert "call" not in vars(layer)
