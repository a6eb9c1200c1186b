"""What the tests share: quiet TensorFlow, a tiny data set, and networks that NumPy can follow."""

import functools
import gc
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads that wait for each other take longest
import matplotlib
import numpy as np
import pytest
from hypothesis import settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as in the scripts; channels first need it
matplotlib.use("Agg")
settings.register_profile("unhurried", deadline=None)  # shared machines stall
settings.load_profile("unhurried")

CLASSES = 3


def pytest_collection_modifyitems(config, items):
    """What is exhaustive runs only where it is asked for, also beside ``-m 'not slow'``. Files that take long
    come first, so that processes that share the files end together."""
    slow = {item.path for item in items if "slow" in item.keywords}
    items.sort(key=lambda item: item.path not in slow)
    if config.option.markexpr != "exhaustive":
        for item in items:
            if "exhaustive" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes; -m exhaustive runs it"))


def pytest_collection_finish():
    """What is imported by now stays: collecting garbage need not look at it again."""
    gc.collect()
    gc.freeze()


def tiny_dataset(image_shape=(4, 4, 1), train=50, test=23, classes=CLASSES, name="tiny"):
    """Noisy prototypes: a problem that a few steps of training make visible progress on."""
    from keras_neuronlevel.data import Dataset

    rng = np.random.default_rng(7)
    prototypes = rng.uniform(0.2, 0.8, (classes, *image_shape))

    def images(count):
        labels = rng.permutation(np.arange(count) % classes)
        noisy = prototypes[labels] + rng.normal(0, 0.15, (count, *image_shape))
        return np.clip(noisy, 0, 1).astype(np.float32), labels.astype(np.int32)

    (x_train, y_train), (x_test, y_test) = images(train), images(test)
    names = tuple(f"class {k}" for k in range(classes))
    return Dataset(name, x_train, y_train, x_test, y_test, names, "made up", "0" * 64)


@pytest.fixture(scope="session")
def real_data():
    """A function of a name: the data set as prepared in TFDS_DATA_DIR, loaded once; skips where it is not."""
    from keras_neuronlevel import data

    @functools.cache
    def load(name):
        root = os.environ.get("TFDS_DATA_DIR")
        if not root or data.prepared.find(root, name) is None:
            pytest.skip(f"TFDS_DATA_DIR={root} holds no prepared {name}")
        return data.load(name, root)

    return load


@pytest.fixture
def undrawn(monkeypatch):
    """Scripts draw nothing and do not measure beforehand how long they take: that takes them longest."""
    from keras_neuronlevel.protocol import figures, runs

    for name in ("derivative_figures", "dynamics_figures", "evaluation_figures"):
        monkeypatch.setattr(figures, name, lambda *arguments, **options: None)
    plan = {"training": 0.0, "recording": 0.0, "recordings": 0, "memory": 0, "selections": {}}
    monkeypatch.setattr(runs, "estimate", lambda spec, data: plan)


@pytest.fixture(scope="session")
def make_data():
    return tiny_dataset


@pytest.fixture
def data():
    """50 training images in 3 classes (7 batches of 8, the last one with 2), 23 test images."""
    return tiny_dataset()


@pytest.fixture(scope="session")
def make_mlp():
    """A small seeded ``networks.mlp`` on the tiny images; dropout is off unless asked for."""
    from keras_neuronlevel import networks

    def make(activation="relu", hidden=(6, 5), dropout=0.0, seed=3, **options):
        options = {"input_shape": (4, 4, 1), "num_classes": CLASSES, **options}
        return networks.mlp(activation, hidden=hidden, dropout=dropout, seed=seed, **options)

    return make


@pytest.fixture(scope="session")
def make_convnet():
    """conv, φ, batch norm, conv, φ, average, logits on (4, 5, 2) images; statistics are not trivial."""
    import keras

    def make(activation="relu", seed=5):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((4, 5, 2))
        x = keras.layers.Conv2D(3, 3, padding="same", name="conv1")(inputs)
        x = keras.layers.Activation(activation, name="conv1-phi")(x)
        x = keras.layers.BatchNormalization(name="norm1")(x)
        x = keras.layers.Conv2D(4, 3, padding="same", name="conv2")(x)
        x = keras.layers.Activation(activation, name="conv2-phi")(x)
        x = keras.layers.GlobalAveragePooling2D()(x)
        model = keras.Model(inputs, keras.layers.Dense(CLASSES, name="logits")(x))
        rng = np.random.default_rng(seed)
        for variable in model.get_layer("norm1").weights:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        return model

    return make


# A network in NumPy float64 ------------------------------------------------------------------------

PHI = {
    "relu": lambda p: np.maximum(p, 0),
    "sigmoid": lambda p: 1 / (1 + np.exp(-p)),
    "linear": lambda p: p,
    "tanh": np.tanh,
}


def _convolve(x, kernel, bias):
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    out = np.zeros((*x.shape[:3], kernel.shape[-1])) + bias
    for i in range(3):
        for j in range(3):
            out += padded[:, i : i + height, j : j + width] @ kernel[i, j]
    return out


def _function(layer):
    """The layer in inference mode as a float64 function of a batch."""
    kind = type(layer).__name__
    weights = [np.asarray(w, np.float64) for w in layer.get_weights()]
    if kind == "Dense":
        return lambda x: PHI[layer.activation.__name__](x @ weights[0] + weights[1])
    if kind == "Conv2D":
        return lambda x: PHI[layer.activation.__name__](_convolve(x, *weights))
    if kind == "BatchNormalization":
        gamma, beta, mean, variance = weights
        return lambda x: gamma * (x - mean) / np.sqrt(variance + layer.epsilon) + beta
    if kind == "Activation":
        return PHI[layer.activation.__name__]
    if kind == "Flatten":
        return lambda x: x.reshape(len(x), -1)
    if kind == "GlobalAveragePooling2D":
        return lambda x: x.mean(axis=(1, 2))
    if kind in ("InputLayer", "Dropout"):
        return lambda x: x
    raise TypeError(f"no NumPy twin of {kind}")


class NumpyNet:
    """A chain of layers in float64: ``values(x)`` after each layer, ``losses(a, name, y)`` from one on."""

    def __init__(self, model):
        self.chain = [(layer.name, _function(layer)) for layer in model.layers]

    def values(self, x):
        x, found = np.asarray(x, np.float64), {}
        for name, function in self.chain:
            x = found[name] = function(x)
        return found

    def losses(self, a, name, y):
        """Cross-entropy (N,) when the layer ``name`` gives a."""
        after = [layer for layer, _ in self.chain].index(name) + 1
        for _, function in self.chain[after:]:
            a = function(a)
        a = a - a.max(axis=1, keepdims=True)
        return np.log(np.exp(a).sum(axis=1)) - a[np.arange(len(a)), y]

    def derivatives(self, x, y, name, loss=None, step=1e-5):
        """∂L_n/∂a by central differences: one activation of one sample is moved at a time."""
        a = self.values(x)[name]
        out = np.zeros_like(a)
        for n in range(len(a)):
            size = a[n].size
            moved = np.tile(a[n].ravel(), (2 * size, 1))
            moved[np.arange(size), np.arange(size)] += step
            moved[size + np.arange(size), np.arange(size)] -= step
            moved = moved.reshape(2 * size, *a.shape[1:])
            values = (loss or self.losses)(moved, name, np.full(2 * size, y[n]))
            out[n] = ((values[:size] - values[size:]) / (2 * step)).reshape(a.shape[1:])
        return out


@pytest.fixture(scope="session")
def numpy_net():
    return NumpyNet
