import contextlib
import threading
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_neuronlevel import networks
from keras_neuronlevel.benchmarks import readouts
from keras_neuronlevel.evaluation import Probe, Retrain, beside, readout, sources, truncate, window_curve

WINDOWS = {"centers": [10, 40, 70], "width": 20}
READOUT = Retrain(epochs=12, batch_size=8, learning_rate=0.05, patience=1, decays=1)


def squares(numbers, drawn=None):
    for number in numbers:
        if drawn is not None:
            drawn.append((number, threading.current_thread()))
        yield f"{number}", lambda go_on, number=number: number**2


def waiting(go_on):
    """A work that ends only when it is told to."""
    while True:
        go_on()


@pytest.mark.parametrize("at_once", [1, 2, 5, 100])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_every_work_is_done_once(at_once, count):
    drawn = []
    found = list(beside.results(squares(range(count), drawn), at_once))
    assert sorted(found) == [(f"{number}", number**2) for number in range(count)]
    assert drawn == [(number, threading.current_thread()) for number in range(count)]


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_so_many_are_under_way_and_no_more(at_once):
    """Each waits until as many have come as there may be."""
    barrier, under_way, most = threading.Barrier(at_once, timeout=30), [], []

    def work(go_on):
        under_way.append(None)
        barrier.wait()
        most.append(len(under_way))
        barrier.wait()
        under_way.pop()

    assert len(list(beside.results(((f"{n}", work) for n in range(2 * at_once)), at_once))) == 2 * at_once
    assert set(most) == {at_once}


def test_one_that_fails_ends_the_others():
    def fail(go_on):
        raise ValueError("this one")

    works = iter([("a", waiting), ("b", fail), ("c", waiting)])
    with pytest.raises(ValueError, match="this one"):
        list(beside.results(works, 2))
    assert next(works) == ("c", waiting)  # was not begun


@pytest.mark.parametrize("round_", range(20))
def test_what_was_done_when_another_failed_is_kept(round_):
    """Both end together, or the one that is done is waited for: its result comes before the error."""
    begun = threading.Barrier(2, timeout=30)

    def fail(go_on):
        begun.wait()
        raise ValueError("this one")

    def finish(go_on):
        begun.wait()
        return 7

    found = []
    with pytest.raises(ValueError, match="this one"):
        found.extend(beside.results([("a", fail), ("b", finish)], 2))
    assert found == [("b", 7)]


def test_leaving_early_ends_the_others():
    before = threading.active_count()
    with contextlib.closing(beside.results([("a", waiting), ("b", lambda go_on: 1)], 2)) as found:
        assert next(found) == ("b", 1)
        assert threading.active_count() > before
    assert threading.active_count() == before


def test_works_are_done_in_the_callers_thread_where_they_are_alone():
    (found,) = beside.results([("a", lambda go_on: threading.current_thread())], 1)
    assert found == ("a", threading.current_thread())


def curve(model, data, cores, monkeypatch, layer="dense1-relu", **options):
    monkeypatch.setattr(readout, "processors", lambda: cores)
    return window_curve(model, layer, data, readout=READOUT, **{**WINDOWS, **options})


def timeless(curve):
    return {name: [{**fit, "seconds": None} for fit in fits] for name, fits in curve.fits.items()}


def test_readouts_beside_each_other_are_those_one_by_one(make_mlp, data, monkeypatch):
    """Bit for bit, with dropout, each ended by its own rule."""
    model = make_mlp(dropout=0.5)
    alone = curve(model, data, 1, monkeypatch)
    together = curve(model, data, 4, monkeypatch)
    assert timeless(together) == timeless(alone)
    assert len({fit["epochs"] for fits in alone.fits.values() for fit in fits}) > 2
    np.testing.assert_array_equal(together.repeats, alone.repeats)


def test_batches_of_one_call_are_those_of_many(make_convnet, make_data, monkeypatch):
    """A training does not depend on how many batches TensorFlow is given at a time; batch statistics
    included, where the last call has fewer."""
    model, data = make_convnet(), make_data((4, 5, 2))
    found = []
    for batches in (1, 4):
        monkeypatch.setattr(readout, "BATCHES_A_CALL", batches)
        found.append(timeless(curve(model, data, 1, monkeypatch, layer="conv1-phi", centers=[40])))
    assert found[0] == found[1]


def test_an_interruption_keeps_what_is_done(make_mlp, data, monkeypatch):
    model, kept = make_mlp(), {}
    whole = curve(model, data, 3, monkeypatch)

    def interrupt(key, result):
        kept[key] = result
        if len(kept) == 3:
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        curve(model, data, 3, monkeypatch, on_result=interrupt)
    assert threading.active_count() == before and len(kept) == 3
    anew = {}
    again = curve(model, data, 3, monkeypatch, done=kept, on_result=anew.__setitem__)
    assert not set(anew) & set(kept)
    assert timeless(again) == timeless(whole)


def test_a_training_that_is_stopped_ends_between_two_calls(make_mlp, data, monkeypatch):
    """``go_on`` is asked before every few batches: 45 images in batches of 2 are 23, in calls of 8."""
    asked = []

    def go_on():
        asked.append(None)
        if len(asked) == 5:  # the second call of the second epoch
            raise RuntimeError("stopped")

    truncation = truncate(make_mlp(), "dense1-relu")
    ((pair,),) = sources.sources(truncation, (data.x_train, data.x_test), [None], 2**20)
    settings = Retrain(epochs=5, batch_size=2)
    suffix = truncation.fresh_suffix(0)
    work = readout.readout_training(suffix, pair[0], data.y_train, settings, seed=0)
    with pytest.raises(RuntimeError, match="stopped"):
        work(go_on)
    assert len(asked) == 5


def test_as_many_as_cores_and_memory_allow(make_mlp, monkeypatch):
    """Behind p of dense1, 6 neurons, lie φ (6), dropout (6), dense2, φ, dropout (5 each) and 3 logits."""
    monkeypatch.setattr(readout, "processors", lambda: 6)
    truncation = truncate(make_mlp(dropout=0.5), "dense1-relu")
    assert truncation.later == [6, 6, 5, 5, 5, 3] and truncation.entering == [6]
    assert truncation.later_weights == 6 * 5 + 5 + 5 * 3 + 3
    settings = Retrain(batch_size=10)
    trained, tested = 2 * 4 * 10 * (30 + 2 * 6), 4 * 2048 * (2 * 6 + 2 * 6)
    assert tested > trained
    each = tested + 6 * 4 * truncation.later_weights
    larger = Retrain(batch_size=1000)
    assert larger.memory(truncation) == 100 * trained + 6 * 4 * truncation.later_weights
    assert settings.memory(truncation) == each
    for memory, expected in ((0, 1), (each, 1), (2 * each - 1, 1), (2 * each, 2), (100 * each, 6)):
        assert settings.at_once(truncation, memory) == expected
    assert settings.at_once(truncation, 100 * each, scored=object()) == 1
    assert Probe().at_once(truncation, 100 * each) == 1


@pytest.mark.parametrize("before", [True, False])
def test_layers_that_run_python_are_not_run_by_several_readouts(before, monkeypatch):
    monkeypatch.setattr(readout, "processors", lambda: 8)

    class Python(keras.Layer):
        def call(self, x):
            y = tf.numpy_function(np.tanh, [x], x.dtype)
            y.set_shape(x.shape)
            return y

    inputs = keras.Input((4,))
    x = Python()(inputs) if before else inputs
    phi = keras.layers.Activation("tanh", name="phi")(keras.layers.Dense(5)(x))
    model = keras.Model(inputs, keras.layers.Dense(3)(phi))
    assert Retrain().at_once(truncate(model, "phi"), 2**40) == (1 if before else 8)


def test_one_group_is_in_memory_at_a_time(make_mlp, data, monkeypatch):
    """When the bits of the next windows are made, those of the ones before are gone: the tensors, too."""
    alive, most = [], []
    collect, store = sources._collect, sources._stored

    def watched(truncation, images, group):
        most.append(sum(tensor() is not None for tensor in alive))
        return collect(truncation, images, group)

    def stored(truncation, values, *more):
        alive.append(weakref.ref(values))
        return store(truncation, values, *more)

    monkeypatch.setattr(sources, "_collect", watched)
    monkeypatch.setattr(sources, "_stored", stored)
    bits = 6 * (len(data.x_train) + len(data.x_test))
    settings = Retrain(epochs=1)
    monkeypatch.setattr(readout, "processors", lambda: 2)
    window_curve(make_mlp(), "dense1-relu", data, readout=settings, in_memory=4 * bits, **WINDOWS)
    assert len(most) >= 4 and set(most[::2]) == {0}  # one call for the training images, one for the others
    assert len(alive) == 2 * (1 + len(WINDOWS["centers"]))


def test_a_plain_loop_does_the_same(make_mlp, make_convnet, make_data, data):
    """Every batch of every epoch, by one call each; the benchmark compares with that."""
    for model, layer, images in (
        (make_mlp(dropout=0.5), "dense1-relu", data),
        (make_convnet(), "conv1-phi", make_data((4, 5, 2))),
    ):
        truncation = truncate(model, layer)
        ((pair,),) = sources.sources(truncation, (images.x_train,), [None], 2**20)
        settings, told = Retrain(epochs=3, batch_size=4), (pair[0], images.y_train)
        report = readout.readout_training(truncation.fresh_suffix(0), *told, settings, 0)(lambda: None)
        assert readouts.plain(truncation.fresh_suffix(0), *told, settings, 0) == report["train_loss"]


def test_the_benchmark_times_equal_work(make_mlp):
    def made(seed):
        return make_mlp(seed=seed)

    (found,) = readouts.run(2, read={"dense2-relu": made}, windows=3, samples=30, epochs=2)
    assert {name: len(values) for name, values in found["seconds"].items()} == dict.fromkeys(
        ("plain", "alone", "beside"), 2
    )
    assert 0 < found["alone_over_beside"]["least"] <= found["alone_over_beside"]["most"]
    assert "3 windows at dense2-relu" in readouts.table(found)


def test_where_nobody_knows_how_large_images_are_it_is_one(monkeypatch):
    monkeypatch.setattr(readout, "processors", lambda: 8)
    for sides, sized in (((8, 8), True), ((None, None), False)):
        inputs = keras.Input((*sides, 3))
        x = keras.layers.Activation("relu", name="phi")(keras.layers.Conv2D(4, 3)(inputs))
        x = keras.layers.GlobalAveragePooling2D(name="pooled")(x)
        x = keras.layers.Activation("relu", name="late")(keras.layers.Dense(5)(x))
        model = keras.Model(inputs, keras.layers.Dense(2)(x))
        assert truncate(model, "phi").sized is sized
        assert Retrain().at_once(truncate(model, "phi"), 2**40) == (8 if sized else 1)
        assert Retrain().at_once(truncate(model, "late"), 2**40) == 8  # p is kept, whatever came before


def test_networks_of_ours_have_light_and_heavy_suffixes(monkeypatch):
    """At the papers' sizes, within the memory that is allowed by default: readouts of a residual network's
    first layer one by one, those of its last ones side by side."""
    monkeypatch.setattr(readout, "processors", lambda: 8)
    model = networks.cifar_resnet("relu", filters=16, seed=0)
    first, last = (truncate(model, f"stage{stage}layer{stage and 2}-relu") for stage in (0, 3))
    assert Retrain().at_once(first, 2**31) == 1
    assert Retrain().at_once(last, 2**31) > 1
