"""A training that was interrupted goes on and ends bit-identical to one that was not."""

import dataclasses
import itertools
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_neuronlevel import checkpoints, interruption, recording, resuming, training
from keras_neuronlevel.records import Records

STEPS = 7  # 50 images in batches of 8


@pytest.fixture(autouse=True)
def interruptible():
    """Ctrl-C is heard, also where these tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Killed(BaseException):
    """Stands in for SIGKILL: nothing in the package catches it, and nothing of the objects is used again."""


class KillAt(keras.callbacks.Callback):
    """Ends the training at one moment, given as the name of a hook and how often it was called before."""

    def __init__(self, hook, calls=0, action=None):
        super().__init__()
        self._left = calls

        def die(*arguments, **options):
            self._left -= 1
            if self._left < 0:
                (action or self._die)()

        setattr(self, hook, die)

    def _die(self):
        raise Killed

    def checkpoint_state(self):
        return {}, {}

    def resume_from(self, state, arrays):
        pass


def fit(
    model, data, folder, *, killer=None, checkpoint=True, every=2, checkpoint_every=0.0, spy=None, **options
):
    """Train with a recorder; returns everything that the training left, {what: array}."""
    recorder = recording.ActivationGradientRecorder(
        data.x_train[:11],
        data.y_train[:11],
        path=folder / "r.h5",
        every=every,
        snapshots=recording.Snapshots(4),
        batch_size=4,
        overwrite=True,
        provenance={"commit": "abc"},
    )
    options = {"epochs": 3, "batch_size": 8, **options}
    spies = [] if spy is None else [spy(recorder)]
    history = training.train(
        model,
        data,
        optimizer=keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.3, 21), momentum=0.9),
        callbacks=[
            killer or KillAt("never"),
            recorder,
            *spies,
        ],  # it kills before the recorder has seen to a batch
        progress=False,
        checkpoint=folder / "r.checkpoint" if checkpoint else None,
        checkpoint_every=checkpoint_every,
        **options,
    )
    return outcome(model, history, folder)


def outcome(model, history, folder):
    variables = [*model.variables, *model.optimizer.variables]
    found = {f"variable {number}": np.asarray(v) for number, v in enumerate(variables)}
    found |= {f"history {key}": np.array(values) for key, values in history.history.items()}
    found["epochs"] = np.array(history.epoch)
    with Records(folder / "r.h5") as records:
        found |= {"table": records.recordings, "snapshot recordings": records.snapshot_recordings}
        for layer in records.layers:
            for what in ("sign_sum", "nonzero", "snapshots"):
                found[f"{layer} {what}"] = getattr(records, what)(layer)
    return found


def assert_identical(found, wanted):
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
        assert found[name].dtype == values.dtype


MOMENTS = {
    "before the first batch": ("on_train_batch_begin", 0),
    "after the first batch": ("on_train_batch_end", 0),
    "in the middle of an epoch": ("on_train_batch_end", STEPS + 2),
    "at a recording": ("on_train_batch_begin", STEPS + 4),
    "after an epoch's last batch": ("on_train_batch_end", 2 * STEPS - 1),
    "between epochs": ("on_epoch_begin", 1),
    "after the last batch": ("on_train_batch_end", 3 * STEPS - 1),
    "before the file has its name": ("on_train_end", 0),
}


@pytest.fixture(scope="module")
def undisturbed(make_mlp, make_data, tmp_path_factory):
    """What an uninterrupted training of the network with dropout leaves."""
    return fit(make_mlp(dropout=0.4), make_data(), tmp_path_factory.mktemp("undisturbed"), checkpoint=False)


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_it_ends_bit_identical(moment, make_mlp, data, tmp_path, undisturbed):
    with pytest.raises(Killed):
        fit(make_mlp(dropout=0.4), data, tmp_path, killer=KillAt(*MOMENTS[moment]))
    assert not (tmp_path / "r.h5").exists()
    assert_identical(fit(make_mlp(dropout=0.4), data, tmp_path), undisturbed)


def test_statistics_of_batch_normalization_are_resumed(make_convnet, make_data, tmp_path):
    data = make_data(image_shape=(4, 5, 2))
    wanted = fit(make_convnet(), data, tmp_path / "undisturbed", checkpoint=False)
    with pytest.raises(Killed):
        fit(make_convnet(), data, tmp_path, killer=KillAt(*MOMENTS["in the middle of an epoch"]))
    assert_identical(fit(make_convnet(), data, tmp_path), wanted)


def test_killed_again_and_again_it_still_ends_bit_identical(make_mlp, data, tmp_path, undisturbed):
    for calls in range(5):
        with pytest.raises(Killed):
            fit(make_mlp(dropout=0.4), data, tmp_path, killer=KillAt("on_train_batch_end", calls))
    assert_identical(fit(make_mlp(dropout=0.4), data, tmp_path), undisturbed)
    with Records(tmp_path / "r.h5") as records:
        starts = records.provenance["starts"]
    assert [start["step"] for start in starts] == [0, 1, 3, 6, 10] or len(starts) == 6
    assert all(start["commit"] == "abc" for start in starts)


def test_what_was_saved_late_is_done_again(make_mlp, data, tmp_path, undisturbed):
    """Nothing is saved before the kill but the first second's nothing: the training starts anew."""
    with pytest.raises(Killed):
        fit(make_mlp(dropout=0.4), data, tmp_path, checkpoint_every=3600, killer=KillAt("on_epoch_begin", 1))
    assert not (tmp_path / "r.checkpoint").exists()
    assert_identical(fit(make_mlp(dropout=0.4), data, tmp_path), undisturbed)


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    make_mlp, data, tmp_path, undisturbed, monkeypatch
):
    calls, real = [], checkpoints.digest_of

    def die(path):
        calls.append(path)
        if len(calls) == 9:
            raise Killed
        return real(path)

    monkeypatch.setattr(checkpoints, "digest_of", die)
    with pytest.raises(Killed):
        fit(make_mlp(dropout=0.4), data, tmp_path)
    monkeypatch.setattr(checkpoints, "digest_of", real)
    state, _ = checkpoints.load(tmp_path / "r.checkpoint")
    assert (state["place"]["epoch"], state["place"]["batch"]) == (1, 0)
    assert_identical(fit(make_mlp(dropout=0.4), data, tmp_path), undisturbed)


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty"])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_used(
    damage, make_mlp, data, tmp_path, undisturbed, caplog
):
    with pytest.raises(Killed):
        fit(make_mlp(dropout=0.4), data, tmp_path, killer=KillAt("on_train_batch_end", 9))
    path = tmp_path / "r.checkpoint"
    whole = path.read_bytes()
    middle = len(whole) // 2
    altered = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    path.write_bytes({"truncated": whole[:-100], "altered": altered, "empty": b""}[damage])
    assert_identical(fit(make_mlp(dropout=0.4), data, tmp_path), undisturbed)
    assert "r.checkpoint is damaged" in caplog.text and "other generation" in caplog.text


def test_where_both_generations_are_damaged_nothing_is_guessed(make_mlp, data, tmp_path):
    with pytest.raises(Killed):
        fit(make_mlp(), data, tmp_path, killer=KillAt("on_train_batch_end", 3))
    for path in (tmp_path / "r.checkpoint", checkpoints.previous(tmp_path / "r.checkpoint")):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(checkpoints.CheckpointError, match="damaged.*damaged.*delete"):
        fit(make_mlp(), data, tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"epochs": 4}, r"epochs \(3 there, 4 here\)"),
        ({"seed": 1}, r"seed \(0 there, 1 here\)"),
        ({"batch_size": 10}, "batch_size"),
        ({"every": 3}, "every"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_by_name(change, named, make_mlp, data, tmp_path):
    with pytest.raises(Killed):
        fit(make_mlp(), data, tmp_path, killer=KillAt("on_train_batch_end", 3))
    before = (tmp_path / "r.checkpoint").read_bytes()
    with pytest.raises(checkpoints.CheckpointError, match=named):
        fit(make_mlp(), data, tmp_path, **change)
    assert (tmp_path / "r.checkpoint").read_bytes() == before


def test_a_checkpoint_of_other_recorders_is_refused(make_mlp, data, tmp_path):
    with pytest.raises(Killed):
        fit(make_mlp(), data, tmp_path, killer=KillAt("on_train_batch_end", 3))
    state, arrays = checkpoints.load(tmp_path / "r.checkpoint")
    state["callbacks"].pop()
    checkpoints.save(tmp_path / "r.checkpoint", state, arrays)
    with pytest.raises(checkpoints.CheckpointError, match="holds the state of 1 callbacks.*and 2 are given"):
        fit(make_mlp(), data, tmp_path)


def test_other_data_and_another_network_are_refused_by_name(make_mlp, data, tmp_path):
    with pytest.raises(Killed):
        fit(make_mlp(), data, tmp_path, killer=KillAt("on_train_batch_end", 3))
    with pytest.raises(checkpoints.CheckpointError, match="differs in y_test"):
        fit(make_mlp(), dataclasses.replace(data, y_test=data.y_test[::-1]), tmp_path)
    with pytest.raises(checkpoints.CheckpointError, match="differs in network"):
        fit(make_mlp("sigmoid"), data, tmp_path)


def wired(how):
    """Networks of the same variables, connected in different ways, or that compute otherwise."""
    keras.utils.set_random_seed(1)
    images = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(images)
    a = keras.layers.Dense(16, "relu")(x)
    b = keras.layers.Dense(16, "relu", dtype="mixed_bfloat16" if how == "half" else "float32")(a)
    inner_input = keras.Input((16,))
    inner = keras.Model(inner_input, keras.layers.Dense(16)(inner_input))
    both = keras.layers.Add()([inner(b), x if how == "early" else a])
    return keras.Model(images, keras.layers.Dense(4)(both * (3.0 if how == "scaled" else 2.0)))


@pytest.mark.parametrize("how", ["early", "scaled", "half"])
def test_the_same_layers_connected_or_computed_otherwise_are_another_network(how, data, tmp_path):
    options = {"epochs": 1, "batch_size": 8, "progress": False, "checkpoint": tmp_path / "c"}

    def train(model):
        return training.train(model, data, optimizer=keras.optimizers.SGD(0.1), **options).history

    found = train(wired("late"))
    with pytest.raises(checkpoints.CheckpointError, match="differs in network"):
        train(wired(how))
    # The same network, built anew, whose layers Keras has given other names.
    assert train(wired("late")) == found


def test_where_only_the_checkpoint_before_is_left_it_is_said(make_mlp, data, tmp_path, undisturbed, caplog):
    """It may have been left by a crash, or by somebody who wanted to start anew."""
    with pytest.raises(Killed):
        fit(make_mlp(dropout=0.4), data, tmp_path, killer=KillAt("on_train_batch_end", 9))
    path = tmp_path / "r.checkpoint"
    with pytest.raises(checkpoints.CheckpointError, match=f"delete {path} and {path}.previous to start"):
        fit(make_mlp(dropout=0.4), data, tmp_path, seed=1)
    path.unlink()
    with pytest.raises(checkpoints.CheckpointError, match=f"delete {path}.previous to start"):
        fit(make_mlp(dropout=0.4), data, tmp_path, seed=1)
    assert_identical(fit(make_mlp(dropout=0.4), data, tmp_path), undisturbed)
    assert f"there is no {path}; {path}.previous, the checkpoint before it, is used" in caplog.text


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_finishes_the_batch_saves_and_says_where(
    signum, status, make_mlp, data, tmp_path, undisturbed
):
    stop = KillAt("on_train_batch_begin", 4, lambda: signal.raise_signal(signum))
    with pytest.raises(
        interruption.Interrupted, match="epoch 0 after 5 batches.*r.checkpoint.*again"
    ) as stopped:
        fit(make_mlp(dropout=0.4), data, tmp_path, killer=stop, checkpoint_every=3600)
    assert stopped.value.status == status
    assert_identical(fit(make_mlp(dropout=0.4), data, tmp_path), undisturbed)


def test_a_training_that_ended_is_taken_as_it_is(make_mlp, data, tmp_path, undisturbed, caplog):
    assert_identical(fit(make_mlp(dropout=0.4), data, tmp_path), undisturbed)
    assert "ended before" not in caplog.text
    killer = KillAt("on_train_batch_begin", 0)
    assert_identical(fit(make_mlp(dropout=0.4), data, tmp_path, killer=killer), undisturbed)
    assert "has ended before" in caplog.text and "nothing is trained" in caplog.text


def test_no_space_is_one_sentence_and_the_last_checkpoint_is_intact(
    make_mlp, data, tmp_path, undisturbed, monkeypatch
):
    real, calls = checkpoints.os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 5:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(checkpoints.os, "fsync", full)
    with pytest.raises(OSError, match=r"r.checkpoint could not be written \(No space left.* is intact"):
        fit(make_mlp(dropout=0.4), data, tmp_path)
    monkeypatch.setattr(checkpoints.os, "fsync", real)
    assert sorted(path.name for path in tmp_path.glob("*r.checkpoint*")) == [
        "r.checkpoint",
        "r.checkpoint.previous",
    ]
    assert_identical(fit(make_mlp(dropout=0.4), data, tmp_path), undisturbed)


@pytest.mark.parametrize("calls", [STEPS + 2, 2 * STEPS - 1])  # within an epoch, and at its last batch
def test_the_beginning_of_an_epoch_is_not_done_twice(calls, make_mlp, data, tmp_path):
    """A rate that is made of the rate before it, which the checkpoint has already."""

    def halved(folder, killer=None):
        folder.mkdir(exist_ok=True)
        model = make_mlp("tanh")
        model.set_weights(
            [np.full(w.shape, 0.1) + 0.01 * np.arange(w.size).reshape(w.shape) for w in model.get_weights()]
        )
        halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
        options = {"optimizer": keras.optimizers.SGD(0.1), "epochs": 3, "batch_size": 8, "progress": False}
        kills = [killer] if killer else [KillAt("on_test_begin")]
        training.train(
            model, data, callbacks=[halve, *kills], checkpoint=folder / "c", checkpoint_every=0, **options
        )
        return model.history.history["learning_rate"], model.get_weights()

    rates, weights = halved(tmp_path / "whole")
    with pytest.raises(Killed):
        halved(tmp_path / "cut", KillAt("on_train_batch_begin", calls))
    found, others = halved(tmp_path / "cut")
    assert found == rates == pytest.approx([0.05, 0.025, 0.0125])
    for one, other in zip(weights, others, strict=True):
        np.testing.assert_array_equal(one, other)


class Noise(keras.Layer):
    """Noise of Keras' own generator, of TensorFlow's, or of one of the layer's; or a count of calls."""

    def __init__(self, what):
        super().__init__()
        self.what, self.generator, self.calls = what, keras.random.SeedGenerator(1), tf.Variable(0.0)

    def call(self, x, training=None):
        if not training:
            return x
        if self.what == "keras":
            return x + keras.random.normal((x.shape[-1],))
        if self.what == "tensorflow":
            return x + tf.random.normal((x.shape[-1],))
        if self.what == "calls":
            self.calls.assign_add(1.0)
            return x * (1 + 0.1 * self.calls)
        return x + keras.random.normal((x.shape[-1],), seed=self.generator)


@pytest.mark.parametrize("what", ["keras", "tensorflow", "calls", "own"])
def test_what_a_checkpoint_cannot_hold_is_refused(what, data, tmp_path):
    layers = [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dropout(0.5), Noise(what)]
    model = keras.Sequential([*layers, keras.layers.BatchNormalization(), keras.layers.Dense(3)])
    options = {"optimizer": "sgd", "epochs": 1, "batch_size": 8, "progress": False}
    if what == "own":
        training.train(model, data, checkpoint=tmp_path / "c", **options)
        return
    with pytest.raises(
        ValueError, match="which a checkpoint cannot hold; give its layers a keras.random.Seed"
    ):
        training.train(model, data, checkpoint=tmp_path / "c", **options)
    training.train(model, data, **options)


def test_callbacks_with_an_unknown_state_are_refused(make_mlp, data, tmp_path):
    with pytest.raises(ValueError, match="EarlyStopping may hold a state"):
        fit(make_mlp(), data, tmp_path, killer=keras.callbacks.EarlyStopping())
    with pytest.raises(ValueError, match="checkpoint_every is -1"):
        fit(make_mlp(), data, tmp_path, checkpoint_every=-1)


def test_interrupted_in_a_recording_it_is_finished_first(make_mlp, data, tmp_path, monkeypatch):
    """Ctrl-C in the middle of a recording, without checkpoints: finish() saves whole recordings only."""
    x, y = data.x_train[:11], data.y_train[:11]
    recorder = recording.ActivationGradientRecorder(x, y, path=tmp_path / "r.h5", every=1, batch_size=4)
    settings = {"epochs": 1, "batch_size": 8, "progress": False, "callbacks": [recorder]}
    real = recording.recorder.recording_step

    def interrupting(*arguments, **options):
        compiled, calls = real(*arguments, **options), itertools.count(1)

        def step(*arguments):
            if next(calls) == 3 * 3 + 1:  # the first of three batches of samples in the fourth recording
                signal.raise_signal(signal.SIGINT)
            return compiled(*arguments)

        return step

    monkeypatch.setattr(recording.recorder, "recording_step", interrupting)
    with pytest.raises(KeyboardInterrupt):
        training.train(make_mlp(), data, optimizer=keras.optimizers.SGD(0.1), **settings)
    recorder.finish()
    monkeypatch.undo()
    full = recording.ActivationGradientRecorder(
        x, y, path=tmp_path / "full.h5", every=lambda epoch, batch, step: step < 4, batch_size=4
    )
    settings["callbacks"] = [full]
    training.train(make_mlp(), data, optimizer=keras.optimizers.SGD(0.1), **settings)
    with Records(tmp_path / "r.h5") as found, Records(tmp_path / "full.h5") as wanted:
        np.testing.assert_array_equal(found.recordings, wanted.recordings)
        for layer in wanted.layers:
            np.testing.assert_array_equal(found.sign_sum(layer), wanted.sign_sum(layer))


# model.fit beside BackupAndRestore ------------------------------------------------------------------


def keras_fit(model, data, folder, order, *, killer=None, epochs=3, save_freq="epoch", resume=True):
    model.compile(
        keras.optimizers.SGD(0.3, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    recorder = recording.ActivationGradientRecorder(
        data.x_train[:11], data.y_train[:11], path=folder / "r.h5", every=2, batch_size=4, resume=resume
    )
    backup = keras.callbacks.BackupAndRestore(folder / "backup", save_freq=save_freq)
    callbacks = {"first": [recorder, backup], "last": [backup, recorder]}[order]
    model.fit(
        data.x_train,
        data.y_train,
        batch_size=8,
        epochs=epochs,
        shuffle=False,
        callbacks=[*callbacks, *([killer] if killer else [])],
        verbose=0,
    )
    with Records(folder / "r.h5") as records:
        signs = {layer: records.sign_sum(layer) for layer in records.layers}
        return records.recordings, signs, records.provenance["starts"]


@pytest.mark.parametrize("order", ["first", "last"])
def test_beside_backup_and_restore_nothing_is_missing(order, make_mlp, data, tmp_path):
    wanted, signs, _ = keras_fit(make_mlp(), data, tmp_path / "undisturbed", order)
    with pytest.raises(Killed):
        keras_fit(make_mlp(), data, tmp_path, order, killer=KillAt("on_train_batch_end", STEPS + 3))
    found, also, starts = keras_fit(make_mlp(), data, tmp_path, order)
    np.testing.assert_array_equal(found, wanted)
    for layer, values in signs.items():
        np.testing.assert_array_equal(also[layer], values)
    assert [start["step"] for start in starts] == [0, STEPS]
    assert not any("missing" in start for start in starts)
    assert not (tmp_path / "r.h5.checkpoint").exists()


@pytest.mark.parametrize("order", ["first", "last"])
def test_where_keras_restarts_an_epoch_the_file_says_what_is_lost(order, make_mlp, data, tmp_path, caplog):
    with pytest.raises(Killed):
        killer = KillAt("on_train_batch_end", STEPS + 5)
        keras_fit(make_mlp(), data, tmp_path, order, killer=killer, save_freq=STEPS + 3)
    found, _, starts = keras_fit(make_mlp(), data, tmp_path, order, save_freq=STEPS + 3)
    assert len(set(found["step"])) == len(found) and (np.diff(found["step"]) > 0).all()
    assert starts[-1]["step"] > STEPS and f"between steps {STEPS} and" in starts[-1]["missing"]
    assert "lacks recordings between steps" in caplog.text


@pytest.mark.parametrize("calls", [STEPS + 2, STEPS + 3])
def test_preactivations_of_the_newest_recording_are_resumed(calls, make_mlp, data, tmp_path):
    """Whether or not its snapshot is in the file already; and they are those of the file's snapshots."""

    def spy_into(seen):
        def spy(recorder):
            def look(batch, logs):
                seen.append((len(recorder.table), recorder.preactivations()))

            return keras.callbacks.LambdaCallback(on_train_batch_end=look)

        return spy

    whole, before, after = [], [], []
    found = fit(make_mlp(), data, tmp_path, checkpoint=False, spy=spy_into(whole))
    (tmp_path / "r.h5").unlink()
    with pytest.raises(Killed):
        killer = KillAt("on_train_batch_end", calls)
        fit(make_mlp(), data, tmp_path, killer=killer, spy=spy_into(before))
    fit(make_mlp(), data, tmp_path, spy=spy_into(after))
    assert 0 < len(after) < len(whole)
    for (count, some), (wanted, all_of) in zip(after, whole[-len(after) :], strict=True):
        assert count == wanted and list(some) == list(all_of) and len(some) > 1
        for layer, p in some.items():
            np.testing.assert_array_equal(p, all_of[layer])
    for place, number in enumerate(found["snapshot recordings"]):
        seen = next(p for count, p in whole if count == number + 1)
        for layer, p in seen.items():
            np.testing.assert_array_equal(p, found[f"{layer} snapshots"][place])


def test_without_resume_the_steps_are_right_and_the_rest_is_said(make_mlp, data, tmp_path, caplog):
    for order in ("first", "last"):
        folder = tmp_path / order
        with pytest.raises(Killed):
            killer = KillAt("on_train_batch_end", STEPS + 3)
            keras_fit(make_mlp(), data, folder, order, killer=killer, resume=False)
        found, _, starts = keras_fit(make_mlp(), data, folder, order, resume=False)
        assert found["step"].min() == STEPS and found["epoch"].min() == 1
        assert starts == [{**starts[0], "step": STEPS}]
        assert "begins at epoch 1, step 7; what came before is not in the file" in caplog.text
        caplog.clear()


def test_a_fit_that_starts_anew_drops_what_was_recorded_and_says_so(make_mlp, data, tmp_path, caplog):
    with pytest.raises(Killed):
        keras_fit(make_mlp(), data, tmp_path, "first", killer=KillAt("on_train_batch_end", STEPS + 3))
    for path in (tmp_path / "backup").rglob("*.*"):
        path.unlink()
    found, _, _ = keras_fit(make_mlp(), data, tmp_path, "first")
    assert found["step"].tolist() == [e * STEPS + b for e in range(3) for b in range(0, STEPS, 2)]
    assert "starts again at step 0" in caplog.text


def test_digests_tell_arrays_apart():
    a = np.arange(6, dtype=np.float32)
    assert resuming.digest(a) == resuming.digest(a.copy())
    others = [a.astype(np.float64), a.reshape(2, 3), a[::-1], np.append(a, 0)]
    assert len({resuming.digest(x) for x in [a, *others]}) == 5
    words = [np.array(x, object) for x in (["ab", "c"], ["a", "bc"], [b"ab", "c"], ["ab", "d"])]
    found = [resuming.digest(x) for x in words]
    assert found[0] == found[2] == resuming.digest(np.array(["ab", "c"], object)) and len(set(found)) == 3
