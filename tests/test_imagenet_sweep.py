"""Sweeps over several layers and over images that are not in memory: same numbers, resumed exactly."""

import json
import tempfile
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_neuronlevel import neurons
from keras_neuronlevel.data.images import from_array
from keras_neuronlevel.evaluation import (
    Probe,
    Retrain,
    accuracy,
    calibrate,
    quantization,
    quantization_curve,
    quantization_curves,
    truncate,
    window_curve,
)
from keras_neuronlevel.evaluation.calibration import forward_batch
from keras_neuronlevel.evaluation.sources import passes
from keras_neuronlevel.evaluation.truncation import shared_prefix
from keras_neuronlevel.protocol import pretrained

LAYERS = ["conv1-phi", "conv2-phi"]
RANKS = [0, 30, 50, 100]


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return rng.normal(size=(23, 4, 5, 2)).astype(np.float32), rng.integers(0, 3, 23)


def lazy(x):
    return from_array(x, lambda image: image, x.shape[1:])


class Counted:
    """Images that note which were made, and can break off after some of them; the few that are looked at
    beforehand do not count."""

    def __init__(self, x, breaks_after=None, first=0, made=None):
        self.x, self.shape, self.dtype = x, x.shape, x.dtype
        self.first, self.breaks_after, self.made = first, breaks_after, [] if made is None else made

    def __len__(self):
        return len(self.x)

    def __getitem__(self, places):
        if isinstance(places, np.ndarray):
            return Counted(self.x[places])
        assert isinstance(places, slice) and places.stop is None and places.step is None
        return Counted(self.x[places], self.breaks_after, self.first + (places.start or 0), self.made)

    def batches(self, size):
        for start in range(0, len(self.x), size):
            if self.breaks_after is not None and self.first + start >= self.breaks_after:
                raise KeyboardInterrupt
            piece = self.x[start : start + size]
            self.made.extend(range(self.first + start, self.first + start + len(piece)))
            yield piece


def same(one, other, exact=True):
    for name in ("ranks", "accuracy", "loss", "thresholds", "low", "high", "zero_rank"):
        compare = np.testing.assert_array_equal if exact else np.testing.assert_allclose
        compare(getattr(one, name), getattr(other, name), **({} if exact else {"rtol": 1e-5, "atol": 1e-6}))
    assert one.layer == other.layer and one.baseline_accuracy == other.baseline_accuracy
    assert one.baseline_loss == pytest.approx(other.baseline_loss, rel=0 if exact else 1e-6)
    assert (one.chance, one.n_test, one.n_calibration) == (other.chance, other.n_test, other.n_calibration)


# ResNet50, cut -----------------------------------------------------------------------------------------


def counted(layer, called):
    """The layer's ``call``, which adds the layer's name to ``called``."""
    call = layer.call

    def counting(*args, **kwargs):
        called.append(layer.name)
        return call(*args, **kwargs)

    return counting


@pytest.mark.slow
def test_every_layer_of_resnet50_can_be_cut(monkeypatch):
    """Nothing is changed by cutting, and one prefix for all 17 cuts runs every layer once."""
    keras.utils.set_random_seed(1)
    network = pretrained.resnet50(None, input_shape=(32, 32, 3), classes=4)
    model = network.model
    x = np.random.default_rng(0).normal(0, 50, (2, 32, 32, 3)).astype(np.float32)
    logits = keras.Model(model.inputs, neurons.logits(model))(x, training=False).numpy()
    assert np.ptp(logits, axis=0).max() > 1e-3 * np.abs(logits).max()  # the network does look at its images
    cuts = [truncate(model, layer) for layer in network.layers]
    assert len(cuts) == 17 and {cut.widest for cut in cuts} == {18 * 18 * 64}  # conv1's, padded for pooling
    called = []
    relus = [layer for layer in model.layers if isinstance(layer, keras.layers.Activation)]
    for layer in relus:
        monkeypatch.setitem(vars(layer), "call", counted(layer, called))
    together = shared_prefix(cuts)(x)
    monkeypatch.undo()
    assert len(called) == len(set(called)) and set(network.layers) - set(called) == {network.layers[-1]}
    for cut, (p, crossing) in zip(cuts, together, strict=True):
        alone, others = cut.prefix(x)
        np.testing.assert_array_equal(p, alone)
        assert len(crossing) == len(others) and p.shape == (2, *cut.shape)
        for one, other in zip(crossing, others, strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(
            cut.suffix(p, crossing), logits, rtol=1e-4, atol=1e-5 * np.abs(logits).max()
        )


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_cuts_of_fused_networks_share_their_prefix(kind):
    """Fused layers are split once per network, or several cuts would belong to different graphs."""
    stack = [keras.layers.Dense(4 + i, activation="relu", name=f"d{i}") for i in range(3)]
    layers = [keras.Input((5,)), *stack, keras.layers.Dense(3, name="out")]
    model = keras.Sequential(layers)
    if kind == "functional":
        model = keras.Model(model.inputs[0], model.outputs[0])
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 5)).astype(np.float32), rng.integers(0, 3, 9)
    names = [f"d{i}-relu" for i in range(3)]
    curves = quantization_curves(model, names, x, y, ranks=RANKS)
    for name, curve in zip(names, curves, strict=True):
        same(curve, quantization_curve(model, name, x, y, ranks=RANKS), exact=False)
    assert truncate(model, names[0]).nodes[0] is truncate(model, names[2]).nodes[0]


# Several layers in one pass ----------------------------------------------------------------------------


def test_several_layers_in_one_pass(make_convnet, images):
    model, (x, y) = make_convnet(), images
    options = {"ranks": RANKS, "batch_size": 5, "calibration": x[::2], "calibration_size": 7}
    both = quantization_curves(model, LAYERS, x, y, **options)
    for layer, curve in zip(LAYERS, both, strict=True):
        same(curve, quantization_curve(model, layer, x, y, **options), exact=False)
    turned = quantization_curves(model, LAYERS[::-1], x, y, **options)
    same(turned[1], both[0], exact=False)
    twice = quantization_curves(model, [LAYERS[1], LAYERS[0], LAYERS[1]], x, y, **options)
    for curve, expected in zip(twice, (both[1], both[0], both[1]), strict=True):
        same(curve, expected, exact=False)
    with pytest.raises(ValueError, match="layers is empty"):
        quantization_curves(model, [], x, y)


def test_images_that_are_not_in_memory_give_the_same_numbers(make_convnet, images):
    model, (x, y) = make_convnet(), images
    options = {"ranks": RANKS, "batch_size": 5, "seed": 3, "calibration_size": 9}
    arrays = quantization_curves(model, LAYERS, x, y, calibration=x, **options)
    made = quantization_curves(model, LAYERS, lazy(x), y, calibration=lazy(x), **options)
    for one, other in zip(arrays, made, strict=True):
        same(one, other)
    own = quantization_curves(model, LAYERS, lazy(x), y, **options)  # calibrates on what it tests
    same(own[0], arrays[0])
    assert own[0].calibrated_on == "evaluated images"
    with pytest.raises(ValueError, match=r"shape \(23, 5, 4, 2\)"):
        quantization_curves(model, LAYERS, lazy(x.transpose(0, 2, 1, 3)), y)
    with pytest.raises(ValueError, match="is empty"):
        quantization_curves(model, LAYERS, lazy(x)[23:], y[23:])


def test_progress_says_what_is_measured(make_convnet, images, monkeypatch, caplog):
    model, (x, y) = make_convnet(), images
    monkeypatch.setattr(quantization, "TELL_EVERY", 0)
    with caplog.at_level("INFO", logger=quantization.logger.name):
        accuracy(model, x, y)
        quantization_curves(model, LAYERS, x, y, ranks=RANKS, calibration=x[:8])
    assert [message.partition(",")[0] for message in caplog.messages] == [
        "accuracy: 23 of 23 images",
        "quantization: 23 of 23 images",
    ]


def test_an_interrupted_sweep_goes_on_where_it_was(make_convnet, images, monkeypatch):
    model, (x, y) = make_convnet(), images
    options = {"ranks": RANKS, "batch_size": 4, "calibration": x[:8]}
    monkeypatch.setattr(quantization, "TELL_EVERY", 0)
    whole = Counted(x)
    expected = quantization_curves(model, LAYERS, whole, y, **options)
    assert whole.made == list(range(23))
    kept = {}
    with pytest.raises(KeyboardInterrupt):
        quantization_curves(model, LAYERS, Counted(x, 12), y, on_result=kept.__setitem__, **options)
    kept = json.loads(json.dumps(kept))
    assert set(kept) == {"tallies"} and {t["images"] for t in kept["tallies"].values()} == {12}
    rest = Counted(x)
    found = quantization_curves(model, LAYERS, rest, y, done=kept, on_result=kept.__setitem__, **options)
    assert rest.made == list(range(12, 23))
    for one, other in zip(found, expected, strict=True):
        same(one, other)  # to the last bit
    nothing = Counted(x)
    again = quantization_curves(model, LAYERS, nothing, y, done=kept, **options)
    assert nothing.made == []
    for one, other in zip(again, expected, strict=True):
        same(one, other)


def test_only_what_is_missing_is_counted(make_convnet, images, monkeypatch):
    model, (x, y) = make_convnet(), images
    options = {"ranks": RANKS, "batch_size": 4, "calibration": x[:8]}
    expected = quantization_curves(model, LAYERS, x, y, **options)
    kept = {}
    quantization_curves(model, LAYERS[:1], x, y, on_result=kept.__setitem__, **options)
    prefixes = []
    original = quantization.compiled_prefixes
    monkeypatch.setattr(
        quantization,
        "compiled_prefixes",
        lambda cuts: prefixes.append([c.layer for c in cuts]) or original(cuts),
    )
    found = quantization_curves(model, LAYERS, x, y, done=kept, **options)
    assert prefixes == [[LAYERS[1]]]
    for one, other in zip(found, expected, strict=True):
        same(one, other, exact=False)


@pytest.mark.parametrize("change", ["other counts", "more images than there are"])
def test_tallies_that_do_not_go_together_start_anew(make_convnet, images, change):
    model, (x, y) = make_convnet(), images
    options = {"ranks": RANKS, "batch_size": 4, "calibration": x[:8]}
    expected = quantization_curves(model, LAYERS, x, y, **options)
    wrong = {"images": 8, "correct": 8, "loss": (1.0).hex()}
    if change == "other counts":
        tallies = {f"{LAYERS[0]}/30": wrong, f"{LAYERS[1]}/50": {**wrong, "images": 12}}
    else:
        tallies = {
            f"{layer}/{rank}": {**wrong, "images": 99} for layer in LAYERS for rank in ("untouched", *RANKS)
        }
    again = Counted(x)
    found = quantization_curves(model, LAYERS, again, y, done={"tallies": tallies}, **options)
    assert again.made == list(range(23))
    for one, other in zip(found, expected, strict=True):
        same(one, other)


# Memory --------------------------------------------------------------------------------------------------


def test_streamed_percentiles_are_near_the_exact_ones(make_convnet, images):
    model, (x, y) = make_convnet(), images
    cut = truncate(model, LAYERS[1])
    options = {"ranks": RANKS, "batch_size": 4, "calibration": x}
    exact, streamed = (
        quantization_curve(model, LAYERS[1], x, y, in_memory=m, **options) for m in (2**20, 10)
    )
    assert exact.exact_percentiles and not streamed.exact_percentiles
    p = np.asarray(cut.prefix(x)[0]).reshape(-1, cut.units)
    for u in range(cut.units):
        values = np.sort(p[:, u])
        for r, rank in enumerate(RANKS):
            place = rank / 100 * (len(values) - 1)
            gap = values[int(np.ceil(place))] - values[int(place)]
            allowed = (values[-1] - values[0]) / 4096 + gap + 1e-6
            if rank in (0, 100):
                assert streamed.thresholds[r, u] == exact.thresholds[r, u]
            else:
                assert abs(streamed.thresholds[r, u] - exact.thresholds[r, u]) <= allowed
    np.testing.assert_allclose(streamed.zero_rank, exact.zero_rank)
    np.testing.assert_allclose(streamed.low[[0, 3]], exact.low[[0, 3]], rtol=1e-5)
    assert np.abs(streamed.accuracy - exact.accuracy).max() <= 2 / 23


def test_how_often_the_images_are_made(make_convnet, images):
    """Once where pre-activations are kept, four times where they are streamed, as is documented."""
    x, cut = images[0], truncate(make_convnet(), LAYERS[0])
    for in_memory, times in ((2**20, 1), (23 * 60 * 4, 1), (23 * 60 * 4 - 1, 4)):
        counted = Counted(x)
        calibrate(cut, counted, RANKS, batch_size=5, in_memory=in_memory)
        assert counted.made == list(range(23)) * times
    assert "four passes" in calibrate.__doc__


def test_batches_that_nobody_chose_fit_the_widest_tensor(make_convnet, monkeypatch):
    cut = truncate(make_convnet(), LAYERS[1])
    assert cut.widest == 4 * 5 * 4 and forward_batch(cut) == 512
    monkeypatch.setattr("keras_neuronlevel.evaluation.calibration.FORWARD_BYTES", 4 * 80 * 3 + 1)
    assert forward_batch(cut) == 3
    seen = []
    x = np.random.default_rng(0).normal(size=(8, 4, 5, 2)).astype(np.float32)
    for p, _ in passes(cut, x):
        seen.append(len(p))
    assert seen == [3, 3, 2]
    monkeypatch.setattr("keras_neuronlevel.evaluation.calibration.FORWARD_BYTES", 1)
    assert forward_batch(cut) == 1


# Windows -------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Where temporary folders are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def lying(folder):
    """What lies there but for what TensorFlow writes when it converts a function for the first time."""
    return [path for path in folder.iterdir() if not path.name.startswith("__autograph_generated_file")]


def probe(model, data, on_result=None, **options):
    windows = {"centers": [25, 75], "width": 50, "on_result": on_result}
    return window_curve(model, LAYERS[1], data, readout=Probe(**options), **windows)


def dataset(images, convert=lambda x: x):
    x, y = images
    return SimpleNamespace(x_train=convert(x), y_train=y, x_test=convert(x[:9]), y_test=y[:9])


@pytest.mark.parametrize("grid", [1, 2])
def test_probes_on_images_that_are_not_in_memory(make_convnet, images, folders, grid):
    model = make_convnet()
    arrays, made = (probe(model, dataset(images, how), grid=grid) for how in (lambda x: x, lazy))
    np.testing.assert_array_equal(arrays.repeats, made.repeats)
    np.testing.assert_array_equal(arrays.baseline, made.baseline)
    assert arrays.original_accuracy == made.original_accuracy and arrays.fits["25"][0]["loss"] == (
        pytest.approx(made.fits["25"][0]["loss"], rel=1e-9)
    )
    assert lying(folders) == []


def test_probes_of_other_classes(make_convnet, images):
    """Labels that are not the network's: as many classes as they have, and no accuracy of the network."""
    x, y = images
    data = SimpleNamespace(x_train=x, y_train=y + 4, x_test=x, y_test=y + 4)
    with pytest.raises(ValueError, match=r"in y_train is not in 0..2"):
        probe(make_convnet(), data)
    other = probe(make_convnet(), data, classes=7)
    assert np.isnan(other.original_accuracy) and other.to_dict()["original_accuracy"] is None
    own = probe(make_convnet(), SimpleNamespace(**(vars(data) | {"y_train": y, "y_test": y})))
    np.testing.assert_allclose(own.repeats, other.repeats, atol=1 / 23 + 1e-9)
    assert own.original_accuracy >= 0


def test_nothing_lies_in_the_temporary_folder_whatever_happens(make_convnet, images, folders, monkeypatch):
    """Not while it runs either: a process that is killed leaves nothing."""
    seen = []

    def told(key, result):
        seen.append(lying(folders))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probe(make_convnet(), dataset(images, lazy), on_result=told)
    assert seen == [[]] and lying(folders) == []
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1))
    with pytest.raises(ValueError, match="set TMPDIR to a larger disk"):
        probe(make_convnet(), dataset(images, lazy), on_result=told)


def test_retraining_on_images_that_are_not_in_memory(make_convnet, images):
    model, options = (
        make_convnet(),
        {"centers": [25], "width": 50, "readout": Retrain(epochs=1, batch_size=8)},
    )
    arrays, made = (
        window_curve(model, LAYERS[1], dataset(images, how), **options) for how in (lambda x: x, lazy)
    )
    assert made.fits["25"][0]["held_out_loss"] == pytest.approx(
        arrays.fits["25"][0]["held_out_loss"], rel=1e-4
    )
    with pytest.raises(ValueError, match=r"give more of those, fewer images, or readout=Probe\(...\)"):
        window_curve(model, LAYERS[1], dataset(images, lazy), in_memory=100, **options)
