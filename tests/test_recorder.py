"""The recorder at work: a plain loop that stores everything is its twin; training must not notice it."""

import contextlib
import json
import logging
import shutil
import threading

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from zoo import Binary, Python

from keras_neuronlevel import files, networks, recording, training
from keras_neuronlevel.recording import Keep, Snapshots
from keras_neuronlevel.records import Records, RecordsError
from keras_neuronlevel.selection import select

L = keras.layers
Recorder = recording.ActivationGradientRecorder


class Naive(keras.callbacks.Callback):
    """Store every derivative and pre-activation of every recording: eager, one multi-output model."""

    def __init__(self, x, y, layers, every=1):
        super().__init__()
        self.x, self.y, self.layers, self.every = x, y, layers, every
        self.derivatives, self.pre_activations, self.logits, self.places = [], [], [], []

    def on_train_begin(self, logs=None):
        model = self.model
        p = [model.get_layer(name).input for name in self.layers]
        a = [model.get_layer(name).output for name in self.layers]
        self.probe = keras.Model(model.inputs[0], [p, a, model.outputs[0]])

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if batch % self.every:
            return
        with tf.GradientTape() as tape:
            p, a, logits = self.probe(self.x, training=False)
            loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(self.y, logits))
        self.derivatives.append([d.numpy() for d in tape.gradient(loss, a)])
        self.pre_activations.append([value.numpy() for value in p])
        self.logits.append(logits.numpy())
        self.places.append((self.epoch, batch))

    def signs(self, which):
        """(sign_sum, nonzero) by a loop over everything stored; maps as (N, U, P)."""
        shape = self.derivatives[0][which].shape
        sign_sum, nonzero = np.zeros(shape, int), np.zeros(shape, int)
        for recording_ in self.derivatives:
            for place in np.ndindex(shape):
                d = recording_[which][place]
                sign_sum[place] += int(d > 0) - int(d < 0)
                nonzero[place] += d != 0
        return channels_first(sign_sum), channels_first(nonzero)


def channels_first(values):
    """(N, U) as it is; (N, H, W, U) -> (N, U, H · W), by loops."""
    if values.ndim == 2:
        return values
    n, height, width, units = values.shape
    out = np.zeros((n, units, height * width), values.dtype)
    for row in range(height):
        for column in range(width):
            out[:, :, row * width + column] = values[:, row, column, :]
    return out


def run(model, data, callbacks, *, epochs=2, batch_size=8, seed=0, rate=0.5):
    return training.train(
        model,
        data,
        optimizer=keras.optimizers.SGD(rate),
        epochs=epochs,
        batch_size=batch_size,
        callbacks=callbacks,
        seed=seed,
        progress=False,
    )


def fit(model, x, y, callbacks, *, epochs=2, batch_size=8, seed=0, compiled=None, **options):
    keras.utils.set_random_seed(seed)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5, momentum=0.9), loss, **(compiled or {}))
    size = {} if y is None else {"batch_size": batch_size}
    return model.fit(x, y, epochs=epochs, callbacks=callbacks, verbose=0, **size, **options)


# Accumulators --------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_signs_against_a_loop_that_stores_everything(activation, batch_size, data, make_mlp, tmp_path):
    x, y = data.x_train[:17], data.y_train[:17]
    names = [f"dense1-{activation}", f"dense2-{activation}"]
    naive = Naive(x, y, names, every=2)
    recorder = Recorder(x, y, path=tmp_path / "r.h5", every=2, batch_size=batch_size)
    run(make_mlp(activation), data, [naive, recorder])
    with Records(tmp_path / "r.h5") as records:
        assert records.layers == names
        for which, name in enumerate(names):
            sign_sum, nonzero = naive.signs(which)
            np.testing.assert_array_equal(records.sign_sum(name), sign_sum)
            np.testing.assert_array_equal(records.nonzero(name), nonzero)
            with np.errstate(invalid="ignore"):
                expected = (sign_sum / nonzero).astype(np.float32)
            np.testing.assert_array_equal(records.average_sign(name), expected)
            assert len(np.unique(sign_sum)) > 3  # signs did change on the way


def maps_data(make_data):
    return make_data(image_shape=(4, 5, 2), train=20, test=3)


def test_feature_maps_against_a_loop(make_data, make_convnet, tmp_path):
    data = maps_data(make_data)
    x, y = data.x_train[:6], data.y_train[:6]
    naive = Naive(x, y, ["conv1-phi", "conv2-phi"])
    recorder = Recorder(
        x, y, path=tmp_path / "r.h5", every=1, batch_size=4, snapshots=Snapshots(positions=20)
    )
    run(make_convnet("tanh"), data, [naive, recorder], epochs=2)
    with Records(tmp_path / "r.h5") as records:
        for which, (name, units) in enumerate([("conv1-phi", 3), ("conv2-phi", 4)]):
            sign_sum, nonzero = naive.signs(which)
            assert sign_sum.shape == (6, units, 20)
            np.testing.assert_array_equal(records.sign_sum(name), sign_sum)
            np.testing.assert_array_equal(records.nonzero(name), nonzero)
            np.testing.assert_array_equal(records.positions(name), np.arange(20))
            last = channels_first(naive.pre_activations[-1][which])
            np.testing.assert_allclose(records.snapshots(name)[-1], last, rtol=2e-3, atol=1e-3)


def test_subsets_are_slices_of_the_whole(make_data, make_convnet, tmp_path):
    data = maps_data(make_data)
    x, y = data.x_train[:6], data.y_train[:6]
    whole = Recorder(x, y, path=tmp_path / "whole.h5", every=1, snapshots=Snapshots(positions=20))
    part = Recorder(
        x,
        y,
        path=tmp_path / "part.h5",
        every=1,
        keep=Keep(neurons={"conv1-phi": [2, 0], "conv2-phi": 2}, positions=[19, 3, 7]),
        snapshots=Snapshots(neurons=1, positions=2),
    )
    run(make_convnet("tanh"), data, [whole, part])
    with Records(tmp_path / "whole.h5") as all_, Records(tmp_path / "part.h5") as some:
        np.testing.assert_array_equal(some.neurons("conv1-phi"), [0, 2])
        for name in all_.layers:
            units, places = some.neurons(name), some.positions(name)
            np.testing.assert_array_equal(places, [3, 7, 19])
            assert len(units) == 2
            for n in range(6):
                for i, u in enumerate(units):
                    for j, p in enumerate(places):
                        for read in (Records.sign_sum, Records.nonzero):
                            assert read(some, name)[n, i, j] == read(all_, name)[n, u, p]
            units, places = some.snapshot_neurons(name), some.snapshot_positions(name)
            assert len(units) == 1 and set(units) <= set(some.neurons(name))
            assert len(places) == 2 and set(places) <= {3, 7, 19}
            everything = all_.snapshots(name)
            assert len(all_.snapshot_neurons(name)) == everything.shape[2]
            np.testing.assert_array_equal(
                some.snapshots(name), everything[:, :, units[:, None], places[None, :]]
            )


def test_widening_is_exact(monkeypatch, data, make_mlp, tmp_path):
    x, y = data.x_train[:9], data.y_train[:9]
    plain = Recorder(x, y, path=tmp_path / "plain.h5", every=1, batch_size=4)
    run(make_mlp(), data, [plain])
    monkeypatch.setattr(recording.sums, "FULL_AFTER", 3)
    widened = Recorder(x, y, path=tmp_path / "widened.h5", every=1, batch_size=4)
    run(make_mlp(), data, [widened])
    assert all(values.dtype == np.int16 for pair in plain.signs().values() for values in pair)
    assert all(values.dtype == np.int32 for pair in widened.signs().values() for values in pair)
    with Records(tmp_path / "plain.h5") as a, Records(tmp_path / "widened.h5") as b:
        assert len(b.recordings) == 14
        for name in a.layers:
            np.testing.assert_array_equal(a.sign_sum(name), b.sign_sum(name))
            np.testing.assert_array_equal(a.nonzero(name), b.nonzero(name))
            assert a.nonzero(name).max() == 14


def test_sums_beyond_16_bits_are_kept():
    """Where an int16 is full it gets wider, and neither wraps nor takes more than twice the memory."""
    sums = recording.sums.Sums(select({"phi": (2,)}, 1), [1])
    full = np.array([[-32_767, 32_767]], np.int16)
    sums.restore({"sums/0/0/phi": full, "sums/0/1/phi": np.abs(full)})
    sums.widen(32_766)
    assert sums["phi"][0].dtype == np.int16
    assert sums["phi"][0].tolist() == full.tolist() and sums["phi"][1].tolist() == np.abs(full).tolist()
    sums.widen(32_767)
    with sums.counting(0) as held:
        pass
    sums.widen(32_768)
    with sums.counting(0) as counts:
        assert counts["phi"] is held["phi"]
        recording.accumulate(counts["phi"], tf.constant([[-2.0, 3.0]]))
    sign_sum, nonzero = sums["phi"]
    assert sign_sum.tolist() == [[-32_768, 32_768]] and nonzero.tolist() == [[32_768, 32_768]]
    assert sign_sum.dtype == nonzero.dtype == np.int32
    arrays = sums.arrays()
    assert sum(values.nbytes for values in arrays.values()) == 2 * 8
    again = recording.sums.Sums(select({"phi": (2,)}, 1), [1])
    again.restore(arrays)
    assert again["phi"][0].tolist() == sign_sum.tolist()
    assert again["phi"][1].tolist() == nonzero.tolist()


class Fixed:
    """A data set of given samples; the network's learning rate is 0, so its signs are known."""

    def __init__(self, x, y):
        self.x_train, self.y_train = np.asarray(x, np.float32), np.asarray(y, np.int32)
        self.x_test, self.y_test = self.x_train, self.y_train


def hand_weighted():
    """phi0 = relu(x0), phi1 = relu(x1); logits (2·phi0, 0·phi1): phi1's derivative is always exactly 0."""
    inputs = keras.Input((2,))
    model = keras.Model(
        inputs, L.Dense(2, name="logits")(L.Activation("relu", name="phi")(L.Dense(2, name="in")(inputs)))
    )
    model.get_layer("in").set_weights([np.eye(2), np.zeros(2)])
    model.get_layer("logits").set_weights([np.array([[2.0, 0.0], [0.0, 0.0]]), np.zeros(2)])
    return model


def test_known_signs_exact_zeros_and_undefined_averages(tmp_path):
    """∂L/∂phi0 = 2(σ0 − [y = 0]): negative for class 0, positive for class 1, zero once surely right."""
    x, y = [[1, 1], [1, 1], [200, 1], [200, 1]], [0, 1, 0, 1]
    recorder = Recorder(np.array(x, np.float32), np.array(y), path=tmp_path / "r.h5", every=1)
    still = keras.optimizers.schedules.PiecewiseConstantDecay([99], [0.0, 1.0])
    run(hand_weighted(), Fixed(x, y), [recorder], epochs=5, batch_size=1, rate=still)
    with Records(tmp_path / "r.h5") as records:
        np.testing.assert_array_equal(records.sign_sum("phi"), [[-20, 0], [20, 0], [0, 0], [20, 0]])
        np.testing.assert_array_equal(records.nonzero("phi"), [[20, 0], [20, 0], [0, 0], [20, 0]])
        nan = np.nan
        np.testing.assert_array_equal(
            records.average_sign("phi"), [[-1, nan], [1, nan], [nan, nan], [1, nan]]
        )


def test_nan_derivatives_count_as_zero_and_are_reported(tmp_path, caplog):
    model = hand_weighted()
    model.get_layer("logits").set_weights([np.full((2, 2), np.nan), np.zeros(2)])
    recorder = Recorder(np.ones((2, 2), np.float32), np.array([0, 1]), path=tmp_path / "r.h5", every=1)
    with caplog.at_level(logging.WARNING):
        fit(model, np.ones((2, 2), np.float32), np.array([0, 1]), [recorder], epochs=1)  # train() would stop
    assert "not finite at step 0" in caplog.text
    with Records(tmp_path / "r.h5") as records:
        np.testing.assert_array_equal(records.nonzero("phi"), np.zeros((2, 2)))
        assert np.isnan(records.average_sign("phi")).all()
        assert np.isnan(records.recordings["loss"]).all()


# Which moment is recorded --------------------------------------------------------------------------


def test_the_first_recording_sees_the_initial_weights(data, make_mlp, tmp_path, numpy_net):
    x, y = data.x_train[:11], data.y_train[:11]
    model = make_mlp("tanh", dropout=0.5)
    net = numpy_net(model)
    recorder = Recorder(
        x,
        y,
        path=tmp_path / "r.h5",
        every=lambda epoch, batch, step: step == 0,
        snapshots=Snapshots(dtype="float32"),
    )
    run(model, data, [recorder], epochs=1)
    values = net.values(x)
    with Records(tmp_path / "r.h5") as records:
        assert records.recordings[["step", "epoch", "batch"]].tolist() == [(0, 0, 0)]
        logits = values["logits"]
        loss = net.losses(logits, "logits", y).mean()
        assert records.recordings["loss"][0] == pytest.approx(loss, rel=1e-5)
        assert records.recordings["accuracy"][0] == pytest.approx((logits.argmax(axis=1) == y).mean())
        for name in records.layers:
            np.testing.assert_array_equal(records.sign_sum(name), np.sign(net.derivatives(x, y, name)))
            p = values[name.split("-")[0]]
            np.testing.assert_allclose(records.snapshots(name)[0], p, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loop", ["train", "fit"])
@pytest.mark.parametrize(
    ("every", "batches"),
    [
        (1, [0, 1, 2, 3, 4, 5, 6]),
        (3, [0, 3, 6]),
        (100, [0]),
        (lambda epoch, batch, step: step % 4 == 1, None),
    ],
)
def test_recorded_steps(loop, every, batches, data, make_mlp, tmp_path):
    recorder = Recorder(data.x_train[:5], data.y_train[:5], path=tmp_path / "r.h5", every=every)
    if loop == "train":
        run(make_mlp(), data, [recorder], epochs=3)
    else:
        fit(make_mlp(), data.x_train, data.y_train, [recorder], epochs=3)
    if batches is None:
        expected = [(step, step // 7, step % 7) for step in (1, 5, 9, 13, 17)]
    else:
        expected = [(7 * epoch + batch, epoch, batch) for epoch in range(3) for batch in batches]
    with Records(tmp_path / "r.h5") as records:
        assert records.recordings[["step", "epoch", "batch"]].tolist() == expected
        assert records.nonzero("dense2-relu").max() == len(expected)


def test_steps_go_on_where_an_optimizer_stands(data, make_mlp, tmp_path):
    model = make_mlp()
    fit(model, data.x_train, data.y_train, [], epochs=1)
    recorder = Recorder(data.x_train[:5], data.y_train[:5], path=tmp_path / "r.h5", every=5)
    model.fit(
        data.x_train, data.y_train, batch_size=8, epochs=3, initial_epoch=1, callbacks=[recorder], verbose=0
    )
    with Records(tmp_path / "r.h5") as records:
        expected = [(7, 1, 0), (12, 1, 5), (14, 2, 0), (19, 2, 5)]
        assert records.recordings[["step", "epoch", "batch"]].tolist() == expected


# Snapshots -----------------------------------------------------------------------------------------


def test_steps_are_batches_where_an_update_gathers_several(data, make_mlp, tmp_path):
    model = make_mlp()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=3), loss)
    for run_, steps in enumerate(([0, 4], [7, 11])):  # 50 images in batches of 8 are 7
        recorder = Recorder(data.x_train[:5], data.y_train[:5], path=tmp_path / f"{run_}.h5", every=4)
        model.fit(data.x_train, data.y_train, batch_size=8, verbose=0, callbacks=[recorder])
        assert [row[0] for row in recorder.table] == steps


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_snapshots_are_pre_activations_at_these_weights(dtype, data, make_mlp, tmp_path):
    x, y = data.x_train[:9], data.y_train[:9]
    naive = Naive(x, y, ["dense1-sigmoid", "dense2-sigmoid"])
    recorder = Recorder(
        x,
        y,
        path=tmp_path / "r.h5",
        every=1,
        batch_size=4,
        snapshots=Snapshots([2, 9], neurons=[4, 1], dtype=dtype),
    )
    run(make_mlp("sigmoid"), data, [naive, recorder])
    close = {"rtol": 1e-3, "atol": 1e-3} if dtype == "float16" else {"rtol": 1e-5, "atol": 1e-6}
    with Records(tmp_path / "r.h5") as records:
        assert records.snapshot_recordings.tolist() == [0, 2, 9, 13]
        for which, name in enumerate(records.layers):
            np.testing.assert_array_equal(records.snapshot_neurons(name), [1, 4])
            expected = np.stack([naive.pre_activations[r][which][:, [1, 4]] for r in (0, 2, 9, 13)])
            assert records.snapshots(name).dtype == dtype
            np.testing.assert_allclose(records.snapshots(name), expected, **close)
            assert np.abs(expected[0] - expected[-1]).max() > 1e-2


def test_snapshots_are_spaced_in_the_logarithm(data, make_mlp, tmp_path):
    recorder = Recorder(
        data.x_train[:3], data.y_train[:3], path=tmp_path / "r.h5", every=1, snapshots=Snapshots(4)
    )
    run(make_mlp(), data, [recorder], epochs=4)  # 28 recordings: 1, 3.04, 9.2, 28
    with Records(tmp_path / "r.h5") as records:
        assert records.snapshot_recordings.tolist() == [0, 2, 8, 27]


class StopAt(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == self.epoch


@pytest.mark.parametrize("loop", ["train", "fit"])
def test_early_stopping_keeps_the_last_snapshot(loop, data, make_mlp, tmp_path):
    x, y = data.x_train[:4], data.y_train[:4]
    naive = Naive(x, y, ["dense1-relu"])
    recorder = Recorder(x, y, path=tmp_path / "r.h5", every=1, snapshots=Snapshots(3, dtype="float32"))
    callbacks = [StopAt(1), naive, recorder]
    if loop == "train":
        run(make_mlp(), data, callbacks, epochs=50)
    else:
        fit(make_mlp(), data.x_train, data.y_train, callbacks, epochs=50)
    with Records(tmp_path / "r.h5") as records:
        assert len(records.recordings) == 14
        assert records.snapshot_recordings[0] == 0 and records.snapshot_recordings[-1] == 13
        assert len(set(records.snapshot_recordings.tolist())) == len(records.snapshot_recordings)
        last = records.snapshots("dense1-relu")[-1]
        np.testing.assert_allclose(last, naive.pre_activations[13][0], rtol=1e-5, atol=1e-6)


def test_an_unknown_number_of_steps(data, make_mlp, tmp_path):
    def batches():
        for start in range(0, 48, 8):
            yield data.x_train[start : start + 8], data.y_train[start : start + 8]

    dataset = tf.data.Dataset.from_generator(
        batches,
        output_signature=(
            tf.TensorSpec((None, 4, 4, 1), tf.float32),
            tf.TensorSpec((None,), tf.int32),
        ),
    )
    recorder = Recorder(data.x_train[:4], data.y_train[:4], path=tmp_path / "r.h5", every=1)
    fit(make_mlp(), dataset, None, [recorder], epochs=2)
    with Records(tmp_path / "r.h5") as records:
        # Keras announces a batch 6 in the first epoch before it finds that there is none
        expected = [(6 * epoch + batch, epoch, batch) for epoch in range(2) for batch in range(6)]
        assert records.recordings[["step", "epoch", "batch"]].tolist() == expected
        assert records.snapshot_recordings.tolist() == [0, 1, 3, 7, 11]


# Training does not notice --------------------------------------------------------------------------


def noisy_model(seed=4):
    """Dropout and batch normalization: everything that a second forward pass could disturb."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4, 4, 1))
    x = L.Conv2D(4, 3, padding="same", name="conv")(inputs)
    x = L.BatchNormalization()(x)
    x = L.Activation("relu", name="conv-relu")(x)
    x = L.Dropout(0.3)(L.Flatten()(x))
    x = L.Activation("sigmoid", name="hidden")(L.Dense(6)(x))
    return keras.Model(inputs, L.Dense(3)(L.GaussianNoise(0.1)(x)))


@pytest.mark.parametrize("loop", ["train", "fit"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_is_bit_identical_with_the_recorder(loop, optimizer, data, tmp_path):
    def trained(callbacks):
        model = noisy_model()
        if loop == "train":
            training.train(
                model,
                data,
                optimizer=keras.optimizers.get(optimizer),
                epochs=2,
                batch_size=8,
                callbacks=callbacks,
                progress=False,
            )
        else:
            keras.utils.set_random_seed(1)
            model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            model.fit(data.x_train, data.y_train, batch_size=8, epochs=2, callbacks=callbacks, verbose=0)
        return [v.numpy() for v in (*model.variables, *model.optimizer.variables)]

    recorder = Recorder(data.x_train[:9], data.y_train[:9], path=tmp_path / "r.h5", every=2)
    initial = [v.numpy() for v in noisy_model().trainable_variables]
    without, with_ = trained([]), trained([recorder])
    assert len(recorder.table) == 8
    for a, b in zip(without, with_, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not all(np.array_equal(a, b) for a, b in zip(initial, without, strict=False))


def test_fused_models_are_recorded_and_trained_the_same(data, tmp_path):
    def model():
        keras.utils.set_random_seed(4)
        inputs = keras.Input((4, 4, 1))
        x = L.Dropout(0.3)(L.Dense(6, activation="relu", name="dense1")(L.Flatten()(inputs)))
        return keras.Model(inputs, L.Dense(3)(x))

    recorder = Recorder(data.x_train[:9], data.y_train[:9], path=tmp_path / "r.h5", every=3)
    plain, recorded = model(), model()
    run(plain, data, [])
    run(recorded, data, [recorder])
    for a, b in zip(plain.get_weights(), recorded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with Records(tmp_path / "r.h5") as records:
        assert records.layers == ["dense1-relu"]
        # the split model follows the weights: recordings are not all of the first moment
        assert len(set(records.recordings["loss"].tolist())) == len(records.recordings) == 6


# Complaints ----------------------------------------------------------------------------------------


def complaint(model, data, tmp_path, words, error=ValueError, x=None, y=None, **options):
    """The recorder complains before any update, and leaves nothing behind."""
    folder = tmp_path / "folder"
    weights = model.get_weights()
    with pytest.raises(error, match=words):
        x = data.x_train[:5] if x is None else x
        y = data.y_train[:5] if y is None else y
        recorder = Recorder(x, y, path=folder / "r.h5", **options)
        run(model, data, [recorder])
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": ["dense3-relu"]}, "dense3-relu.*nearest.*dense2-relu"),
        ({"layers": []}, "layers is empty"),
        ({"y": np.array([0, 1, 2, 3, 0])}, r"label 3 of sample 3 in y is not in 0\.\.2"),
        ({"y": np.array([0, 1])}, "5 samples and 2 labels"),
        ({"y": np.full((5, 3), 1 / 3)}, "looks one-hot, but"),
        ({"x": np.zeros((5, 16))}, r"shape \(5, 16\).*\(N, 4, 4, 1\)"),
        ({"x": np.full((5, 4, 4, 1), np.nan)}, "image 0 of x holds NaN"),
        ({"every": 0}, "every is 0"),
        ({"every": 2.5}, "every is 2.5"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"snapshots": 12}, r"snapshots 12; give a Keep\(...\) and a Snapshots"),
        ({"keep": {"neurons": 7}}, r"keep is \{'neurons': 7\}"),
        ({"keep": Keep(neurons=7)}, "number of neurons of dense1-relu is 7.*at most 6"),
        ({"keep": Keep(neurons={"dense9": 1})}, "neurons names dense9"),
        ({"keep": Keep(neurons=[6])}, r"must lie in \[0, 5\]"),
        ({"keep": Keep(neurons=[0, 1]), "snapshots": Snapshots(neurons=[3])}, r"\[3\]"),
        ({"snapshots": Snapshots(neurons=0)}, "neurons of snapshots is 0"),
        ({"sample_index": [1, 2]}, "sample_index has 2 entries for 5 samples"),
        ({"every": lambda epoch, batch, step: False}, "every"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_it_complains_before_epoch_0(options, words, data, make_mlp, tmp_path):
    complaint(make_mlp(), data, tmp_path, words, **options)


def test_samples_may_be_a_list_of_arrays_one_a_sample(data, make_mlp, tmp_path):
    """Not to be taken for the arrays of as many inputs."""
    x, y = data.x_train[:5], data.y_train[:5]
    found = []
    for name, given in (("array", x), ("list", list(x))):
        recorder = recording.ActivationGradientRecorder(given, y, path=tmp_path / name, every=1)
        assert repr(recorder).startswith("<ActivationGradientRecorder to ")
        with recorder.recording(make_mlp(), epochs=1, steps=2):
            recorder.step()
        assert repr(recorder).startswith("<ActivationGradientRecorder of 5 samples to ")
        with Records(tmp_path / name) as records:
            assert records.sample_index.tolist() == list(range(5)) and records.labels.tolist() == y.tolist()
            found.append([records.sign_sum(layer) for layer in records.layers])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_complains_about_a_model_without_neuron_layers(data, tmp_path):
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, L.Dense(3)(L.Flatten()(inputs)))
    complaint(model, data, tmp_path, "no neuron layer")


def test_it_complains_about_too_little_memory(monkeypatch, data, make_mlp, tmp_path):
    monkeypatch.setattr(recording.memory, "available_memory", lambda: 100)
    complaint(make_mlp(), data, tmp_path, "GiB are available; give fewer samples.*neurons=.*positions=")
    monkeypatch.setattr(recording.memory, "available_memory", lambda: None)
    recorder = Recorder(data.x_train[:5], data.y_train[:5], path=tmp_path / "r.h5")
    run(make_mlp(), data, [recorder], epochs=1)
    assert (tmp_path / "r.h5").exists()


def test_maps_beyond_the_budget_are_drawn_or_refused(make_data, make_convnet, tmp_path):
    data = maps_data(make_data)
    complaint(make_convnet(), data, tmp_path, "memory budget", keep=Keep(memory_budget=100))
    recorder = Recorder(
        data.x_train[:5], data.y_train[:5], path=tmp_path / "r.h5", keep=Keep(memory_budget=700)
    )
    run(make_convnet(), data, [recorder], epochs=1)
    with Records(tmp_path / "r.h5") as records:  # 5 samples × 7 neurons × 4 bytes = 140 a position
        assert [len(records.positions(name)) for name in records.layers] == [5, 5]


def test_it_complains_about_steps_per_execution(data, make_mlp, tmp_path):
    recorder = Recorder(data.x_train[:5], data.y_train[:5], path=tmp_path / "a" / "r.h5")
    with pytest.raises(ValueError, match="steps_per_execution=4.*steps_per_execution=1"):
        fit(make_mlp(), data.x_train, data.y_train, [recorder], compiled={"steps_per_execution": 4})
    assert not (tmp_path / "a").exists()


def test_it_complains_about_a_file_that_exists(data, make_mlp, tmp_path):
    path = tmp_path / "r.h5"
    path.write_text("precious")
    with pytest.raises(ValueError, match="exists already; give another path, overwrite=True to"):
        run(make_mlp(), data, [Recorder(data.x_train[:5], data.y_train[:5], path=path)])
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("where", ["model", "layers"])
def test_half_precision_is_warned_about(where, data, tmp_path, caplog):
    policy = "mixed_float16" if where == "layers" else None
    if where == "model":
        keras.config.set_dtype_policy("mixed_float16")
    try:
        inputs = keras.Input((4, 4, 1))
        x = L.Dense(4, dtype=policy)(L.Flatten()(inputs))
        x = L.Activation("relu", name="phi", dtype=policy)(x)
        model = keras.Model(inputs, L.Dense(3, dtype="float32")(x))
        recorder = Recorder(data.x_train[:5], data.y_train[:5], path=tmp_path / "r.h5")
        with caplog.at_level(logging.WARNING):
            run(model, data, [recorder], epochs=1)
    finally:
        keras.config.set_dtype_policy("float32")
    assert "float16" in caplog.text and "exact zeros" in caplog.text


def test_single_precision_is_not_warned_about(data, make_mlp, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        run(make_mlp(), data, [Recorder(data.x_train[:5], data.y_train[:5], path=tmp_path / "r.h5")])
    assert "float16" not in caplog.text


def test_the_whole_file_must_fit_its_disk_before_training(monkeypatch, data, make_mlp, tmp_path):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2**20))
    model, path = make_mlp(), tmp_path / "r.h5"
    before = model.get_weights()
    recorder = Recorder(data.x_train, data.y_train, path=path, every=1, snapshots=Snapshots(range(1000)))
    with pytest.raises(
        files.NoRoomError, match=r"r\.h5 will take up to 1\.2 MiB more, and the disk of .* has 1"
    ):
        run(model, data, [recorder], epochs=150)  # 1050 recordings, a snapshot of 50 · 11 float16 in 1001
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert list(tmp_path.iterdir()) == []
    fewer = Recorder(data.x_train, data.y_train, path=path, every=1, snapshots=Snapshots(range(500)))
    run(model, data, [fewer], epochs=1)
    assert path.exists()


def test_a_full_disk_at_the_end_keeps_the_sums(monkeypatch, data, make_mlp, tmp_path):
    recorder = Recorder(data.x_train[:9], data.y_train[:9], path=tmp_path / "r.h5", every=1)
    usage, model, real = shutil.disk_usage(tmp_path), make_mlp(), shutil.disk_usage

    class Fill(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))

    with pytest.raises(files.NoRoomError, match=r"r\.h5 needs up to"):
        fit(model, data.x_train, data.y_train, [Fill(), recorder], epochs=1)
    monkeypatch.setattr(shutil, "disk_usage", real)
    recorder.finish()
    undisturbed = Recorder(data.x_train[:9], data.y_train[:9], path=tmp_path / "u.h5", every=1)
    fit(make_mlp(), data.x_train, data.y_train, [undisturbed], epochs=1)
    with Records(tmp_path / "r.h5") as found, Records(tmp_path / "u.h5") as expected:
        for layer in expected.layers:
            np.testing.assert_array_equal(found.sign_sum(layer), expected.sign_sum(layer))
            np.testing.assert_array_equal(found.snapshots(layer), expected.snapshots(layer))


@pytest.mark.parametrize("loop", ["train", "fit"])
def test_two_recorders_of_one_path_are_refused_before_training(loop, data, make_mlp, tmp_path):
    two = [Recorder(data.x_train[:5], data.y_train[:5], path=tmp_path / "r.h5", every=1) for _ in range(2)]
    model = make_mlp()
    before = model.get_weights()
    with pytest.raises(
        files.InUseError, match=r"another recorder of this process writes .*r\.h5 by now; give"
    ):
        if loop == "train":
            run(model, data, two)
        else:
            fit(model, data.x_train, data.y_train, two)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


# Batches beside each other ----------------------------------------------------------------------------


def test_batches_beside_each_other_count_what_they_do_one_by_one(data, make_mlp, tmp_path, monkeypatch):
    """Bit for bit, with more batches than rows and a smaller last one, held in memory and in a file."""
    threads, tables = [], []
    cases = ("one", 1, 2**30), ("two", 2, 2**30), ("three", 3, 2**30), ("mapped", 2, 1)
    for name, rows, budget in cases:
        monkeypatch.setattr(recording.recorder, "at_once", lambda workers, size, rows=rows: rows)
        recorder = Recorder(
            data.x_train[:23], data.y_train[:23], path=tmp_path / name, every=2, batch_size=5,
            keep=recording.Keep(memory_budget=budget),
        )  # fmt: skip
        run(make_mlp("tanh"), data, [recorder, Threads(recorder, threads)])
        tables.append(recorder.table)
        assert len(set(threads)) == rows
        threads.clear()
    assert all(table == tables[0] for table in tables)
    with Records(tmp_path / "one") as one:
        assert len(one.recordings) > 5 and len(one.snapshot_recordings) > 2
        for name in ("two", "three", "mapped"):
            with Records(tmp_path / name) as other:
                for layer in one.layers:
                    assert len(np.unique(one.sign_sum(layer))) > 3
                    for read in (Records.sign_sum, Records.nonzero, Records.snapshots):
                        np.testing.assert_array_equal(read(one, layer), read(other, layer))


@pytest.mark.parametrize("scope", [contextlib.nullcontext, tf.distribute.OneDeviceStrategy("/CPU:0").scope])
def test_a_model_is_traced_in_the_callers_thread(scope, data, make_mlp, tmp_path, monkeypatch):
    """Also when the sums have become wider, and in a strategy's scope: Keras keeps some settings for each
    thread."""
    monkeypatch.setattr(recording.recorder, "at_once", lambda workers, size: 2)
    monkeypatch.setattr(recording.sums, "FULL_AFTER", 3)
    recorder = Recorder(data.x_train[:23], data.y_train[:23], path=tmp_path / "r.h5", every=1, batch_size=5)
    traced, recorded = [], set()
    with scope(), recorder.recording(make_mlp(), steps=6):
        taken = recorder._recordings
        step = taken._record_batch

        def seen(*given):
            before = step.experimental_get_tracing_count()
            found = step(*given)
            if step.experimental_get_tracing_count() > before:
                traced.append(threading.get_ident())
            recorded.add(threading.get_ident())
            return found

        taken._record_batch = seen
        for _ in range(6):
            recorder.step()
    assert traced == [threading.get_ident()] * 4  # whole and smaller batches, narrow and wide sums
    assert len(recorded) > 2 and recorder.signs()["dense1-relu"][0].dtype == np.int32


@pytest.mark.parametrize("layer, alone", [(Binary, True), (Python, True), (lambda: L.Dense(5), False)])
def test_calls_that_may_disturb_each_other_are_not_made_beside_each_other(
    layer, alone, data, tmp_path, monkeypatch
):
    monkeypatch.setattr(recording.recorder, "at_once", lambda workers, size: 2)
    layers = [keras.Input((4, 4, 1)), L.Flatten(), L.Dense(4, "tanh", name="seen"), layer(), L.Dense(3)]
    model = keras.Sequential(layers)
    recorder = Recorder(data.x_train[:23], data.y_train[:23], path=tmp_path / "r.h5", every=1, batch_size=5)
    threads = set()
    with recorder.recording(model, steps=4):
        taken = recorder._recordings
        step = taken._record_batch

        def seen(*given):
            threads.add(threading.get_ident())
            return step(*given)

        taken._record_batch = seen
        for _ in range(4):
            recorder.step()
    assert (threads == {threading.get_ident()}) is alone
    d = np.sign(recording.activation_derivatives(model, data.x_train[:23], data.y_train[:23])["seen-tanh"])
    np.testing.assert_array_equal(recorder.signs()["seen-tanh"][0], 4 * d)


def test_maps_of_unknown_size_that_are_not_recorded_are_no_obstacle(make_data, tmp_path):
    inputs = keras.Input((None, None, 2))
    maps = L.Activation("relu", name="maps")(L.Conv2D(3, 3, name="conv")(inputs))
    dense = L.Dense(4, "relu", name="dense")(L.GlobalAveragePooling2D()(maps))
    data = maps_data(make_data)
    recorder = Recorder(data.x_train[:5], data.y_train[:5], path=tmp_path / "r.h5", layers=["dense-relu"])
    run(keras.Model(inputs, L.Dense(3, name="logits")(dense)), data, [recorder], epochs=1)
    with Records(tmp_path / "r.h5") as records:
        assert records.sign_sum("dense-relu").shape == (5, 4)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["mlp", "cifar_cnn"])
def test_large_batches_beside_each_other_count_what_they_do_one_by_one(network, tmp_path, monkeypatch):
    """Networks of the papers' sizes, whose products and convolutions use several threads each."""
    model, counted = getattr(networks, network)("relu", seed=0), []
    rng = np.random.default_rng(0)
    x, y = rng.random((700, *model.input_shape[1:]), dtype=np.float32), rng.integers(0, 10, 700)
    for rows in (1, 2):
        monkeypatch.setattr(recording.recorder, "at_once", lambda workers, size, rows=rows: rows)
        recorder = Recorder(x, y, path=tmp_path / f"{rows}.h5", every=1, batch_size=100)
        with recorder.recording(model, steps=4):
            for _ in range(4):
                recorder.step()
        counted.append((recorder.table, recorder.signs()))
    (table, signs), (other_table, others) = counted
    assert [row[3:] for row in table] == [row[3:] for row in other_table]
    for layer, pair in signs.items():
        for values, other in zip(pair, others[layer], strict=True):
            np.testing.assert_array_equal(values, other)


class Threads(keras.callbacks.Callback):
    """From the second batch of a training on: the threads that a recorder's batches are computed by."""

    def __init__(self, recorder, seen):
        super().__init__()
        self._recorder, self._seen, self._told = recorder, seen, False

    def on_train_batch_end(self, batch, logs=None):
        if self._told:
            return
        self._told, taken = True, self._recorder._recordings
        real, meeting = taken._record_batch, threading.Barrier(taken._at_once, timeout=60)

        def tell(*given):
            if len(self._seen) < meeting.parties:  # those that a recording begins with
                self._seen.append(threading.get_ident())
                meeting.wait()
            return real(*given)

        taken._record_batch = tell


# An error while a recording is taken ------------------------------------------------------------------


class Failing:
    """The compiled recording of a batch, which fails at the ``nth`` call from now."""

    def __init__(self, recorder, nth):
        self._taken, self._left = recorder._recordings, iter(range(1, nth))
        self._real, self._taken._record_batch = self._taken._record_batch, self

    def __call__(self, *given):
        if next(self._left, None) is None:
            self._taken._record_batch = self._real
            raise MemoryError("none left")
        return self._real(*given)


@pytest.mark.parametrize("budget", [2**30, 1])
def test_a_recording_that_fails_half_way_is_not_written_as_if_whole(budget, data, make_mlp, tmp_path, caplog):
    recorder = Recorder(
        data.x_train[:20], data.y_train[:20], path=tmp_path / "r.h5", every=1, batch_size=5,
        keep=recording.Keep(memory_budget=budget),
    )  # fmt: skip
    with pytest.raises(MemoryError), recorder.recording(make_mlp(), steps=4):
        for batch in range(4):
            if batch == 2:
                Failing(recorder, 3)
            recorder.step()
    assert "is not written: the recording at step 2 ended in an error (MemoryError)" in caplog.text
    assert not (tmp_path / "r.h5").exists()
    for work in (recorder.finish, recorder.step, recorder.checkpoint_state, recorder.signs):
        with pytest.raises(ValueError, match="different numbers of recordings; record anew"):
            work()


def test_a_revocable_recording_that_fails_is_taken_back(data, make_mlp, tmp_path):
    """Of data of unknown length the sums from before are held anyway: all but the last recording is kept."""
    recorder = Recorder(data.x_train[:20], data.y_train[:20], path=tmp_path / "r.h5", every=1, batch_size=5)
    with pytest.raises(MemoryError), recorder.recording(make_mlp()):
        for batch in range(4):
            if batch == 2:
                Failing(recorder, 3)
            recorder.step()
    with Records(tmp_path / "r.h5") as records:
        assert len(records.recordings) == 2
        assert {int(records.nonzero(layer).max()) for layer in records.layers} == {2}


# The file ------------------------------------------------------------------------------------------


class RaiseAt(keras.callbacks.Callback):
    def __init__(self, error, batch=3):
        super().__init__()
        self.error, self.batch = error, batch

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.batch:
            raise self.error


@pytest.mark.parametrize("loop", ["train", "fit"])
@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt()])
def test_interrupted_training_leaves_only_a_partial_file(loop, error, data, make_mlp, tmp_path):
    path = tmp_path / "r.h5"
    callbacks = [Recorder(data.x_train[:5], data.y_train[:5], path=path, every=1), RaiseAt(error)]
    with pytest.raises(type(error)):
        if loop == "train":
            run(make_mlp(), data, callbacks)
        else:
            fit(make_mlp(), data.x_train, data.y_train, callbacks)
    assert {found.name for found in tmp_path.iterdir()} == {
        *(found.name for found in files.partials(path)),
        ".lock-r.h5",
        ".lock-r.h5-owner.json",
    }
    with pytest.raises(RecordsError, match="unfinished.*interrupted.*finish.*run the training again"):
        Records(path)
    # a second try does not stumble over the remains
    run(make_mlp(), data, [Recorder(data.x_train[:5], data.y_train[:5], path=path, every=1)])
    assert list(tmp_path.iterdir()) == [path]
    with Records(path) as records:
        assert len(records.recordings) == 14


def test_memory_of_the_sums_does_not_grow(data, make_mlp, tmp_path):
    sizes = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            held = []
            for number in range(3):
                with recorder._recordings.sums.counting(number) as counts:
                    held += [np.asarray(values).nbytes for values in counts.values()]
            sizes.append((sum(held), len(recorder._recordings._latest)))

    recorder = Recorder(data.x_train[:5], data.y_train[:5], path=tmp_path / "r.h5", every=1, batch_size=2)
    run(make_mlp(), data, [recorder, Watch()])
    assert set(sizes) == {(5 * (6 + 5) * 2 * 2, 3)}


def test_the_file_as_documented(data, make_mlp, tmp_path):
    index = np.array([4, 9, 2, 30, 7])
    recorder = Recorder(
        data.x_train[index],
        data.y_train[index],
        path=tmp_path / "new" / "r.h5",
        every=4,
        sample_index=index,
        provenance={"who": "tester"},
    )
    run(make_mlp(), data, [recorder])
    with h5py.File(tmp_path / "new" / "r.h5") as file:
        assert file.attrs["schema"] == "keras_neuronlevel/records" and file.attrs["schema_version"] == 1
        assert json.loads(file.attrs["layers"]) == ["dense1-relu", "dense2-relu"]
        provenance = json.loads(file.attrs["provenance"])
        assert provenance["who"] == "tester" and [start["step"] for start in provenance["starts"]] == [0]
        axes = {"sample", "recording", "snapshot_recordings"}
        assert set(file) == {"recordings", "samples", "signs", "snapshots"} | axes
        assert file["recordings"].dtype.names == ("step", "epoch", "batch", "loss", "accuracy")
        assert file["recordings"]["batch"].tolist() == [0, 4, 0, 4]
        assert file["samples/index"][()].tolist() == index.tolist()
        assert file["samples/label"][()].tolist() == data.y_train[index].tolist()
        assert set(file["signs/dense1-relu"]) == {"sign_sum", "nonzero", "neurons", "snapshot_neurons"}
        assert file["signs/dense2-relu/sign_sum"].shape == (5, 5)
        assert file["snapshots/dense2-relu"].shape == (len(file["snapshot_recordings"]), 5, 5)


def test_own_loss_has_no_accuracy(data, make_mlp, tmp_path):
    def loss(y, logits):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(y, 0.5 * logits)

    x, y = data.x_train[:5], data.y_train[:5]
    run(make_mlp(), data, [Recorder(x, y, path=tmp_path / "r.h5", every=7, loss=loss)])
    with Records(tmp_path / "r.h5") as records:
        assert np.isnan(records.recordings["accuracy"]).all()
        logits = 0.5 * np.asarray(make_mlp()(x), np.float64)
        by_hand = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(5), y]
        assert records.recordings["loss"][0] == pytest.approx(by_hand.mean(), rel=1e-5)
