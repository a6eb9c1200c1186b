"""Accumulators in a memory-mapped file: the same sums, nothing left behind."""

import gc
import logging
import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_neuronlevel import files, recording, training
from keras_neuronlevel.recording import Keep
from keras_neuronlevel.recording.mapped import mapped_zeros
from keras_neuronlevel.recording.sums import MappedSums
from keras_neuronlevel.records import Records
from keras_neuronlevel.selection import select

Recorder = recording.ActivationGradientRecorder
SMALL = Keep(memory_budget=100)


def run(model, data, callbacks, epochs=2, **options):
    optimizer = keras.optimizers.SGD(0.5)
    settings = {"epochs": epochs, "batch_size": 8, "callbacks": callbacks, "progress": False}
    return training.train(model, data, optimizer=optimizer, **settings, **options)


def both(data, tmp_path, **options):
    x, y = data.x_train[:17], data.y_train[:17]
    options = {"every": 1, "batch_size": 7, **options}
    plain = Recorder(x, y, path=tmp_path / "plain.h5", **options)
    return plain, Recorder(x, y, path=tmp_path / "mapped.h5", keep=SMALL, **options)


def check_equal(tmp_path):
    with Records(tmp_path / "plain.h5") as a, Records(tmp_path / "mapped.h5") as b:
        assert a.layers == b.layers and a.recordings.tolist() == b.recordings.tolist()
        for name in a.layers:
            for read in (Records.sign_sum, Records.nonzero, Records.snapshots):
                np.testing.assert_array_equal(read(a, name), read(b, name))
            assert len(np.unique(a.sign_sum(name))) > 3


def mappings():
    """How many deleted files this process has mapped; None where the system does not say."""
    try:
        with open("/proc/self/maps") as lines:
            return sum("(deleted)" in line and "shm" not in line for line in lines)
    except OSError:
        return None


def test_equal_to_sums_in_memory(data, make_mlp, tmp_path, caplog):
    plain, mapped = both(data, tmp_path)
    with caplog.at_level(logging.WARNING):
        run(make_mlp("tanh"), data, [plain, mapped])
    assert caplog.text.count("are beyond the memory budget of 0.0 MiB and live in a memory-mapped file") == 1
    told = f"took {mapped._taken.sums.seconds:.1f} seconds, those of batches beside each other added up; the "
    assert f"accumulators between memory and their file {told}recordings took " in caplog.text
    check_equal(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"plain.h5", "mapped.h5"}


def test_widened_ones_are_equal(monkeypatch, data, make_mlp, tmp_path):
    monkeypatch.setattr(recording.sums, "FULL_AFTER", 3)
    plain, mapped = both(data, tmp_path)
    run(make_mlp("tanh"), data, [plain, mapped])
    assert mapped.signs()["dense1-tanh"][0].dtype == np.int32
    check_equal(tmp_path)


def test_an_unknown_number_of_steps(data, make_mlp, tmp_path):
    """The batch that Keras announces and then does not find is taken back."""
    parts = [(data.x_train[n : n + 8], data.y_train[n : n + 8]) for n in range(0, 48, 8)]
    kinds = tf.TensorSpec((None, 4, 4, 1), tf.float32), tf.TensorSpec((None,), tf.int32)
    dataset = tf.data.Dataset.from_generator(lambda: iter(parts), output_signature=kinds)
    recorders, model = both(data, tmp_path), make_mlp("tanh")
    model.compile(keras.optimizers.SGD(0.5), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(dataset, epochs=2, callbacks=list(recorders), verbose=0)
    check_equal(tmp_path)
    with Records(tmp_path / "mapped.h5") as records:
        assert len(records.recordings) == 12 and records.nonzero("dense1-tanh").max() == 12


class Stop(keras.callbacks.Callback):
    def __init__(self, step=9):
        super().__init__()
        self.step = step

    def checkpoint_state(self):
        return {}, {}

    def resume_from(self, state, arrays):
        pass

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("wide", [False, True])
def test_a_training_goes_on_with_them(wide, monkeypatch, data, make_mlp, tmp_path):
    if wide:
        monkeypatch.setattr(recording.sums, "FULL_AFTER", 3)
    recorders, checkpoint = both(data, tmp_path), tmp_path / "run.checkpoint"
    options = {"checkpoint": checkpoint, "checkpoint_every": 0}
    with pytest.raises(KeyboardInterrupt):
        run(make_mlp("tanh"), data, [recorders[1], Stop()], **options)
    assert checkpoint.exists()
    plain, mapped = both(data, tmp_path)
    run(make_mlp("tanh"), data, [mapped, Stop(None)], **options)
    run(make_mlp("tanh"), data, [plain])
    check_equal(tmp_path)


@pytest.mark.skipif(mappings() is None, reason="the system does not say which files are mapped")
@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_of_the_file(fails, data, make_mlp, tmp_path):
    before = mappings()
    _, mapped = both(data, tmp_path)
    if fails:
        with pytest.raises(KeyboardInterrupt):
            run(make_mlp("tanh"), data, [mapped, Stop()])
        kept = {path.name for path in files.partials(tmp_path / "mapped.h5")}
        kept |= {".lock-mapped.h5", ".lock-mapped.h5-owner.json"}
    else:
        run(make_mlp("tanh"), data, [mapped])
        kept = {"mapped.h5"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert mappings() == before + 1
    del mapped
    gc.collect()
    assert mappings() == before


def test_a_disk_without_room_is_told_before_training(monkeypatch, data, make_mlp, tmp_path):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    model = make_mlp("tanh")
    with pytest.raises(
        files.NoRoomError, match=r"has accumulators beyond its memory budget, whose file will"
    ):
        run(model, data, [both(data, tmp_path)[1]])
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room cannot be set aside here")
def test_room_is_set_aside_at_once(tmp_path):
    shapes = [{"a": (3, 1000), "b": (3, 7, 5)}, {"a": (1, 1000), "b": (1, 7, 5)}]
    free = shutil.disk_usage(tmp_path).free
    batches = mapped_zeros(tmp_path / "r.h5", shapes, np.uint32)
    assert [{name: values.shape for name, values in batch.items()} for batch in batches] == shapes
    for number, (batch, name) in enumerate([(0, "a"), (0, "b"), (1, "a"), (1, "b")]):
        assert not batches[batch][name].any()
        batches[batch][name][...] = number + 1
    for number, (batch, name) in enumerate([(0, "a"), (0, "b"), (1, "a"), (1, "b")]):
        assert (batches[batch][name] == number + 1).all()
    assert free > 0 and not list(tmp_path.iterdir())


def test_many_recordings_have_wide_accumulators_from_the_start(tmp_path):
    sums = MappedSums(select({"phi": (2,)}, 3), [2, 1], tmp_path / "r.h5", recordings=32_768)
    with sums.counting(1) as counts:
        assert counts["phi"].dtype == tf.uint64 and counts["phi"].shape == (1, 2)
        recording.accumulate(counts["phi"], tf.constant([[-1.0, 2.0]]))
    assert sums["phi"][0].tolist() == [[0, 0], [0, 0], [-1, 1]] and sums["phi"][0].dtype == np.int32
    assert {name: np.asarray(values).tolist() for name, values in sums.arrays().items()} == {
        "sums/0/0/phi": [[0, 0], [0, 0]],
        "sums/0/1/phi": [[0, 0], [0, 0]],
        "sums/1/0/phi": [[-1, 1]],
        "sums/1/1/phi": [[1, 1]],
    }
