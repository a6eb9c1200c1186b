"""The recorder on models and loops that are not the usual ones, and what it says of them."""

import json
import logging
import random
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_neuronlevel import recording, training
from keras_neuronlevel.records import Records, RecordsError

L = keras.layers
Recorder = recording.ActivationGradientRecorder
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(24, 8)).astype(np.float32), np.arange(24) % 3


class Block(keras.Layer):
    """keras.io's TransformerBlock, without dropout."""

    def __init__(self, dim, **options):
        super().__init__(**options)
        self.attention = L.MultiHeadAttention(2, dim)
        self.feed = keras.Sequential(
            [L.Dense(7, activation="relu", name="inside"), L.Dense(dim)], name="feed"
        )
        self.norm = L.LayerNormalization()

    def call(self, x):
        return self.norm(x + self.feed(x + self.attention(x, x)))


class Transformer(keras.Model):
    def __init__(self):
        super().__init__()
        self.cut = L.Reshape((4, 2))
        self.block = Block(2, name="block")
        self.hidden, self.out = L.Dense(5, name="hidden"), L.Dense(3)

    def call(self, x):
        return self.out(keras.ops.relu(self.hidden(keras.ops.mean(self.block(self.cut(x)), axis=1))))


def transformer():
    keras.utils.set_random_seed(4)
    model = Transformer()
    model(X[:1])
    return model


def dense(**options):
    keras.utils.set_random_seed(4)
    return keras.Sequential(
        [keras.Input((8,)), L.Dense(6, activation="tanh", name="a"), L.Dense(3, **options)]
    )


def compiled(model, loss=None, **options):
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.3), loss, **options)
    return model


def fitted(model, recorder, y=Y, epochs=2):
    model.fit(X, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=[recorder])


def signs_by_hand(model, x, y, epochs, train, layers, **options):
    """Sum of signs and number of nonzero derivatives, from ``activation_derivatives`` before every batch."""
    total = {name: [0, 0] for name in layers}
    for _ in range(epochs):
        for start in range(0, len(X), 8):
            d = recording.activation_derivatives(model, x, y, layers, **options)
            for name in layers:
                total[name][0] += np.sign(d[name]).astype(int)
                total[name][1] += (d[name] != 0).astype(int)
            train(start)
    return total


def channels_second(values):
    return values if values.ndim == 2 else np.moveaxis(values, -1, 1)


def test_a_subclassed_transformer_is_recorded_as_it_is(tmp_path):
    fitted(compiled(transformer()), Recorder(X[:6], Y[:6], path=tmp_path / "r.h5", every=1))
    model = compiled(transformer())
    names = ["block/feed/inside-relu", "hidden-relu"]
    train = lambda start: model.train_on_batch(X[start : start + 8], Y[start : start + 8])  # noqa: E731
    expected = signs_by_hand(model, X[:6], Y[:6], 2, train, names)
    with Records(tmp_path / "r.h5") as records:
        assert records.layers == names
        for name in names:
            np.testing.assert_array_equal(records.sign_sum(name), channels_second(expected[name][0]))
            np.testing.assert_array_equal(records.nonzero(name), channels_second(expected[name][1]))
            assert np.abs(records.sign_sum(name)).max() > 1


@pytest.mark.parametrize("make", [dense, transformer])
def test_recording_disturbs_nothing(make, tmp_path):
    plain, watched = compiled(make()), compiled(make())
    keras.utils.set_random_seed(1)
    fitted(plain, keras.callbacks.Callback())
    expected = (
        random.random(),
        np.random.rand(),
        float(keras.random.uniform(())),
        float(tf.random.uniform(())),
    )
    nodes = [len(layer._inbound_nodes) for layer in watched._flatten_layers()]
    keras.utils.set_random_seed(1)
    fitted(watched, Recorder(X[:6], Y[:6], path=tmp_path / "r.h5", every=2))
    found = random.random(), np.random.rand(), float(keras.random.uniform(())), float(tf.random.uniform(()))
    assert found == expected
    assert [len(layer._inbound_nodes) for layer in watched._flatten_layers()] == nodes
    for one, other in zip(plain.get_weights(), watched.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_compiled_loss_is_taken_and_named(tmp_path):
    y = RNG.normal(size=24)
    model = keras.Sequential([keras.Input((8,)), L.Dense(6, activation="tanh", name="a"), L.Dense(1)])
    recorder = Recorder(X[:6], y[:6], path=tmp_path / "r.h5", every=1)
    fitted(compiled(model, "mse"), recorder, y, epochs=1)
    with Records(tmp_path / "r.h5") as records, h5py.File(tmp_path / "r.h5") as file:
        assert file.attrs["loss"] == "mean_squared_error"
        assert np.isnan(records.recordings["accuracy"]).all()
        assert np.isfinite(records.recordings["loss"]).all()


def test_many_calls_warn_of_no_retracing(caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(9):
            recording.activation_derivatives(dense(), X[:4], Y[:4])
    assert caplog.records == []


def test_a_chosen_output_of_several_inputs(tmp_path):
    one, other = keras.Input((8,), name="one"), keras.Input((2,), name="other")
    h = L.Dense(6, activation="tanh", name="a")(L.Concatenate()([one, other]))
    model = keras.Model([one, other], [L.Dense(1, name="number")(h), L.Dense(3, name="kind")(h)])
    x, y = [X, X[:, :2]], [Y.astype(np.float32), Y]
    model.compile("sgd", ["mse", keras.losses.SparseCategoricalCrossentropy(from_logits=True)])
    recorder = Recorder([part[:6] for part in x], Y[:6], output="kind", path=tmp_path / "r.h5", every=1)
    before = recording.activation_derivatives(model, [part[:6] for part in x], Y[:6], output="kind")["a-tanh"]
    model.fit(x, y, batch_size=24, epochs=1, verbose=0, callbacks=[recorder])
    with Records(tmp_path / "r.h5") as records:
        np.testing.assert_array_equal(records.sign_sum("a-tanh"), np.sign(before))


# Loops of one's own ------------------------------------------------------------------------------------


def loop(model, recorder, epochs=2, stop=None):
    optimizer = keras.optimizers.SGD(0.3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with recorder.recording(model):
        for epoch in range(epochs):
            for start in range(0, len(X), 8):
                recorder.step(epoch)
                if (epoch, start) == stop:
                    raise KeyboardInterrupt
                with tf.GradientTape() as tape:
                    value = loss(Y[start : start + 8], model(X[start : start + 8], training=True))
                gradients = tape.gradient(value, model.trainable_variables)
                optimizer.apply(gradients, model.trainable_variables)


def test_a_loop_of_ones_own_gives_what_fit_gives(tmp_path):
    fitted(compiled(dense()), Recorder(X[:6], Y[:6], path=tmp_path / "fit.h5", every=2))
    loop(dense(), Recorder(X[:6], Y[:6], path=tmp_path / "loop.h5", every=2))
    with Records(tmp_path / "fit.h5") as fit, Records(tmp_path / "loop.h5") as own:
        np.testing.assert_array_equal(own.sign_sum("a-tanh"), fit.sign_sum("a-tanh"))
        for column in ("step", "epoch", "batch"):
            np.testing.assert_array_equal(own.recordings[column], fit.recordings[column])
        np.testing.assert_allclose(own.recordings["loss"], fit.recordings["loss"], rtol=1e-5)


def test_an_interrupted_loop_keeps_what_was_recorded_and_says_so(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        loop(dense(), Recorder(X[:6], Y[:6], path=tmp_path / "r.h5", every=1), stop=(1, 8))
    with Records(tmp_path / "r.h5") as records:
        assert records.recordings["step"].tolist() == [0, 1, 2, 3, 4]
        assert records.provenance["starts"][-1]["missing"] == "everything after step 4: KeyboardInterrupt"


def test_callbacks_called_in_the_wrong_order_are_named(tmp_path):
    recorder = Recorder(X, Y, path=tmp_path / "r.h5", every=1)
    with pytest.raises(ValueError, match="no model.*recorder.recording"):
        recorder.on_train_begin()
    recorder.set_model(compiled(dense()))
    recorder.on_train_begin()
    with pytest.raises(ValueError, match="before on_epoch_begin"):
        recorder.on_train_batch_begin(0)
    recorder.on_epoch_begin(0)
    recorder.on_train_batch_begin(0)
    with pytest.raises(ValueError, match="again before on_train_batch_end"):
        recorder.on_train_batch_begin(1)


# What it says ------------------------------------------------------------------------------------------


def test_one_line_says_what_is_recorded_and_what_is_not(tmp_path, caplog):
    model = keras.Sequential(
        [keras.Input((4, 2)), L.LSTM(3, name="lstm"), L.Dense(4, "relu", name="a"), L.Dense(3)]
    )
    recorder = Recorder(X[:6].reshape(6, 4, 2), Y[:6], path=tmp_path / "r.h5", every=1)
    assert "not begun" in repr(recorder)
    with caplog.at_level(logging.WARNING, "keras_neuronlevel"), recorder.recording(model, steps=3):
        recorder.step()
    (line,) = [r.getMessage() for r in caplog.records if "recording 6 samples" in r.getMessage()]
    assert "3 recordings, 0 MiB: a-relu: 4 of 4 neurons; not recorded: lstm (it is recurrent" in line
    assert "1 recordings of a-relu: 4 of 4 neurons" in repr(recorder)


def test_the_file_explains_itself(tmp_path):
    inputs = keras.Input((4, 2))
    x = L.Conv1D(5, 2, activation="gelu", name="conv")(inputs)
    model = keras.Model(inputs, L.Dense(3)(L.Flatten()(L.PReLU(name="phi")(x))))
    recorder = Recorder(X[:6].reshape(6, 4, 2), Y[:6], path=tmp_path / "r.h5", every=1)
    with recorder.recording(model):
        recorder.step()
    with h5py.File(tmp_path / "r.h5") as file:
        assert file.attrs["dtype"] == "float32" and file.attrs["loss"] == "cross-entropy"
        assert file.attrs["package_version"]
        assert file["signs/conv-gelu"].attrs["activation"] == "gelu"
        assert file["signs/phi"].attrs["activation"] == "prelu"
        signs = file["signs/conv-gelu/sign_sum"]
        assert [axis.label for axis in signs.dims] == ["sample", "neuron", "position"]
        assert signs.dims[0][0] == file["sample"]
        labels = [axis.label for axis in file["snapshots/phi"].dims]
        assert labels == ["snapshot", "sample", "snapshot_neuron", "snapshot_position"]
        assert json.loads(file.attrs["layers"]) == ["conv-gelu", "phi"]


def test_closed_records_say_so(tmp_path):
    loop(dense(), Recorder(X[:6], Y[:6], path=tmp_path / "r.h5", every=1), epochs=1)
    records = Records(tmp_path / "r.h5")
    assert "3 recordings of 6 samples, layers a-tanh" in repr(records)
    records.close()
    assert "closed" in repr(records)
    with pytest.raises(RecordsError, match="was closed; open it again"):
        records.sign_sum("a-tanh")


def test_another_backend_is_named_at_import():
    code = "import keras; keras.backend.backend = lambda: 'jax'; import keras_neuronlevel as nl; nl.recording"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: Keras runs on jax, and recording needs TensorFlow" in run.stderr


# Strategies and training ---------------------------------------------------------------------------------


TWO_REPLICAS = """
import keras, numpy as np, tensorflow as tf
processor = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_neuronlevel.recording import ActivationGradientRecorder as Recorder, Keep
from keras_neuronlevel.records import Records
x, y = np.random.default_rng(0).normal(size=(32, 5)).astype("float32"), np.arange(32) % 3
data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
unknown = data.apply(tf.data.experimental.assert_cardinality(tf.data.experimental.UNKNOWN_CARDINALITY))

def weights(strategy, path=None, data=data, **options):
    with strategy.scope():
        keras.utils.set_random_seed(1)
        layers = [keras.Input((5,)), keras.layers.Dense(7, "tanh", name="a"), keras.layers.Dense(3)]
        model = keras.Sequential(layers)
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    callbacks = [Recorder(x[:7], y[:7], path=path, every=1, batch_size=2, **options)] if path else []
    model.fit(data, epochs=2, verbose=0, callbacks=callbacks)
    return model.get_weights()

two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert two.num_replicas_in_sync == 2
for recorded, unrecorded in zip(weights(two, "two.h5"), weights(two)):
    np.testing.assert_array_equal(recorded, unrecorded)
weights(two, "taken_back.h5", unknown)
weights(two, "mapped.h5", keep=Keep(memory_budget=1))
weights(tf.distribute.OneDeviceStrategy("CPU:0"), "one.h5")
for name in ("two", "taken_back", "mapped"):
    with Records(name + ".h5") as mirrored, Records("one.h5") as plain:
        np.testing.assert_array_equal(mirrored.sign_sum("a-tanh"), plain.sign_sum("a-tanh"), name)
        assert abs(plain.sign_sum("a-tanh")).max() == len(plain.recordings) == len(mirrored.recordings) == 8
"""


def test_a_model_mirrored_on_two_replicas_is_recorded(tmp_path):
    run = subprocess.run([sys.executable, "-c", TWO_REPLICAS], cwd=tmp_path, capture_output=True, text=True)
    assert not run.returncode, run.stderr


def test_training_a_softmax_model_is_training_its_logits(data, make_mlp):
    plain = make_mlp()
    softmax = keras.Model(plain.inputs[0], L.Softmax()(plain.outputs[0]))
    lambda_ = keras.Model(plain.inputs[0], L.Lambda(keras.ops.softmax)(plain.outputs[0]))
    start, histories = plain.get_weights(), []
    for model in (plain, softmax, lambda_):
        plain.set_weights(start)
        options = {"optimizer": keras.optimizers.SGD(0.5), "epochs": 2, "progress": False}
        histories.append(training.train(model, data, **options).history)
        histories[-1]["weights"] = [np.array(w).tolist() for w in plain.get_weights()]
    assert histories[0] == histories[1] == histories[2]


def test_training_without_logits_is_refused(data, make_mlp):
    plain = make_mlp()
    by_hand = L.Lambda(lambda z: keras.ops.exp(z) / keras.ops.sum(keras.ops.exp(z), axis=-1, keepdims=True))
    for last, words in ((by_hand, "look like probabilities"), (L.Activation("sigmoid"), "pass a sigmoid")):
        model = keras.Model(plain.inputs[0], last(plain.outputs[0]))
        with pytest.raises(ValueError, match=words):
            training.train(model, data, optimizer="sgd", epochs=1, progress=False)
