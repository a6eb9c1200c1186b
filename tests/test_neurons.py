"""Neuron layers: which are found, their tensors, split layers, taps."""

import random
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

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
    for look in (neurons.activation, neurons.choose_layers):
        with pytest.raises(ValueError, match=r"'dense1_relu'.*nearest.*dense1-relu"):
            look(make_mlp(), "dense1_relu")
    with pytest.raises(ValueError, match="nearest"):
        neurons.activation(make_mlp(), "dense1")  # a layer, but no neuron layer


def test_a_name_far_from_all_still_says_what_there_is(make_mlp):
    with pytest.raises(ValueError, match="dense1-relu, dense2-relu"):
        neurons.choose_layers(make_mlp(), "@@@@")


def test_no_neuron_layers_says_how_to_get_them():
    inputs = keras.Input((3,))
    with pytest.raises(ValueError, match="no neuron layer.*Activation"):
        neurons.choose_layers(keras.Model(inputs, L.Dense(2)(inputs)))
    with pytest.raises(ValueError, match="'one-relu' is no layer of the graph.*split_fused"):
        neurons.pre_activation(fused_model(), "one-relu")


def test_each_application_of_a_layer_has_its_own_name():
    inputs = keras.Input((3,))
    phi = L.Activation("relu", name="phi")
    model = keras.Model(inputs, L.Dense(2)(phi(first := L.Dense(3)(phi(L.Dense(3)(inputs))))))
    assert neurons.neuron_layers(model) == ["phi", "phi:2"]
    assert neurons.pre_activation(model, "phi:2") is first


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


def test_subclassed_models_cannot_be_split_and_unbuilt_ones_not_looked_at():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(2)

        def call(self, x):
            return self.dense(x)

    own = Own()
    own(np.zeros((1, 3), np.float32))
    with pytest.raises(ValueError, match="Own.*not a functional or Sequential model"):
        neurons.split_fused(own)
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
    assert split is not model and neurons.split_fused(split) is split
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


# watch ---------------------------------------------------------------------------------------------


def test_watching_reports_every_activation_and_changes_nothing(make_mlp):
    model, x, seen = make_mlp("sigmoid"), images(), []
    before = np.asarray(model(x))
    inside = np.asarray(neurons.watch(model, x, lambda name, p, a: seen.append((name, p, a))))
    np.testing.assert_array_equal(inside, before)
    assert [name for name, _, _ in seen] == ["dense1-sigmoid", "dense2-sigmoid"]
    for _, p, a in seen:
        np.testing.assert_allclose(a, 1 / (1 + np.exp(-np.asarray(p))), rtol=1e-5)
    model(x)
    assert len(seen) == 2


def test_watching_ends_with_an_error(make_mlp):
    model, relu = make_mlp(), tf.nn.relu

    def broken(name, p, a):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        neurons.watch(model, images(), broken)
    assert all("call" not in vars(layer) for layer in model.layers)
    assert tf.nn.relu is relu


def test_watching_may_be_nested(make_mlp):
    """The inner one ends; the outer one still reports."""
    model, outer, inner = make_mlp(), [], []

    def also(name, p, a):
        outer.append(name)
        if len(outer) == 1:
            neurons.watch(make_mlp(), images(), lambda name, p, a: inner.append(name))

    neurons.watch(model, images(), also)
    assert outer == inner == ["dense1-relu", "dense2-relu"]


def test_other_threads_are_not_watched(make_mlp):
    """What another thread calls in the meantime is its own affair."""
    model, other, seen = make_mlp(), make_mlp(), []

    def on_activation(name, p, a):
        seen.append(name)
        for of in (model, other):
            thread = threading.Thread(target=of, args=(images(),))
            thread.start()
            thread.join()

    neurons.watch(model, images(), on_activation)
    assert seen == ["dense1-relu", "dense2-relu"]


def test_activity_regularizers_keep_nothing_of_a_watched_call():
    model = keras.Sequential([keras.Input((3,)), L.Dense(4, "relu", activity_regularizer="l2"), L.Dense(2)])
    model(images(4, (3,)))
    before = [float(loss) for loss in model.losses]
    neurons.find(model)
    assert [float(loss) for loss in model.losses] == before


def test_a_shared_tower_is_named_and_split_the_same_way_everywhere():
    """Inside a nested model that is applied twice, too; its copies keep sharing their weights."""
    tower = keras.Sequential(
        [keras.Input((5,)), L.Dense(4, "tanh", name="one"), L.ReLU(name="two")], name="tower"
    )
    inputs = keras.Input((5,))
    model = keras.Model(inputs, L.Dense(3)(L.Subtract()([tower(inputs), tower(L.Dense(5)(inputs))])))
    split, x = neurons.split_fused(model), images(6, (5,)) - 0.5
    names = ["tower/one-tanh", "tower/two", "tower/one-tanh:2", "tower/two:2"]
    assert sorted(neurons.neuron_layers(model)) == sorted(names)
    assert sorted(neurons.neuron_layers(split)) == sorted(names)  # side by side, in another order
    np.testing.assert_allclose(split(x), model(x), rtol=1e-6)
    seen, tensors = {}, [neurons.pre_activation(split, name) for name in names]
    neurons.watch(model, x, lambda name, p, a: seen.update({name: p}))
    for name, p in zip(names, keras.Model(split.inputs[0], tensors)(x), strict=True):
        np.testing.assert_allclose(p, seen[name], rtol=1e-6)
    tower.get_layer("one").kernel.assign(np.ones((5, 4)))
    np.testing.assert_allclose(split(x), model(x), rtol=1e-6)


@pytest.mark.parametrize("function", [tf.raw_ops.Relu, lambda features: keras.ops.maximum(features, 0.0)])
def test_an_activation_function_that_is_not_seen_is_named(function):
    model = keras.Sequential([keras.Input((3,)), L.Dense(4, "relu", name="a"), L.Dense(4, name="b")])
    model.add(L.Lambda(lambda p: function(features=p), name="hidden"))
    model.add(L.Dense(2))
    found = neurons.find(model)
    assert list(found.shapes) == ["a-relu"]
    ((name, why),) = found.left_out.items()
    assert "hidden" in name and "not watched" in why


# A twin that no longer fits --------------------------------------------------------------------------


def outputs(model, x):
    return np.asarray(neurons.split_fused(model)(x))


def sequential(*layers):
    return keras.Sequential([keras.Input((5,)), L.Dense(4, activation="tanh", name="one"), *layers])


@pytest.mark.parametrize("change", ["add", "activation", "pop", "lora"])
def test_a_twin_is_made_anew_when_the_model_has_changed(change):
    model, x = sequential(L.Dense(3)), images(6, (5,))
    first = outputs(model, x)
    if change == "add":
        model.add(L.Dense(5, activation="softmax"))
    elif change == "pop":
        model.pop()
    elif change == "activation":
        model.layers[0].activation = keras.activations.sigmoid
    else:
        model.layers[0].enable_lora(2)
        model.layers[0].lora_kernel_b.assign(np.ones((2, 4)))
    np.testing.assert_allclose(outputs(model, x), model(x), rtol=1e-6)
    assert outputs(model, x).shape != first.shape or not np.allclose(outputs(model, x), first)


def test_a_layer_that_does_more_after_its_activation_is_refused():
    class Scaled(L.Dense):
        gain = 3

        def call(self, inputs, training=None):
            return self.gain * super().call(inputs, training=training)

    model = keras.Sequential([keras.Input((5,)), Scaled(4, activation="tanh", name="one"), L.Dense(3)])
    with pytest.raises(ValueError, match=r"differ by .*more after its activation"):
        neurons.split_fused(model)


def test_a_subclass_keeps_what_its_config_does_not_say():
    class Scaled(L.Dense):
        gain = 1

        def call(self, inputs, training=None):
            return super().call(self.gain * inputs, training=training)

    model = keras.Sequential([keras.Input((5,)), Scaled(4, activation="tanh", name="one"), L.Dense(3)])
    model.layers[0].gain = 3
    np.testing.assert_array_equal(outputs(model, images(6, (5,))), model(images(6, (5,))))


def test_splitting_and_watching_disturb_nothing():
    """Random states are as before, and no layer of the user's has another node."""
    core = keras.Sequential([keras.Input((5,)), L.Dense(4, activation="relu"), L.Dropout(0.5)], name="core")
    model = keras.Sequential([keras.Input((5,)), core, L.Dense(4, activation="tanh"), L.Dense(3)])
    layers = model._flatten_layers()
    nodes = [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in layers]
    keras.utils.set_random_seed(3)
    expected = (
        random.random(),
        np.random.rand(),
        float(keras.random.uniform(())),
        float(tf.random.uniform(())),
    )
    keras.utils.set_random_seed(3)
    neurons.find(model)
    neurons.split_fused(model)
    found = random.random(), np.random.rand(), float(keras.random.uniform(())), float(tf.random.uniform(()))
    assert found == expected
    assert [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in layers] == nodes


@pytest.mark.parametrize("axis", [1, -3])
def test_channels_that_come_first_by_a_negative_axis_are_channels(axis):
    inputs = keras.Input((3, 5, 7))
    x = keras.layers.ReLU(name="act")(keras.layers.BatchNormalization(axis=axis)(inputs))
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    assert neurons.find(keras.Model(inputs, keras.layers.Dense(2)(x))).shapes == {"act": (5, 7, 3)}


def test_layers_of_one_path_have_no_function_that_could_be_told():
    class Two(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.last = keras.layers.Dense(4), keras.layers.Dense(2)
            self.one = keras.layers.Activation("relu", name="act")
            self.other = keras.layers.Activation("tanh", name="act")

        def call(self, x):
            return self.last(self.other(self.one(self.first(x))))

    model = Two()
    names = neurons.neuron_layers(
        model(np.zeros((2, 3), np.float32)) is None or model, np.zeros((2, 3), np.float32)
    )
    assert neurons.activation_functions(model, names) == dict.fromkeys(names, "")
