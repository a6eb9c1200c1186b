"""Recording in bfloat16: close to float32, told how close, and refused where a model cannot."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_neuronlevel import networks, neurons, recording, training
from keras_neuronlevel.recording import Snapshots
from keras_neuronlevel.recording import precision as precisions
from keras_neuronlevel.recording.precision import differing_signs
from keras_neuronlevel.records import Records

L = keras.layers
Recorder = recording.ActivationGradientRecorder
BOUND = 0.05  # the share of signs that may differ in small dense networks


def run(model, data, recorder, epochs=2):
    optimizer = keras.optimizers.SGD(0.5)
    settings = {"epochs": epochs, "batch_size": 8, "callbacks": [recorder], "progress": False}
    training.train(model, data, optimizer=optimizer, **settings)


def derivatives(model, x, y, precision):
    layers = neurons.neuron_layers(model)
    compiled = recording.forward.derivative_function(model, layers, x, y, precision=precision)
    return compiled(tf.constant(x), tf.constant(y))


@pytest.mark.parametrize(("network", "bound"), [("mlp", 0.01), ("cnn", 0.1)])  # observed: 0.005, 0.06
def test_signs_are_nearly_those_of_float32(network, bound):
    rng = np.random.default_rng(0)
    build = {"mlp": networks.mlp, "cnn": networks.cifar_cnn}[network]
    model = build("relu", seed=0, **({} if network == "mlp" else {"filters": 4}))
    x = rng.random((32, *model.input_shape[1:]), dtype=np.float32)
    y = rng.integers(0, 10, 32).astype(np.int32)
    weights = model.get_weights()
    exact, _, losses, _ = derivatives(model, x, y, "float32")
    coarse, p, coarse_losses, output = derivatives(model, x, y, "bfloat16")
    counted = differing_signs(model, list(exact))(tf.constant(x), tf.constant(y))
    different = total = 0
    for name, d in exact.items():
        assert coarse[name].dtype == p[name].dtype == tf.bfloat16
        one, other = np.sign(d.numpy()), np.sign(tf.cast(coarse[name], tf.float32).numpy())
        assert int(counted[name]) == (one != other).sum()
        different, total = different + (one != other).sum(), total + one.size
    assert 0 < different < bound * total, different / total
    assert losses.dtype == coarse_losses.dtype == output.dtype == tf.float32
    np.testing.assert_allclose(coarse_losses, losses, rtol=0.1)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    again = derivatives(model, x, y, "float32")[0]
    assert all(again[name].dtype == tf.float32 for name in again)


@pytest.mark.parametrize("early", [False, True])
def test_the_disagreement_is_measured_told_and_kept(early, data, make_mlp, tmp_path, caplog):
    x, y = data.x_train[:20], data.y_train[:20]
    coarse = Recorder(x, y, path=tmp_path / "b.h5", every=3, precision="bfloat16", batch_size=7)
    with caplog.at_level(logging.WARNING):
        if early:
            with coarse.recording(make_mlp("tanh")):
                coarse.step()
        else:
            model = make_mlp("tanh")
            run(model, data, coarse)
    assert caplog.text.count("recording in bfloat16: at step") == 2
    exact, plain = Recorder(x, y, path=tmp_path / "f.h5", every=3), make_mlp("tanh")
    run(plain, data, exact)
    with Records(tmp_path / "b.h5") as b, Records(tmp_path / "f.h5") as f:
        assert f.disagreement == []
        assert [found["step"] for found in b.disagreement] == [0, 1 if early else 13]
        for found in b.disagreement:
            assert list(found["share"]) == b.layers
            assert all(0 <= share < BOUND for share in found["share"].values())
        if not early:
            np.testing.assert_array_equal(b.recordings["step"], f.recordings["step"])
            np.testing.assert_allclose(b.recordings["loss"], f.recordings["loss"], rtol=0.05)
            assert np.mean(b.sign_sum("dense1-tanh") != f.sign_sum("dense1-tanh")) < 3 * BOUND
    if not early:
        for one, other in zip(model.get_weights(), plain.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_every_sample_and_layer_is_counted(data, make_mlp, tmp_path):
    """The shares are those of one comparison of all samples, however they are cut into batches."""
    x, y, model = data.x_train[:20], data.y_train[:20], make_mlp("tanh")
    recorder = Recorder(x, y, path=tmp_path / "b.h5", every=100, precision="bfloat16", batch_size=7)
    exact, coarse = (derivatives(model, x, y, precision)[0] for precision in ("float32", "bfloat16"))
    run(model, data, recorder, epochs=1)
    with Records(tmp_path / "b.h5") as records:
        for name, share in records.disagreement[0]["share"].items():
            differ = np.sign(exact[name].numpy()) != np.sign(tf.cast(coarse[name], tf.float32).numpy())
            assert share == pytest.approx(differ.mean(), abs=1.01 / differ.size)


def complaint(model, data, tmp_path, words, **options):
    recorder = Recorder(data.x_train[:5], data.y_train[:5], path=tmp_path / "r.h5", **options)
    with pytest.raises(ValueError, match=words):
        run(model, data, recorder)
    assert not list(tmp_path.iterdir())


def classifier(**options):
    inputs = keras.Input((4, 4, 1))
    x = L.Activation("relu", name="phi")(L.Dense(4, name="in", **options)(L.Flatten()(inputs)))
    return keras.Model(inputs, L.Dense(3)(x))


def test_other_precisions_are_refused(data, make_mlp, tmp_path):
    words = "precision is 'float16'; give 'float32' or 'bfloat16'"
    complaint(make_mlp(), data, tmp_path, words, precision="float16")


@pytest.mark.parametrize("dtype", ["float64", "mixed_float16", "mixed_bfloat16"])
def test_models_of_another_type_are_refused(dtype, data, tmp_path):
    words = f"layer 'in' of .* computes in {dtype.replace('mixed_', '')}; .*leave precision out"
    complaint(classifier(dtype=dtype), data, tmp_path, words, precision="bfloat16")


def test_a_quantized_model_is_refused(data, tmp_path):
    model = classifier()
    model.get_layer("in").quantize("int8")
    complaint(model, data, tmp_path, "layer 'in' of .* computes in int8; ", precision="bfloat16")


class Mixed(L.Layer):
    """Adds a float32 tensor of its own to whatever comes."""

    def call(self, x):
        return tf.add(x, tf.ones((4,), tf.float32))


def test_float32_numbers_inside_a_layer_are_refused(data, tmp_path):
    inputs = keras.Input((4, 4, 1))
    x = L.Activation("relu", name="phi")(Mixed()(L.Dense(4)(L.Flatten()(inputs))))
    model = keras.Model(inputs, L.Dense(3)(x))
    complaint(model, data, tmp_path, "cannot compute in bfloat16", precision="bfloat16")
    run(model, data, Recorder(data.x_train[:5], data.y_train[:5], path=tmp_path / "f.h5"), epochs=1)


def test_snapshots_hold_what_was_computed(data, make_mlp, tmp_path):
    x, y, model = data.x_train[:5], data.y_train[:5], make_mlp("tanh")
    p = derivatives(model, x, y, "bfloat16")[1]
    snapshots = Snapshots(1, dtype="float32")
    path = tmp_path / "r.h5"
    run(
        model, data, Recorder(x, y, path=path, precision="bfloat16", every=100, snapshots=snapshots), epochs=1
    )
    with Records(path) as records:
        for name in records.layers:
            np.testing.assert_array_equal(records.snapshots(name)[0], tf.cast(p[name], tf.float32))


@pytest.mark.parametrize(
    ("flags", "warned"),
    [({"avx2"}, True), ({"avx2", "avx512_bf16"}, False), ({"amx_bf16"}, False), (None, False)],
)
@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU, which has it")
def test_a_processor_without_the_arithmetic_is_warned_of(
    flags, warned, data, make_mlp, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(precisions, "processor_flags", lambda: flags)
    recorder = Recorder(
        data.x_train[:5], data.y_train[:5], path=tmp_path / "a.h5", precision="bfloat16", every=1
    )
    with recorder.recording(make_mlp()):
        recorder.step()
    assert ("no arithmetic in bfloat16" in caplog.text) == warned


def test_the_flags_are_those_that_the_system_tells():
    flags = precisions.processor_flags()
    assert flags is None or all(flag and " " not in flag for flag in flags)
    assert flags != set()
