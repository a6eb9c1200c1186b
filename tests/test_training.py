"""`training.train` against a NumPy loop, and as a driver of Keras callbacks."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_neuronlevel import scores, training

L = keras.layers


def run(model, data, *, epochs=2, batch_size=8, rate=0.5, **options):
    optimizer = options.pop("optimizer", None) or keras.optimizers.SGD(rate)
    return training.train(
        model, data, optimizer=optimizer, epochs=epochs, batch_size=batch_size, progress=False, **options
    )


@pytest.fixture
def visited(monkeypatch):
    """The batches (x, y) that the compiled step was given, in order."""
    seen, original = [], training.training_step

    def spying(*arguments, **options):
        step = original(*arguments, **options)

        def spy(x, y):
            seen.append((np.array(x), np.array(y)))
            return step(x, y)

        return spy

    monkeypatch.setattr(training, "training_step", spying)
    return seen


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


class Descent:
    """Two linear layers and softmax, trained by plain gradient descent in float64."""

    def __init__(self, weights):
        self.w1, self.b1, self.w2, self.b2 = (w.astype(np.float64) for w in weights)

    def logits(self, x):
        return (x.reshape(len(x), -1) @ self.w1 + self.b1) @ self.w2 + self.b2

    def losses(self, x, y):
        return -np.log(softmax(self.logits(x))[np.arange(len(x)), y])

    def step(self, x, y, rate):
        x = x.reshape(len(x), -1).astype(np.float64)
        hidden = x @ self.w1 + self.b1
        delta = (softmax(hidden @ self.w2 + self.b2) - np.eye(3)[y]) / len(x)
        back = delta @ self.w2.T
        self.w2 -= rate * hidden.T @ delta
        self.b2 -= rate * delta.sum(axis=0)
        self.w1 -= rate * x.T @ back
        self.b1 -= rate * back.sum(axis=0)


def test_it_is_stochastic_gradient_descent(data, make_mlp, visited):
    model = make_mlp("linear", hidden=(4,))
    twin = Descent(model.get_weights())
    history = run(model, data, epochs=3).history
    losses, correct, expected = [], [], {"loss": [], "accuracy": [], "val_loss": [], "val_accuracy": []}
    for number, (x, y) in enumerate(visited):
        losses.extend(twin.losses(x, y))
        correct.extend(twin.logits(x).argmax(axis=1) == y)
        twin.step(x, y, 0.5)
        if number % 7 == 6:
            expected["loss"].append(np.mean(losses))
            expected["accuracy"].append(np.mean(correct))
            expected["val_loss"].append(twin.losses(data.x_test, data.y_test).mean())
            hits = twin.logits(data.x_test).argmax(axis=1) == data.y_test
            expected["val_accuracy"].append(hits.mean())
            losses, correct = [], []
    for found, wanted in zip(model.get_weights(), (twin.w1, twin.b1, twin.w2, twin.b2), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert set(history) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-4)
    assert history["val_loss"][-1] < history["val_loss"][0]


def test_an_epoch_visits_each_image_once_in_its_own_order(data, make_mlp, visited):
    run(make_mlp(), data, epochs=2)
    assert [len(x) for x, _ in visited] == 2 * [8, 8, 8, 8, 8, 8, 2]
    place = {image.tobytes(): i for i, image in enumerate(data.x_train)}
    assert len(place) == 50
    orders = []
    for epoch in (visited[:7], visited[7:]):
        order = [place[image.tobytes()] for x, _ in epoch for image in x]
        assert sorted(order) == list(range(50))
        labels = np.concatenate([y for _, y in epoch])
        np.testing.assert_array_equal(labels, data.y_train[order])
        orders.append([sorted(order[i : i + 8]) for i in range(0, 50, 8)])
    assert orders[0] != orders[1]
    assert orders[0][0] != list(range(8))


def test_the_same_seed_gives_the_same_weights(data, make_mlp):
    def weights(seed):
        model = make_mlp(dropout=0.5)
        run(model, data, seed=seed)
        return np.concatenate([w.ravel() for w in model.get_weights()])

    np.testing.assert_array_equal(weights(1), weights(1))
    assert np.abs(weights(1) - weights(2)).max() > 1e-3


def test_the_seed_reaches_the_dropout_masks(data, make_mlp):
    """One full batch: the order of images cannot make the difference, the masks do."""

    def weights(seed, dropout):
        model = make_mlp(dropout=dropout)
        run(model, data, seed=seed, epochs=1, batch_size=50)
        return model.get_weights()[0]

    np.testing.assert_array_equal(weights(1, 0.0), weights(2, 0.0))
    assert np.abs(weights(1, 0.5) - weights(2, 0.5)).max() > 1e-3


def test_layers_do_not_share_their_dropout_masks():
    inputs = keras.Input((200,))
    first = L.Dropout(0.5, seed=1)
    second = L.Dropout(0.5, seed=1)
    model = keras.Model(inputs, [first(inputs), second(inputs)])
    training.reseed(model, 0)
    a, b = (np.asarray(v) > 0 for v in model(np.ones((1, 200), np.float32), training=True))
    assert 40 < (a != b).sum() < 160
    training.reseed(model, 0)
    again = np.asarray(model(np.ones((1, 200), np.float32), training=True)[0]) > 0
    np.testing.assert_array_equal(a, again)


def test_regularization_is_minimized_but_not_reported(data):
    inputs = keras.Input((4, 4, 1))
    flat = L.Flatten()(inputs)
    model = keras.Model(
        inputs, L.Dense(3, kernel_regularizer=keras.regularizers.L2(0.1), kernel_initializer="ones")(flat)
    )
    one = dataclasses.replace(data, x_train=np.zeros_like(data.x_train[:3]), y_train=np.int32([0, 1, 2]))
    history = run(model, one, epochs=1, batch_size=3).history
    # images of zeros: only the penalty moves the kernel, w ← w − 0.5 · 0.2 · w; the loss is log 3
    np.testing.assert_allclose(model.get_weights()[0], np.full((16, 3), 0.9), rtol=1e-6)
    assert history["loss"][0] == pytest.approx(np.log(3), rel=1e-5)


def test_training_mode_in_training_and_inference_mode_in_validation(data):
    inputs = keras.Input((4, 4, 1))
    norm = L.BatchNormalization(momentum=0.0)
    x = L.Activation("relu", name="phi")(L.Dense(4)(L.Dropout(0.5, seed=1)(norm(L.Flatten()(inputs)))))
    model = keras.Model(inputs, L.Dense(3)(x))
    history = run(model, data, epochs=1, batch_size=50).history
    flat = data.x_train.reshape(50, -1)
    np.testing.assert_allclose(norm.moving_mean, flat.mean(axis=0), rtol=1e-4)
    logits = np.asarray(model(data.x_test, training=False), np.float64)
    by_hand = -np.log(softmax(logits)[np.arange(23), data.y_test])
    assert history["val_loss"][0] == pytest.approx(by_hand.mean(), rel=1e-5)
    assert history["val_accuracy"][0] == pytest.approx((logits.argmax(axis=1) == data.y_test).mean())


@pytest.mark.parametrize("batch_size", [1, 5, 23, 1000])
def test_evaluate_against_numpy(batch_size, data, make_mlp, numpy_net):
    model = make_mlp("sigmoid", dropout=0.5)
    net = numpy_net(model)
    logits = net.values(data.x_test)["logits"]
    tally = training.evaluate(model, data.x_test, data.y_test, batch_size)
    assert tally.mean_loss == pytest.approx(net.losses(logits, "logits", data.y_test).mean(), rel=1e-5)
    assert tally.accuracy == (logits.argmax(axis=1) == data.y_test).mean()


def test_without_test_images_there_is_no_validation(data, make_mlp):
    bare = dataclasses.replace(data, x_test=data.x_test[:0], y_test=data.y_test[:0])
    assert set(run(make_mlp(), bare).history) == {"loss", "accuracy"}


def test_callbacks_are_called_as_in_fit(data, make_mlp):
    class Log(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.calls = []

        def on_train_begin(self, logs=None):
            self.calls.append("begin")
            self.seen = dict(self.params)

        def on_train_end(self, logs=None):
            self.calls.append("end")

        def on_epoch_begin(self, epoch, logs=None):
            self.calls.append(f"epoch {epoch}")

        def on_epoch_end(self, epoch, logs=None):
            self.calls.append(f"end {epoch}")
            assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(logs)

        def on_train_batch_begin(self, batch, logs=None):
            self.calls.append(f"batch {batch} at {int(self.model.optimizer.iterations)}")

        def on_train_batch_end(self, batch, logs=None):
            self.calls.append(f"done {batch} at {int(self.model.optimizer.iterations)}")
            assert np.isfinite(logs["loss"])

    log = Log()
    model = make_mlp()
    history = run(model, data, batch_size=25, callbacks=[log])
    assert log.calls == [
        "begin",
        "epoch 0",
        "batch 0 at 0",
        "done 0 at 1",
        "batch 1 at 1",
        "done 1 at 2",
        "end 0",
        "epoch 1",
        "batch 0 at 2",
        "done 0 at 3",
        "batch 1 at 3",
        "done 1 at 4",
        "end 1",
        "end",
    ]
    assert log.seen["epochs"] == 2 and log.seen["steps"] == 2
    assert history is model.history and history.epoch == [0, 1]


def test_stop_training_ends_after_the_epoch_and_not_the_next_run(data, make_mlp):
    class Stop(keras.callbacks.Callback):
        ended = 0

        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                self.model.stop_training = True

        def on_train_end(self, logs=None):
            self.ended += 1

    model, stop = make_mlp(), Stop()
    assert run(model, data, epochs=9, callbacks=[stop]).epoch == [0]
    assert int(model.optimizer.iterations) == 7 and stop.ended == 1
    assert run(model, data, epochs=2).epoch == [0, 1]


def test_a_keras_callback_works(data, make_mlp):
    model = make_mlp()
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 0.5 if epoch == 0 else 0.0)
    weights = []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: weights.append(model.get_weights()[0]))
    run(model, data, epochs=3, callbacks=[scheduler, keep])
    np.testing.assert_array_equal(weights[0], weights[2])
    assert not np.array_equal(weights[0], make_mlp().get_weights()[0])


@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD, keras.optimizers.Adam])
@pytest.mark.parametrize("rate", [0.0, -0.1, float("nan"), float("inf")])
def test_a_learning_rate_that_learns_nothing_is_refused(rate, optimizer, data, make_mlp):
    model = make_mlp()
    before = model.get_weights()
    with pytest.raises(ValueError, match="the learning rate is .*; give a number above 0"):
        run(model, data, optimizer=optimizer(rate))
    falling = keras.optimizers.schedules.ExponentialDecay(rate or -1e-9, 10, 0.5)
    with pytest.raises(
        ValueError, match="the learning rate at the first step is .*; give a number at least 0"
    ):
        run(model, data, optimizer=optimizer(falling))
    assert all(map(np.array_equal, before, model.get_weights()))


def test_a_learning_rate_may_begin_and_end_at_zero(data, make_mlp):
    warm = keras.optimizers.schedules.CosineDecay(0.0, 8, warmup_target=0.5, warmup_steps=4)
    model = make_mlp()
    before = model.get_weights()
    run(model, data, optimizer=keras.optimizers.SGD(warm))
    assert not all(map(np.array_equal, before, model.get_weights()))


def changed(array, place, value):
    array = np.array(array)
    array[place] = value
    return array


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: {"y_train": changed(d.y_train, 7, 3)}, "label 3 of sample 7 in y_train is not in 0..2"),
        (lambda d: {"y_test": changed(d.y_test, 2, -1)}, "label -1 of sample 2 in y_test is not in 0..2"),
        (lambda d: {"y_train": d.y_train + 0.5}, "y_train holds values of type float64 that are no whole"),
        (lambda d: {"y_train": d.y_train[:-1]}, r"y_train has shape \(49,\), but there are 50 samples"),
        (lambda d: {"x_train": d.x_train[:0], "y_train": d.y_train[:0]}, "x_train is empty"),
        (lambda d: {"x_train": changed(d.x_train, 9, np.nan)}, "image 9 of x_train holds NaN"),
        (lambda d: {"x_test": d.x_test[:, :3]}, r"x_test has shape \(23, 3, 4, 1\), but the network takes"),
        (lambda d: {"x_train": d.x_train.astype(str)}, "x_train holds values of type <U"),
    ],
)
def test_training_sets_that_do_not_fit(change, words, data, make_mlp):
    with pytest.raises(ValueError, match=words):
        run(make_mlp(), dataclasses.replace(data, **change(data)))


@pytest.mark.parametrize("form", [np.uint8, np.float64, "column", "one-hot"])
def test_labels_of_every_form_train_alike(form, data, make_mlp):
    expected = make_mlp()
    run(expected, data)
    y = {"column": data.y_train[:, None], "one-hot": np.eye(3)[data.y_train]}.get(form)
    y = data.y_train.astype(form) if y is None else y
    found = make_mlp()
    run(found, dataclasses.replace(data, y_train=y))
    assert all(map(np.array_equal, expected.get_weights(), found.get_weights()))


def test_cross_entropy_and_correct_by_hand():
    logits = np.array([[1000.0, 0.0, 0.0], [0.0, 1.0, 2.0], [3.0, 1.0, 3.0]], np.float32)
    labels = np.array([1, 2, 0], np.int32)
    expected = [1000.0, np.log(np.exp([0, 1, 2]).sum()) - 2, np.log(np.exp([3, 1, 3]).sum()) - 3]
    np.testing.assert_allclose(scores.cross_entropy(labels, logits), expected, rtol=1e-6)
    assert int(scores.count_correct(labels, tf.constant(logits))) == 2  # a tie goes to the first
    assert int(scores.count_correct(np.array([1, 2, 2]), tf.constant(logits))) == 1


@pytest.mark.parametrize("overwrite", [None, 3])
def test_averages_of_weights_are_those_of_fit(overwrite, data, make_mlp):
    def optimizer():
        return keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=overwrite)

    one, other = make_mlp("tanh"), make_mlp("tanh")
    other.set_weights(one.get_weights())
    before = one.get_weights()
    size = len(data.x_train)  # one batch an epoch, so that the order says nothing
    training.train(one, data, optimizer=optimizer(), epochs=10, batch_size=size, progress=False)
    other.compile(optimizer(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    other.fit(data.x_train, data.y_train, epochs=10, batch_size=size, verbose=0)
    for a, b, start in zip(one.get_weights(), other.get_weights(), before, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
        assert np.abs(a - start).max() > 1e-3
