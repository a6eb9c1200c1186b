"""The zoo: models of many kinds, what becomes of each, and how to reach its neurons by hand.

``python tests/zoo.py`` writes docs/models.md, the table of it; ``tests/test_zoo.py`` holds every row against
a brute force. A model is *right* or *refused*, with the sentence that says why.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.applications import convnext, densenet, efficientnet, efficientnet_v2, nasnet

L = keras.layers
N, K = 6, 3
TABLE = Path(__file__).parent.parent / "docs/models.md"


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=(N, *shape)).astype(np.float32)


def classes(k=K):
    return np.arange(N) % k


def S(*layers, shape=(8,)):
    return keras.Sequential([keras.Input(shape), *layers])


def relu(units=5, name="a", **options):
    return L.Dense(units, activation="relu", name=name, **options)


def cross_entropy(y, output, kept=1.0):
    """(N,) from logits, averaged over all further axes that are ``kept``; written out in float64."""
    output = tf.cast(output, tf.float64)
    chosen = tf.reduce_sum(output * tf.one_hot(y, output.shape[-1], dtype=tf.float64), axis=-1)
    losses = tf.reduce_logsumexp(output, axis=-1) - chosen
    return _mean(losses * kept) / _mean(kept + tf.zeros_like(losses))


def of_probabilities(y, output):
    output = tf.cast(output, tf.float64)
    return _mean(-tf.math.log(tf.reduce_sum(output * tf.one_hot(y, output.shape[-1], dtype=tf.float64), -1)))


def of_yes_or_no(y, output):
    y, output = tf.reshape(tf.cast(y, tf.float64), output.shape), tf.cast(output, tf.float64)
    return _mean(-(y * tf.math.log(output) + (1 - y) * tf.math.log(1 - output)))


def squared(y, output):
    return _mean((tf.reshape(tf.cast(y, tf.float64), output.shape) - tf.cast(output, tf.float64)) ** 2)


def smoothed(y, output):
    y = 0.9 * y + 0.1 / K
    return -tf.reduce_sum(y * tf.math.log(tf.cast(output, tf.float64)), axis=-1)


def _mean(losses):
    return tf.reduce_mean(tf.reshape(losses, [N, -1]), axis=1)


class Binary(keras.Layer):
    """Its weights are their signs for as long as a call takes."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 5), name="kernel")

    def call(self, x):
        real = tf.identity(self.kernel.value)
        self.kernel.assign(tf.sign(real))
        y = tf.matmul(x, self.kernel)
        with tf.control_dependencies([y]):
            self.kernel.assign(real)
        return y


class Python(keras.Layer):
    def call(self, x):
        y = tf.py_function(lambda t: 2 * tf.tanh(t), [x], x.dtype)
        y.set_shape(x.shape)
        return y


@dataclasses.dataclass
class Case:
    """One model. ``at(model)`` gives (owner, attribute): the function that applies φ to ``layer``; None
    stands for the attribute ``zero``, which the model adds to its activation itself. ``curve`` is None where
    curves are right, or a part of the sentence that refuses them. ``refused`` is a part of the recorder's."""

    name: str
    build: Callable
    layer: str = "a-relu"
    at: Callable | None = lambda model: (model.get_layer("a"), "activation")
    x: Any = dataclasses.field(default_factory=lambda: noise(8))
    y: Any = dataclasses.field(default_factory=classes)
    by_hand: Callable = cross_entropy
    options: dict = dataclasses.field(default_factory=dict)
    channels_first: bool = False  # in the activation as the model has it
    curve: str | None = None
    refused: str | None = None
    slow: bool = False
    largest: bool = False  # slower still
    untried: bool = False  # curves, because the network is large
    metric: tuple | None = (
        None  # of curves: what is given, and a NumPy function (y, outputs) that says the same
    )
    order_only: bool = False  # the graph does not show the logits: curves give accuracies, and losses as NaN


CASES = []
MSE = ("mse", lambda y, output: np.mean((y.reshape(output.shape) - output) ** 2))


def case(name, **options):
    """A function that builds a model, as a row of the table."""

    def keep(build):
        CASES.append(Case(name, build, **options))
        return build

    return keep


def refused(name, words, **options):
    return case(name, refused=words, **options)


def inner(name):
    """The layer called ``name``, however deep, and its activation."""
    return lambda model: (next(x for x in model._flatten_layers() if x.name == name), "activation")


def call_of(name):
    return lambda model: (next(x for x in model._flatten_layers() if x.name == name), "call")


# Ordinary layers -----------------------------------------------------------------------------------


@case("Sequential, fused")
def _():
    return S(relu(), L.Dense(K))


@case("functional, with a skip connection", layer="phi", at=call_of("phi"))
def _():
    i = keras.Input((8,))
    p = L.Dense(8)(i)
    return keras.Model(i, L.Dense(K)(L.Add()([L.ReLU(name="phi")(p), p])))


@case("fused without bias")
def _():
    return S(relu(use_bias=False), L.Dense(K))


@case("EinsumDense without bias", x=noise(4, 8))
def _():
    return S(
        L.EinsumDense("abc,cd->abd", (4, 5), activation="relu", name="a"),
        L.Flatten(),
        L.Dense(K),
        shape=(4, 8),
    )


@case("gelu, function", layer="a-gelu")
def _():
    return S(L.Dense(5, activation=keras.activations.gelu, name="a"), L.Dense(K))


@case("lambda function as activation", layer="a-lambda")
def _():
    return S(L.Dense(5, activation=lambda z: keras.ops.relu(z) + 0.1 * z, name="a"), L.Dense(K))


@case("PReLU as activation", layer="a-prelu")
def _():
    return S(L.Dense(5, activation=L.PReLU(alpha_initializer="ones"), name="a"), L.Dense(K))


@case("PReLU, layer", layer="phi", at=call_of("phi"))
def _():
    return S(L.Dense(5), L.PReLU(name="phi", alpha_initializer=keras.initializers.Constant(0.3)), L.Dense(K))


@case("linear activation layer", layer="phi", at=call_of("phi"))
def _():
    return S(L.Dense(5), L.Activation("linear", name="phi"), L.Dense(K))


@case("Conv1D", x=noise(7, 2))
def _():
    return S(L.Conv1D(4, 3, activation="relu", name="a"), L.Flatten(), L.Dense(K), shape=(7, 2))


@case("Conv3D", x=noise(4, 4, 4, 1))
def _():
    return S(L.Conv3D(2, 3, activation="relu", name="a"), L.Flatten(), L.Dense(K), shape=(4, 4, 4, 1))


@case("SeparableConv2D", x=noise(5, 5, 2))
def _():
    return S(L.SeparableConv2D(3, 3, activation="relu", name="a"), L.Flatten(), L.Dense(K), shape=(5, 5, 2))


@case("Conv2DTranspose", x=noise(3, 3, 2))
def _():
    return S(L.Conv2DTranspose(3, 2, activation="relu", name="a"), L.Flatten(), L.Dense(K), shape=(3, 3, 2))


@case(
    "Conv1D, channels first, fused",
    x=noise(3, 10),
    channels_first=True,
)
def _():
    layer = L.Conv1D(4, 3, data_format="channels_first", activation="relu", name="a")
    return S(layer, L.Flatten(), L.Dense(K), shape=(3, 10))


@case(
    "Conv2D, batch normalization, ReLU, channels first", layer="phi", at=call_of("phi"), x=noise(2, 6, 5),
    channels_first=True,
)  # fmt: skip
def _():
    i = keras.Input((2, 6, 5))
    h = L.Conv2D(4, 3, padding="same", data_format="channels_first")(i)
    p = L.BatchNormalization(axis=1, beta_initializer="ones")(h)
    h = L.Add()([L.ReLU(name="phi")(p), h])
    return keras.Model(i, L.Dense(K)(L.GlobalAveragePooling2D(data_format="channels_first")(h)))


@case("batch normalization, dropout, regularizers")
def _():
    return S(
        relu(kernel_regularizer="l2", activity_regularizer="l2"),
        L.BatchNormalization(),
        L.Dropout(0.5),
        L.Dense(K),
    )


@case("mixed bfloat16")
def _():
    return S(L.Dense(5, activation="relu", name="a", dtype="mixed_bfloat16"), L.Dense(K, dtype="float32"))


@case("float64", x=noise(8).astype(np.float64))
def _():
    i = keras.Input((8,), dtype="float64")
    return keras.Model(i, L.Dense(K, dtype="float64")(relu(dtype="float64")(i)))


@case("weights that are made binary for as long as a call takes")
def _():
    return S(relu(), Binary(), L.Dense(K))


@case("Python in a layer")
def _():
    return S(relu(), Python(), L.Dense(K))


@case(
    "transformer with masks, normalization first",
    x=np.arange(N * 4).reshape(N, 4) % 7 * np.array([1, 1, 1, 0]),
    curve="gives other outputs than the whole.*a mask is lost at the cut",
)
def _():
    i = keras.Input((4,), dtype="int32")
    h = L.Embedding(7, 8, mask_zero=True)(i)
    n = L.LayerNormalization()(h)
    h = L.Add()([h, L.MultiHeadAttention(2, 4)(n, n)])
    h = L.Add()([h, L.Dense(8)(relu()(L.LayerNormalization()(h)))])
    n = L.LayerNormalization()(h)
    h = L.Add()([h, L.MultiHeadAttention(2, 4)(n, n)])
    return keras.Model(i, L.Dense(K)(L.GlobalAveragePooling1D()(h)))


@case("Embedding with masks, LSTM", x=np.arange(N * 4).reshape(N, 4) % 7)
def _():
    i = keras.Input((4,), dtype="int32")
    h = L.LSTM(5)(L.Embedding(7, 3, mask_zero=True)(i))
    return keras.Model(i, L.Dense(K)(relu()(h)))


@case("LoRA", at=inner("a"))
def _():
    model = S(relu(), L.Dense(K))
    model.layers[0].enable_lora(2)
    model.layers[0].lora_kernel_b.assign(np.ones((2, 5)))
    return model


@case("int8-quantized")
def _():
    model = S(relu(), L.Dense(K))
    model.quantize("int8")
    return model


# Models in models ----------------------------------------------------------------------------------


@case("nested Sequential", layer="core/a-relu", at=inner("a"))
def _():
    core = keras.Sequential([keras.Input((8,)), relu()], name="core")
    return S(core, relu(name="top"), L.Dense(K))


@case("nested two deep, frozen", layer="outer/core/a-relu", at=inner("a"))
def _():
    core = keras.Sequential([keras.Input((8,)), relu()], name="core")
    i = keras.Input((8,))
    outer = keras.Model(i, relu(name="b")(core(i)), name="outer")
    outer.trainable = False
    return S(outer, L.Dense(K))


@case("softmax in a nested head", by_hand=of_probabilities)
def _():
    return S(relu(), keras.Sequential([keras.Input((5,)), L.Dense(K, activation="softmax")], name="head"))


@case("siamese towers", x=[noise(8), noise(8, seed=1)], at=None, curve="cannot be cut in two")
def _():
    return Siamese.made()


@case("functional model that overrides call", at=inner("a"), curve="cannot be cut in two")
def _():
    class Own(keras.Model):
        def call(self, x, training=None, mask=None):
            return 2 * super().call(x, training=training, mask=mask)

    i = keras.Input((8,))
    return Own(i, L.Dense(K)(relu()(i)))


# Layers that own layers, subclassed models -----------------------------------------------------------


class TransformerBlock(keras.Layer):
    """That of keras.io."""

    def __init__(self, dim, **options):
        super().__init__(**options)
        self.att = L.MultiHeadAttention(2, dim)
        self.ffn = keras.Sequential([L.Dense(7, activation="relu", name="a"), L.Dense(dim)], name="ffn")
        self.norm1, self.norm2 = L.LayerNormalization(), L.LayerNormalization()

    def call(self, x):
        x = self.norm1(x + self.att(x, x))
        return self.norm2(x + self.ffn(x))


@case(
    "TransformerBlock(Layer)",
    layer="block/ffn/a-relu",
    at=inner("a"),
    x=np.arange(N * 4).reshape(N, 4) % 7,
    curve="a layer of one's own",
)
def _():
    i = keras.Input((4,), dtype="int32")
    h = TransformerBlock(6, name="block")(L.Embedding(7, 6)(i))
    return keras.Model(i, L.Dense(K)(L.GlobalAveragePooling1D()(h)))


@case("TimeDistributed", layer="each/a-relu", at=call_of("each"), x=noise(4, 8), curve="a layer of one's own")
def _():
    return S(L.TimeDistributed(relu(), name="each"), L.Flatten(), L.Dense(K), shape=(4, 8))


@case("Bidirectional LSTM: what comes after it", x=noise(4, 8))
def _():
    return S(L.Bidirectional(L.LSTM(3)), relu(), L.Dense(K), shape=(4, 8))


class Subclassed(keras.Model):
    def __init__(self, phi=None):
        super().__init__()
        self.a, self.out, self.phi, self.zero = L.Dense(5, name="a"), L.Dense(K), phi, 0.0

    def call(self, x):
        return self.out((self.phi or keras.ops.relu)(self.a(x)) + self.zero)

    @classmethod
    def made(cls, *args):
        model = cls(*args)
        model(noise(8))
        return model


@case("subclassed, keras.ops.relu", at=None, curve="cannot be cut in two")
def _():
    return Subclassed.made()


@case("subclassed, tf.nn.relu kept", at=None, curve="cannot be cut in two")
def _():
    return Subclassed.made(tf.nn.relu)


@case("subclassed, keras.activations.mish", layer="a-mish", at=None, curve="cannot be cut in two")
def _():
    return Subclassed.made(lambda p: keras.activations.mish(p))


class Siamese(keras.Model):
    def __init__(self):
        super().__init__()
        self.tower, self.out, self.zero = L.Dense(5, name="a"), L.Dense(K), 0.0

    def call(self, pair):
        one, other = pair
        return self.out(keras.ops.relu(self.tower(one)) + self.zero - self.tower(other))

    @classmethod
    def made(cls):
        model = cls()
        model([noise(8), noise(8)])
        return model


# Functions as activations ----------------------------------------------------------------------------


def operation(kind):
    return lambda model: (next(op for op in model.operations if type(op).__name__.lower() == kind), "call")


@case("keras.ops.relu in a functional model", at=operation("relu"))
def _():
    i = keras.Input((8,))
    return keras.Model(i, L.Dense(K)(keras.ops.relu(L.Dense(5, name="a")(i))))


@case("keras.activations.gelu in a functional model", layer="a-gelu", at=operation("gelu"))
def _():
    i = keras.Input((8,))
    return keras.Model(i, L.Dense(K)(keras.activations.gelu(L.Dense(5, name="a")(i))))


@case("Lambda(keras.ops.relu)", layer="phi", at=lambda m: (m.get_layer("phi"), "function"))
def _():
    return S(L.Dense(5), L.Lambda(keras.ops.relu, name="phi"), L.Dense(K))


@case("activation in a layer of one's own", layer="own-relu", at=None, curve="a layer of one's own")
def _():
    class Own(keras.Layer):
        def __init__(self):
            super().__init__(name="own")

        def call(self, x):
            return keras.ops.relu(x * 1.0) + zero[0]

    zero = [0.0]
    model = S(L.Dense(5), Own(), L.Dense(K))
    vars(model)["cell"] = zero  # past Keras, which would copy it
    return model


# Inputs and outputs ----------------------------------------------------------------------------------


def two_inputs(as_dict=False):
    one, other = keras.Input((8,), name="one"), keras.Input((2, 3), name="other")
    h = L.Concatenate()([relu()(one), L.Flatten()(other)])
    return keras.Model({"one": one, "other": other} if as_dict else [one, other], L.Dense(K)(h))


@case("two inputs, list", x=[noise(8), noise(2, 3)])
def _():
    return two_inputs()


@case("two inputs, list, samples by name", x={"other": noise(2, 3), "one": noise(8)})
def _():
    return two_inputs()


@case("two inputs, dictionary", x={"one": noise(8), "other": noise(2, 3)})
def _():
    return two_inputs(as_dict=True)


@case("two outputs, one chosen", options={"output": "second"}, by_hand=cross_entropy)
def _():
    i = keras.Input((8,))
    h = relu()(i)
    return keras.Model(i, [L.Dense(2, name="first")(h), L.Dense(K, name="second")(h)])


@case("a dictionary of one output")
def _():
    i = keras.Input((8,))
    return keras.Model(i, {"cls": L.Dense(K)(relu()(i))})


# Outputs and losses ----------------------------------------------------------------------------------


@case("softmax", by_hand=of_probabilities)
def _():
    return S(relu(), L.Dense(K, activation="softmax"))


@case("Lambda(softmax)", order_only=True, by_hand=of_probabilities)
def _():
    return S(relu(), L.Dense(K), L.Lambda(keras.ops.softmax))


@case("softmax in a layer of one's own", order_only=True, by_hand=of_probabilities)
def _():
    class Own(keras.Layer):
        def call(self, x):
            return tf.nn.softmax(x)

    return S(relu(), L.Dense(K), Own())


@case("softmax before Reshape and Dropout", order_only=True, by_hand=of_probabilities)
def _():
    return S(relu(), L.Dense(K, activation="softmax"), L.Reshape((K,)), L.Dropout(0.5))


@case("labels (N, 1)", y=classes()[:, None], by_hand=lambda y, out: cross_entropy(y[:, 0], out))
def _():
    return S(relu(), L.Dense(K))


@case("labels, float64", y=classes().astype(np.float64), by_hand=lambda y, o: cross_entropy(y.astype(int), o))
def _():
    return S(relu(), L.Dense(K))


@case("labels, one-hot", y=np.eye(K)[classes()], by_hand=lambda y, out: cross_entropy(y.argmax(1), out))
def _():
    return S(relu(), L.Dense(K))


@case(
    "Keras loss on a softmax",
    by_hand=of_probabilities,
    options={"loss": keras.losses.SparseCategoricalCrossentropy(reduction=None)},
)
def _():
    return S(relu(), L.Dense(K, activation="softmax"))


@case(
    "label smoothing",
    by_hand=smoothed,
    y=np.eye(K)[classes()],
    options={"loss": keras.losses.CategoricalCrossentropy(label_smoothing=0.1, reduction=None)},
)
def _():
    return S(relu(), L.Dense(K, activation="softmax"))


@case("compiled with label smoothing", by_hand=smoothed, y=np.eye(K)[classes()])
def _():
    model = S(relu(), L.Dense(K, activation="softmax"))
    model.compile("sgd", keras.losses.CategoricalCrossentropy(label_smoothing=0.1))
    return model


@case(
    'loss="mse", float64 targets',
    y=noise()[:, None].astype(float),
    by_hand=squared,
    options={"loss": "mse"},
    metric=MSE,
)
def _():
    return S(relu(), L.Dense(1))


@case("mse, targets (N,)", y=noise(), by_hand=squared, metric=MSE)
def _():
    model = S(relu(), L.Dense(1))
    model.compile("sgd", "mse")
    return model


def own_loss(y, output):
    return keras.ops.square(y[:, None] - output)


@case("compiled with a function of one's own", y=classes(), by_hand=squared, metric=MSE)
def _():
    model = S(relu(), L.Dense(1))
    model.compile("sgd", own_loss)
    return model


@case("one sigmoid output", y=classes(2), by_hand=of_yes_or_no)
def _():
    return S(relu(), L.Dense(1, activation="sigmoid"))


@case("regression, no metric given", y=noise(), by_hand=squared, curve="gives one number.*metric=")
def _():
    model = S(relu(), L.Dense(1))
    model.compile("sgd", "mse")
    return model


@case(
    "several sigmoid outputs",
    y=(noise(4) > 0).astype(int),
    by_hand=of_yes_or_no,
    metric=("binary_accuracy", lambda y, output: np.mean((output > 0.5) == y)),
)
def _():
    return S(relu(), L.Dense(4, activation="sigmoid"))


@case(
    "an output for each token",
    x=noise(4, 8),
    y=np.arange(N * 4).reshape(N, 4) % K,
)
def _():
    return S(relu(), L.Dense(K), shape=(4, 8))


TOKENS = np.where(np.arange(4) <= np.arange(N)[:, None] % 4, 1 + np.arange(N * 4).reshape(N, 4) % 6, 0)


@case(
    "an output for each token, some masked",
    x=TOKENS,
    y=np.arange(N * 4).reshape(N, 4) % K,
    by_hand=lambda y, output: cross_entropy(y, output, TOKENS > 0),
)
def _():
    i = keras.Input((4,), dtype="int32")
    h = L.LSTM(4, return_sequences=True)(relu()(L.Embedding(7, 3, mask_zero=True)(i)))
    return keras.Model(i, L.Dense(K)(h))


# Refused ---------------------------------------------------------------------------------------------


@refused("unbuilt Sequential", "is not built")
def _():
    return keras.Sequential([L.Dense(4, activation="relu"), L.Dense(K)])


@refused("softmax before Rescaling", "made of a softmax by operations that change")
def _():
    return S(relu(), L.Dense(K, activation="softmax"), L.Rescaling(0.5))


@refused("average of two softmax", "made of a softmax by operations that change")
def _():
    i = keras.Input((8,))
    h = relu()(i)
    return keras.Model(i, L.Average()([L.Dense(K, activation="softmax")(h) for _ in range(2)]))


@refused("softmax written out", "look like probabilities")
def _():
    return S(
        relu(),
        L.Dense(K),
        L.Lambda(lambda z: keras.ops.exp(z) / keras.ops.sum(keras.ops.exp(z), -1, keepdims=True)),
    )


@refused("ReLU output", "no softmax")
def _():
    return S(relu(), L.Dense(K, activation="relu", name="b"))


@refused(
    "loss from logits on a softmax",
    "takes logits",
    options={"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
)
def _():
    return S(relu(), L.Dense(K, activation="softmax"))


@refused("compiled from logits, ends in a softmax", "from_logits=True.*ends in a softmax")
def _():
    model = S(relu(), L.Dense(K, activation="softmax"))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@refused("compiled from probabilities, ends in logits", "from_logits=False.*ends in no softmax")
def _():
    model = S(relu(), L.Dense(K))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


@refused("stateful LSTM", "keeps its state between calls", x=noise(2, 4))
def _():
    i = keras.Input((2, 4), batch_size=N)
    return keras.Model(i, L.Dense(K)(relu()(L.LSTM(3, stateful=True)(i))))


@refused("a layer that counts its calls", "changes its state")
def _():
    class Counting(keras.Layer):
        def build(self, shape):
            self.calls = self.add_weight(shape=(), trainable=False)

        def call(self, x):
            self.calls.assign_add(1.0)
            return x

    return S(relu(), Counting(), L.Dense(K))


@refused("a metric that every call updates", "changes its state")
def _():
    class Measuring(keras.Layer):
        def __init__(self):
            super().__init__()
            self.mean = keras.metrics.Mean(name="mean")

        def call(self, x):
            self.mean.update_state(keras.ops.mean(x))
            return x

    return S(relu(), Measuring(), L.Dense(K))


@refused("a layer that decays its trained weights", "changes its state")
def _():
    class Decaying(keras.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel")

        def call(self, x):
            y = keras.ops.matmul(x, self.kernel)
            self.kernel.assign(0.9 * self.kernel)
            return y

    return S(relu(), Decaying(), L.Dense(K))


@refused("calls counted in a variable of TensorFlow's own", "changes its state")
def _():
    class Counting(keras.Layer):
        def build(self, shape):
            self.counters = [tf.Variable(0.0, name="calls")]

        def call(self, x):
            self.counters[0].assign_add(1.0)
            return x

    return S(relu(), Counting(), L.Dense(K))


@refused("random numbers in inference", "gives other outputs|changes its state")
def _():
    class Noisy(keras.Layer):
        def call(self, x):
            return x + tf.random.normal(tf.shape(x))

    return S(relu(), Noisy(), L.Dense(K))


@refused("a mean over the samples", "samples meet")
def _():
    return S(relu(), L.Lambda(lambda z: z - keras.ops.mean(z, 0)), L.Dense(K))


@refused("a trace of the other samples", "samples meet")
def _():
    return S(relu(), L.Lambda(lambda z: z + 1e-4 * keras.ops.mean(z, 0)), L.Dense(K))


@refused(
    "a loss that broadcasts (N,) against (N, 1)",
    "samples meet",
    y=noise(),
    options={"loss": lambda y, o: tf.reduce_mean((y - o) ** 2, -1)},
)
def _():
    return S(relu(), L.Dense(1))


@refused("a loss of one number", "one value for each sample", options={"loss": lambda y, o: tf.reduce_sum(o)})
def _():
    return S(relu(), L.Dense(K))


@refused("two outputs, none chosen", "2 outputs.*output=")
def _():
    i = keras.Input((8,))
    h = relu()(i)
    return keras.Model(i, [L.Dense(2, name="first")(h), L.Dense(K, name="second")(h)])


@refused("two inputs, a list for a dictionary", "dictionary of arrays", x=[noise(8), noise(2, 3)])
def _():
    return two_inputs(as_dict=True)


@refused("two inputs, one given", "2 inputs")
def _():
    return two_inputs()


@refused("tf.data as samples", "give arrays", x=tf.data.Dataset.from_tensor_slices(noise(8)))
def _():
    return S(relu(), L.Dense(K))


@refused("activations inside an LSTM", "recurrent", layer="lstm", x=noise(4, 8))
def _():
    return S(L.LSTM(3, name="lstm"), L.Dense(K), shape=(4, 8))


@refused("ReLU after a channels-first layer, somewhere", "channels come first", layer="phi", x=noise(3, 10))
def _():
    conv = L.Conv1D(4, 3, data_format="channels_first")
    return S(conv, L.Dropout(0.1), L.ReLU(name="phi"), L.Flatten(), L.Dense(K), shape=(3, 10))


# Keras applications ------------------------------------------------------------------------------------


def application(name, layer, size, slow=True, largest=False, at=None, make=None, **options):
    make = make or getattr(keras.applications, name)

    def build():
        top = {"classes": 10, "classifier_activation": None}
        return make(weights=None, input_shape=(size, size, 3), **top, **options)

    x = noise(size, size, 3)[:2]
    how = {"slow": slow, "largest": largest, "untried": slow}
    CASES.append(Case(name, build, layer, x=x, y=np.arange(2), at=at or call_of(layer), **how))


application("MobileNet", "conv_pw_1_relu", 32, slow=False, alpha=0.25)
application("MobileNetV2", "block_3_expand_relu", 32, alpha=0.35)
application("MobileNetV3Small", "activation", 32)
application("ResNet50", "conv3_block1_out", 32)
application("ResNet50V2", "conv3_block1_preact_relu", 32, largest=True)
application("DenseNet, short", "conv3_block1_0_relu", 32, make=densenet.DenseNet, blocks=[2, 2, 2, 2])
SHALLOW = {"width_coefficient": 1.0, "depth_coefficient": 0.1, "default_size": 32}  # one block a stage
B0, V2B0 = efficientnet.EfficientNet, partial(efficientnet_v2.EfficientNetV2, name="efficientnetv2-b0")
application("EfficientNet, short", "block3a_expand_activation", 32, make=B0, **SHALLOW)
application("EfficientNetV2, short", "block4a_expand_activation", 32, make=V2B0, **SHALLOW)
application("Xception", "block3_sepconv2_act", 71, largest=True)
application("InceptionV3", "activation_3", 75, largest=True)
MOBILE = {"penultimate_filters": 1056, "num_blocks": 1, "stem_block_filters": 32, "skip_reduction": False}
application("NASNet, short", "activation_5", 32, True, True, make=nasnet.NASNet, default_size=32, **MOBILE)
SMALL = {"depths": [1] * 4, "projection_dims": [8, 16, 24, 32]}
application("ConvNeXt, short", "convnext_stage_1_block_0_gelu", 32, make=convnext.ConvNeXt, **SMALL)
application("VGG16", "block3_conv1-relu", 32, at=inner("block3_conv1"))


HEAD = """# Models

What becomes of models of many kinds: *right* means held against a brute force (the derivative with respect
to a zero added to the activation, in eager mode; pre-activations replaced by hand), anything else is a part
of the sentence with which the model is refused. Written by `python tests/zoo.py` and held by `pytest tests
-k zoo`; `-m "not slow"` leaves the larger Keras applications out, whose curves are not tried; the
largest ({largest}) run only by `pytest tests -m exhaustive -k zoo`. *Short*
ones are built by the function that Keras builds the family with, with one or two blocks a stage.

| model | recorded | curves |
| --- | --- | --- |
"""


def table():
    """docs/models.md: one row for each case, what the recorder and what curves do with it."""
    largest = ", ".join(one.name.partition(",")[0] for one in CASES if one.largest)
    return HEAD.format(largest=largest) + "".join(
        f"| {one.name} | {_recorded(one)} | {_curves(one)} |\n" for one in CASES
    )


def _recorded(one):
    return (
        "right" if one.refused is None else f"“{one.refused.replace('.*', ' ... ').replace('|', '” or “')}”"
    )


def _curves(one):
    if one.refused or one.untried:
        return ""
    if one.curve:
        return f"“{one.curve.replace('.*', ' ... ')}”"
    if one.metric:
        return f"right, metric “{one.metric[0]}” given"
    return "right, but no loss: the graph does not show the logits" if one.order_only else "right"


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
