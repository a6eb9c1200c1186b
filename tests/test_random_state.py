"""Looking at a model draws no random number that the training, or anything after it, would have drawn."""

import random
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.backend.common import global_state
from tensorflow.python.eager import context

from keras_neuronlevel import evaluation, neurons, recording
from keras_neuronlevel.records import Records

L = keras.layers


def states():
    """Python's, NumPy's, Keras' and TensorFlow's global random states."""
    generator = global_state.get_global_attribute("global_seed_generator")
    return {
        "Python": random.getstate(),
        "NumPy": [str(part) for part in np.random.get_state()],
        "Keras": None if generator is None else np.asarray(generator.state).tolist(),
        "TensorFlow's seed": context.context()._seed,
        "TensorFlow's operations": context.context()._rng.getstate(),
        "TensorFlow's generator": tf.random.get_global_generator().state.numpy().tolist(),
    }


def model():
    """Fused and separate activation functions, a nested model, unseeded initializers and dropout."""
    inner = keras.Sequential(
        [keras.Input((6, 6, 1)), L.Conv2D(3, 3, activation="relu", name="c"), L.Flatten()]
    )
    inputs = keras.Input((6, 6, 1))
    x = L.Dropout(0.3)(inner(inputs))
    x = L.Dense(6, activation="gelu", kernel_initializer="he_normal", name="d")(x)
    x = L.ReLU(name="r")(L.Dense(5, use_bias=False)(x))
    made = keras.Model(inputs, L.Dense(3, name="o")(x))
    made.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return made


def images():
    rng = np.random.default_rng(0)
    return rng.random((40, 6, 6, 1)).astype("float32"), rng.integers(0, 3, 40)


def draw():
    keras.utils.set_random_seed(3)
    keras.random.normal((1,))  # now Keras has its global generator


def test_the_states_notice_a_draw_of_each_kind():
    draw()
    for name, act in {
        "Python": lambda: L.Dense(3),
        "NumPy": np.random.random,
        "Keras": lambda: keras.random.normal((1,)),
        "TensorFlow's operations": lambda: tf.random.normal((1,)),
        "TensorFlow's generator": lambda: tf.random.get_global_generator().normal((1,)),
    }.items():
        before = states()
        act()
        assert states()[name] != before[name], name


@pytest.mark.parametrize("seeded", [True, False])
def test_nothing_draws_from_a_global_generator(seeded, tmp_path):
    if seeded:
        draw()
    net, (x, y) = model(), images()
    data = types.SimpleNamespace(x_train=x, y_train=y, x_test=x, y_test=y)
    recorder = None

    def record():
        with recorder.recording(net):
            for _ in range(3):
                recorder.step()

    def build():
        nonlocal recorder
        recorder = recording.ActivationGradientRecorder(x, y, path=tmp_path / "r.h5", every=1)

    readouts = evaluation.Probe(), evaluation.Retrain(epochs=1)
    looks = {
        "split_fused": lambda: neurons.split_fused(net),
        "building a recorder": build,
        "recording": record,
        "activation_derivatives": lambda: recording.activation_derivatives(net, x, y),
        "quantization": lambda: evaluation.quantization_curve(net, "d-gelu", x, y, calibration=x),
        **{
            f"windows, {type(readout).__name__}": lambda readout=readout: evaluation.window_curve(
                net, "r", data, centers=[5, 50], readout=readout
            )
            for readout in readouts
        },
    }
    for what, look in looks.items():
        before = states()
        look()
        after = states()
        assert [name for name in after if after[name] != before[name]] == [], what


def test_a_generator_that_augments_gives_the_same_weights_with_the_recorder(tmp_path):
    """Python's generator decides on every image; the next unseeded model starts the same, too."""
    x, y = images()

    class Augmented(keras.utils.PyDataset):
        def __len__(self):
            return 5

        def __getitem__(self, batch):
            part = slice(8 * batch, 8 * batch + 8)
            return np.stack([np.fliplr(im) if random.random() < 0.5 else im for im in x[part]]), y[part]

    def trained(callbacks):
        keras.utils.set_random_seed(5)
        net = model()
        net.fit(Augmented(), epochs=3, callbacks=callbacks, verbose=0, shuffle=False)
        return net.get_weights(), model().get_weights(), random.getstate()

    plain = trained([])
    watched = trained([recording.ActivationGradientRecorder(x, y, path=tmp_path / "r.h5", every=2)])
    for one, other in zip((*plain[0], *plain[1]), (*watched[0], *watched[1]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert plain[2] == watched[2]
    with Records(tmp_path / "r.h5") as records:
        assert len(records.recordings) == 9
