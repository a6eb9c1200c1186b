"""Summaries of a recording: every scalar against a loop, Keras' callbacks, TensorBoard's own reader."""

import csv
import math

import keras
import numpy as np
import pytest

from keras_neuronlevel.recording import (
    ActivationGradientRecorder,
    Snapshots,
    TensorBoardSummaries,
    separation_scalar,
    sign_scalars,
)
from keras_neuronlevel.selection import Selection

NAMES = ("above_0.9", "low_share", "changed")


def twin(sign_sum, nonzero, former=None):
    """The three scalars pair by pair, and the categories."""
    above, low, category = [], [], {}
    for u in range(sign_sum.shape[1]):
        s = {}
        for place in np.ndindex(sign_sum[:, u].shape):
            n, total = int(nonzero[:, u][place]), int(sign_sum[:, u][place])
            category[u, place] = (total > 0) - (total < 0)
            if n:
                s[place] = float(np.float32(total) / np.float32(n))
        if s:
            above.append(sum(abs(v) > np.float32(0.9) for v in s.values()) / len(s))
        sided = [v for v in s.values() if v]
        if sided:
            low.append(sum(v > 0 for v in sided) / len(sided))
    changed = math.nan if former is None else np.mean([category[k] != former[k] for k in category])
    found = [np.mean(values) if values else math.nan for values in (above, low)]
    return dict(zip(NAMES, [*found, changed], strict=True)), category


def twin_auc(p, category, positions=((),)):
    """The share of (high, low) pairs in which the high one is larger, neuron by neuron."""
    areas = []
    for u in range(p.shape[1]):
        high, low = (
            [p[(n, u, *at)] for n in range(len(p)) for at in positions if category[u, (n, *at)] == side]
            for side in (-1, 1)
        )
        pairs = [(a > b) + (a == b) / 2 for a in high for b in low]
        if pairs and not np.isnan(p[:, u]).any():
            areas.append(np.mean(pairs))
    return np.mean(areas) if areas else math.nan


class Twin(keras.callbacks.Callback):
    """What the loop finds after every recording, or every k-th."""

    def __init__(self, recorder, x, every=1):
        super().__init__()
        self.x = x
        self.recorder, self.every, self.rows, self.former, self.seen = recorder, every, {}, {}, 0

    def on_train_batch_begin(self, batch, logs=None):
        kernel, bias = self.model.layers[0].get_weights()
        self.p = self.x @ kernel + bias

    def on_train_batch_end(self, batch, logs=None):
        count = len(self.recorder.table)
        if count == self.seen:
            return
        self.seen = count
        if (count - 1) % self.every:
            return
        for layer, sums in self.recorder.signs().items():
            found, self.former[layer] = twin(*sums, self.former.get(layer))
            found["auc"] = twin_auc(self.p, self.former[layer])
            for name, value in found.items():
                key = f"neuronlevel/{layer}/{name}"
                self.rows.setdefault(key, []).append((self.recorder.table[-1][0], value))


def network():
    keras.utils.set_random_seed(1)
    bias = np.array([0.0] * 5 + [-1e4])  # the last one is always off,
    dense = keras.layers.Dense(
        6, bias_initializer=lambda shape, dtype: bias.astype(np.float32), name="dense1"
    )
    relu = keras.layers.Activation("relu", name="dense1-relu")
    model = keras.Sequential([keras.Input((4,)), dense, relu, keras.layers.Dense(3)])
    out = model.layers[-1]
    kernel = out.kernel.numpy()
    kernel[-1] = 0  # and nothing depends on it, so that its derivative is exactly 0 throughout
    out.kernel.assign(kernel)
    model.compile(keras.optimizers.SGD(0.3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.fixture
def fitted(tmp_path):
    def fit(*after, every=1, log_dir=None, epochs=3):
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(40, 4)).astype(np.float32), rng.integers(0, 3, 40)
        recorder = ActivationGradientRecorder(
            x[:20], y[:20], path=tmp_path / "r.h5", every=2, snapshots=Snapshots(dtype="float32")
        )
        summaries, loop = TensorBoardSummaries(recorder, log_dir, every=every), Twin(recorder, x[:20], every)
        callbacks = [recorder, summaries, loop, *after]
        history = network().fit(x, y, batch_size=8, epochs=epochs, callbacks=callbacks, verbose=0)
        return loop.rows, history

    return fit


def test_dead_neurons_and_ties_are_as_the_loop_says():
    total = np.array([[9, 0, 0, -10], [10, 0, 0, 10], [-1, 0, 0, 0]])
    nonzero = np.array([[10, 0, 2, 10], [10, 0, 4, 10], [1, 0, 0, 2]])
    with np.errstate(invalid="ignore"):
        s = (total / nonzero).astype(np.float32)
    former = np.sign(total) * [[1], [1], [-1]]
    expected, _ = twin(total, nonzero, {(u, (n,)): former[n, u] for n in range(3) for u in range(4)})
    assert sign_scalars(s, former) == pytest.approx(expected)
    assert expected["changed"] == 1 / 12


def test_nothing_is_defined_for_a_dead_layer():
    found = sign_scalars(np.full((5, 2, 3), np.nan, np.float32))
    assert list(found) == list(NAMES) and all(map(math.isnan, found.values()))


@pytest.mark.parametrize("every", [1, 2])
def test_csv_logger_and_history_have_what_the_loop_finds(fitted, tmp_path, every):
    rows, history = fitted(keras.callbacks.CSVLogger(tmp_path / "log.csv"), every=every)
    with open(tmp_path / "log.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(rows) == 4 and len(table) == 3
    for key, found in rows.items():
        ends = [[value for step, value in found if step < 5 * epoch][-1] for epoch in (1, 2, 3)]
        assert [float(row[key]) for row in table] == pytest.approx(ends)
        assert history.history[key] == pytest.approx(ends)


def test_early_stopping_reads_a_scalar(fitted):
    name = "neuronlevel/dense1-relu/above_0.9"
    stop = keras.callbacks.EarlyStopping(monitor=name, mode="min", min_delta=2, patience=2)
    _, history = fitted(stop, epochs=6)
    assert stop.best == history.history[name][0]
    assert len(history.epoch) == 3  # no share falls by 2: the first is the best, and two more are waited for


def test_tensorboard_reads_what_the_loop_finds(fitted, tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    from tensorboard.util import tensor_util

    rows, _ = fitted(log_dir=tmp_path / "logs")
    events = accumulator.EventAccumulator(str(tmp_path / "logs"), size_guidance={"tensors": 0}).Reload()
    for key, found in rows.items():
        read = [(e.step, float(tensor_util.make_ndarray(e.tensor_proto))) for e in events.Tensors(key)]
        defined = [(step, value) for step, value in found if not math.isnan(value)]
        assert [step for step, _ in read] == [step for step, _ in defined]
        assert [v for _, v in read] == pytest.approx([v for _, v in defined], rel=1e-6)
        assert len(read) == len(found) - key.endswith("changed")  # no change at the first
    histogram = tensor_util.make_ndarray(events.Tensors("neuronlevel/dense1-relu/s")[-1].tensor_proto)
    assert histogram[:, 2].sum() == 20 * 5  # nothing of the dead neuron
    shown = events.Tensors("neuronlevel/dense1-relu/preactivations")
    assert len(shown) == len(found)
    assert tensor_util.make_ndarray(shown[-1].tensor_proto)[:, 2].sum() == 20 * 6


def test_the_separation_of_maps_with_ties_and_nan_is_as_the_loop_says():
    rng = np.random.default_rng(2)
    p, c = rng.integers(0, 4, (6, 4, 3)).astype(np.float16), rng.integers(-1, 2, (6, 4, 3))
    c[:, 1] = 1  # one side alone,
    p[0, 2, 1] = np.nan  # a neuron that diverged,
    p[0, 3, 0] = np.inf  # and one beyond float16
    category = {(u, (n, i)): c[n, u, i] for n in range(6) for u in range(4) for i in range(3)}
    expected = twin_auc(p.astype(float), category, [(0,), (1,), (2,)])
    assert 0 < expected < 1 and separation_scalar(p, c) == pytest.approx(expected)
    assert math.isnan(separation_scalar(p[:, 1:2], c[:, 1:2]))
    assert math.isnan(separation_scalar(p[:, 2:3], c[:, 2:3]))


def test_of_snapshot_takes_what_the_snapshot_keeps():
    """Neurons 1, 4, 6 recorded at positions 0, 3, 8, of which a snapshot keeps 6, and 3 and 8."""
    values = np.arange(2 * 3 * 3).reshape(2, 3, 3)
    chosen = (np.array([1, 4, 6]), np.array([0, 3, 8]), np.array([6]), np.array([3, 8]))
    found = Selection(7, (3, 3), *chosen).of_snapshot(values)
    assert found.tolist() == [[[7, 8]], [[16, 17]]]
    dense = Selection(7, (), chosen[0], None, np.array([1, 6]), None)
    assert dense.of_snapshot(values[..., 0]).tolist() == [[0, 6], [9, 15]]


def test_bad_arguments_are_said():
    with pytest.raises(ValueError, match="give the training's ActivationGradientRecorder"):
        TensorBoardSummaries(None)
