"""The ImageNet experiment, from the command line to the figures, at a tiny size."""

import io
import json
import runpy
import sys
import types
from pathlib import Path

import keras
import made
import numpy as np
import pytest
from PIL import Image

from keras_neuronlevel import evaluation, files, papers, results
from keras_neuronlevel.data import DataError
from keras_neuronlevel.data.imagenet import wnids
from keras_neuronlevel.evaluation import quantization
from keras_neuronlevel.probes import LinearProbe
from keras_neuronlevel.protocol import cli, imagenet, pretrained

SCRIPT = runpy.run_path(str(Path(__file__).parents[1] / "experiments" / "imagenet_resnet50.py"))
TINY = papers.ImageNetPreset("quick", 8, 12, 14, 6, (25, 75))
LAYERS = ["conv-relu", "hidden-relu"]


def put(root, split, count, start=0):
    """Noisy pictures, one class after the other, each class of its own brightness."""
    rng = np.random.default_rng(start)
    for i in range(count):
        wnid = wnids()[250 * (i % 4)]
        path = root / split / wnid / f"{start + i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(rng.normal(50 + 50 * (i % 4), 25, (20, 18, 3)), 0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        path.write_bytes(stream.getvalue())


def fill(folder):
    """Pictures to test and to train on, and a saved classifier of 16 x 16 images."""
    put(folder / "data", "val", 24)
    put(folder / "data", "train", 20, 100)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu", name="conv")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(5, activation="relu", name="hidden")(x)
    keras.Model(inputs, keras.layers.Dense(1000, activation="softmax")(x)).save(folder / "net.keras")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A filled folder; the preset is tiny."""
    monkeypatch.setitem(imagenet.PRESETS, "quick", TINY)
    fill(tmp_path)
    return tmp_path


def run(place, monkeypatch, *options, model="net.keras"):
    command = ["--model", place / model, "--preprocessing", "minus-one-one"] if model else []
    command += ["--data-dir", place / "data", "--preset", "quick", "--output-dir", place / "out", *options]
    monkeypatch.setattr(sys, "argv", ["imagenet_resnet50.py", *map(str, command)])
    SCRIPT["main"]()
    return metrics(place)


def metrics(place, name="standin-net-metrics.json"):
    return json.loads((place / "out" / name).read_text())


def measured(found):
    return found["networks"]["net"]["layers"]


def untouchable(monkeypatch, *names):
    """Calling these is an error."""

    def called(*args, **kwargs):
        raise AssertionError("computed again")

    for name in names:
        monkeypatch.setattr(evaluation, name, called)


# Command line ------------------------------------------------------------------------------------------


def test_a_grid_that_no_layer_has_is_refused(place):
    command = ["--model", str(place / "net.keras"), "--preprocessing", "unit"]
    network = imagenet.load(SCRIPT["parse"](command))
    imagenet.check_grids(network, LAYERS, [1, 2])
    with pytest.raises(
        ValueError, match=r"--grid 999 fits no layer; the finest grids are conv-relu \d+, hidden-relu 1"
    ):
        imagenet.check_grids(network, LAYERS, [1, 999])
    with pytest.raises(ValueError, match="--grid 2 fits no layer; the finest grids are hidden-relu 1"):
        imagenet.check_grids(network, ["hidden-relu"], [2])


def test_the_defaults():
    parsed = SCRIPT["parse"]([])
    assert parsed.weights == "imagenet" and parsed.model is None and parsed.grid == [1]
    assert parsed.experiments == ["quantization", "window"] and parsed.probe_dataset == "imagenet2012"


@pytest.mark.parametrize("count", [2, 3, 5, 20, 149, 150, 151, 1000])
def test_calibration_and_test_pictures_are_disjoint(count):
    calibration, test = imagenet.split(count, 50, 100, seed=0)
    assert len(calibration) >= 1 and len(test) >= 1
    assert (np.diff(calibration) > 0).all() and (np.diff(test) > 0).all()
    together = {*calibration.tolist(), *test.tolist()}
    assert len(together) == len(calibration) + len(test) and together <= set(range(count))
    if count >= 150:
        assert (len(calibration), len(test)) == (50, 100)
    else:
        assert len(calibration) == max(1, count // 4) and len(test) == min(100, count - len(calibration))
    for parts in zip((calibration, test), imagenet.split(count, 50, 100, seed=0), strict=True):
        np.testing.assert_array_equal(*parts)
    if count > 5:
        assert set(calibration) != set(imagenet.split(count, 50, 100, seed=1)[0])


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pictures(count):
    with pytest.raises(ValueError, match=rf"{count} picture\(s\) are too few"):
        imagenet.split(count, 50, 100, 0)


# The whole ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_whole_experiment_and_again_from_what_is_kept(place, monkeypatch, capsys):
    found = run(place, monkeypatch, "--grid", 1, 2)
    assert (
        found["complete"] and found["experiment"] == "imagenet_resnet50" and results.preset(found) == "quick"
    )
    assert found["stand_in"].startswith("net (a saved network") and found["seed"] == 0
    # 24 pictures are enough for 8 to calibrate and 12 to test
    assert found["scale"] == "quick: 8 calibration and 12 test pictures"
    assert found["provenance"]["data"]["source"] == "a folder of 24 pictures of 4 classes"
    assert str(place) not in json.dumps(found)
    network = found["networks"]["net"]
    assert "not verified" in network["network"]["verification"]["verdict"]
    assert len(network["pictures"]["calibration"]) == 8
    assert list(measured(found)) == LAYERS
    for layer, numbers in measured(found).items():
        grids = (
            {"window", "window-grid2"} if layer == "conv-relu" else {"window"}
        )  # a dense layer has no grid
        assert set(numbers) == {"quantization", *grids}, layer
        curve = numbers["quantization"]
        assert curve["n_test"] == 12 and curve["n_calibration"] == 8 and curve["exact_percentiles"]
        assert curve["accuracy"][0] == curve["accuracy"][-1]
        assert curve["calibrated_on"] == "given images"
        window = numbers["window"]
        assert window["centers"] == [25, 75] and window["readout"] == "probe"
        assert (window["n_train"], window["n_test"], window["probe_data"]) == (14, 6, "imagenet2012")
        assert window["original_accuracy"] is not None
    names = {path.name for path in (place / "out").glob("[!.]*") if path.is_file()}
    assert all(name.startswith("standin-net-") for name in names)
    assert {f"standin-net-{name}.png" for name in ("quantization", "window", "window-grid2")} <= names
    assert "standin-net-table1.txt" in names and "hidden-relu" in capsys.readouterr().out
    untouchable(monkeypatch, "quantization_curves", "window_curve")
    again = run(place, monkeypatch, "--grid", 1, 2)
    assert again["networks"] == found["networks"] and again["complete"]


@pytest.mark.slow
def test_a_folder_in_which_another_process_works(place, undrawn, monkeypatch):
    monkeypatch.setattr(imagenet, "begin", None)
    with files.locked(place / "out"), pytest.raises(files.InUseError, match="at work in"):
        run(place, monkeypatch)


def test_what_other_pictures_or_settings_gave_is_left_as_it_is(place, undrawn, monkeypatch):
    few = ("--experiments", "quantization")
    found = run(place, monkeypatch, *few, "--layers", "hidden-relu", "hidden-relu")
    assert list(measured(found)) == ["hidden-relu"]
    calls = []
    original = evaluation.quantization_curves

    def counted(model, layers, *args, **options):
        calls.append(layers)
        return original(model, layers, *args, **options)

    monkeypatch.setattr(evaluation, "quantization_curves", counted)
    run(place, monkeypatch, *few)
    assert calls == [["conv-relu"]]  # the other layer is kept
    with pytest.raises(ValueError, match="of seed 0, and this one is of seed 1; give another --output-dir"):
        run(place, monkeypatch, *few, "--seed", 1)
    put(place / "data", "val", 1, 500)
    with pytest.raises(ValueError, match="holds a run of .* and this one is of .*; give another --output-di"):
        run(place, monkeypatch, *few)
    assert len(calls) == 1


def test_what_probes_of_other_pictures_gave_is_left_as_it_is(place, undrawn, monkeypatch):
    options = ("--experiments", "window", "--layers", "hidden-relu")
    run(place, monkeypatch, *options)
    calls = []
    original = evaluation.window_curve
    monkeypatch.setattr(evaluation, "window_curve", lambda *a, **o: calls.append(1) or original(*a, **o))
    run(place, monkeypatch, *options)
    assert calls == []
    put(place / "elsewhere", "train", 20, 300)
    put(place / "elsewhere", "val", 8, 400)
    kept = place / "out" / "runs" / "net.window.hidden-relu.json"
    before = kept.read_bytes()
    with pytest.raises(ValueError, match=r"hidden-relu.json holds results that differ in images \(\w+, now"):
        run(place, monkeypatch, *options, "--probe-data-dir", place / "elsewhere")
    assert calls == [] and kept.read_bytes() == before


@pytest.mark.slow
def test_an_interrupted_run_goes_on(place, undrawn, monkeypatch):
    expected = run(place, monkeypatch, "--experiments", "quantization")
    for path in (place / "out" / "runs").iterdir():
        path.unlink()
    (place / "out" / "standin-net-metrics.json").unlink()
    monkeypatch.setattr(quantization, "TELL_EVERY", 0)
    original, seen = quantization.Tally.add, []

    def add(self, count, score):
        seen.append(count)
        if len(seen) == 60:  # verified in three batches; two layers at twelve values: in the third batch
            raise KeyboardInterrupt
        original(self, count, score)

    monkeypatch.setattr(quantization.Tally, "add", add)
    options = ("--experiments", "quantization", "--batch-size", 4)
    with pytest.raises(KeyboardInterrupt):
        run(place, monkeypatch, *options)
    assert measured(metrics(place)) == {} and not metrics(place)["complete"]
    kept = json.loads((place / "out" / "runs" / "net.quantization.json").read_text())
    assert {tally["images"] for tally in kept["tallies"].values()} == {8}
    found = run(place, monkeypatch, *options)
    assert len(seen) == 60 + 3 + 24
    for layer in LAYERS:
        one, other = (measured(numbers)[layer]["quantization"] for numbers in (found, expected))
        assert one["accuracy"] == other["accuracy"]
        np.testing.assert_allclose(one["loss"], other["loss"], rtol=1e-5)


@pytest.mark.slow
def test_interrupted_probes_leave_what_is_finished(place, undrawn, monkeypatch):
    original, seen = LinearProbe.fit_batches, []

    def fit(self, batches):
        seen.append(1)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return original(self, batches)

    monkeypatch.setattr(LinearProbe, "fit_batches", fit)
    with pytest.raises(KeyboardInterrupt):
        run(place, monkeypatch)
    found = metrics(place)
    assert not found["complete"]
    assert set(measured(found)["conv-relu"]) == {"quantization", "window"}
    assert set(measured(found)["hidden-relu"]) == {"quantization"}
    untouchable(monkeypatch, "quantization_curves")
    assert run(place, monkeypatch)["complete"]
    assert len(seen) == 7  # two layers of a baseline and two windows, and the one that was broken off


def test_verification_takes_pictures_of_all_classes(place, undrawn, monkeypatch):
    """In a folder, the first pictures are all of the first classes."""
    monkeypatch.setattr(imagenet, "VERIFIED_ON", 4)
    seen, original = [], pretrained.verify

    def verify(network, images, labels, batch_size):
        seen.extend(labels.tolist())
        return original(network, images, labels, batch_size)

    monkeypatch.setattr(pretrained, "verify", verify)
    run(place, monkeypatch, "--experiments", "quantization", "--layers", "hidden-relu")
    assert len(seen) == 4 and {seen[0], seen[-1]} == {0, 750}


def test_a_network_that_reads_badly_is_refused(place, undrawn, monkeypatch):
    put(place / "data", "val", 200, 1000)
    monkeypatch.setitem(imagenet.PRESETS, "quick", papers.ImageNetPreset("quick", 8, 60, 9, 9))
    with pytest.raises(ValueError, match=r"should reach about 0\.900"):
        run(place, monkeypatch, "--expected-top1", 0.9)
    assert not (place / "out").exists()


def test_corrupt_pictures(place, undrawn, monkeypatch):
    corrupt = place / "data" / "val" / wnids()[0] / "0.png"
    corrupt.write_bytes(b"garbage")
    monkeypatch.setitem(imagenet.PRESETS, "quick", papers.ImageNetPreset("quick", 12, 12, 9, 9))
    options = ("--experiments", "quantization", "--layers", "hidden-relu")
    with pytest.raises(DataError, match="0.png .*--skip-corrupt"):
        run(place, monkeypatch, *options)
    found = run(place, monkeypatch, *options, "--skip-corrupt")
    assert list(found["networks"]["net"]["pictures"]["corrupt"]) == [f"{wnids()[0]}/0.png"]
    curve = measured(found)["hidden-relu"]["quantization"]
    assert curve["n_test"] + curve["n_calibration"] == 23


def test_probes_without_training_pictures_complain_before_the_sweep(place, undrawn, monkeypatch):
    untouchable(monkeypatch, "quantization_curves")
    hint = "Linear probes need training pictures: .*--probe-dataset cifar10 "
    (place / "data" / "train").rename(place / "train")
    with pytest.raises(ValueError, match=f"has no folder train.*{hint}"):
        run(place, monkeypatch)
    (place / "data" / "val").rename(place / "val")
    (place / "data").rmdir()
    (place / "val").rename(place / "data")
    with pytest.raises(ValueError, match=f"^a folder of 24 pictures .* beside those that are tested. {hint}"):
        run(place, monkeypatch)


def test_the_transfer_variant_learns_the_classes_of_cifar10(place, monkeypatch, make_data):
    small = make_data(image_shape=(32, 32, 3), train=30, test=15, classes=10, name="cifar10")
    load = imagenet.datasets.load
    monkeypatch.setattr(
        imagenet.datasets, "load", lambda name, folder: small if name == "cifar10" else load(name, folder)
    )
    options = ("--experiments", "window", "--layers", "hidden-relu", "--probe-dataset", "cifar10")
    found = run(place, monkeypatch, *options)
    assert set(measured(found)["hidden-relu"]) == {"window-transfer"}
    curve = measured(found)["hidden-relu"]["window-transfer"]
    assert curve["probe_data"] == "cifar10, scaled up to 16 x 16: a transfer variant"
    assert (curve["n_train"], curve["n_test"]) == (14, 6) and curve["original_accuracy"] is None
    assert (place / "out" / "standin-net-window-transfer.png").exists()
    assert not (place / "out" / "standin-net-window.png").exists()
    network = pretrained.saved(place / "net.keras", "minus-one-one")
    options = types.SimpleNamespace(probe_dataset="cifar10", probe_data_dir=None, seed=0)
    data, _ = imagenet.probe_data(network, TINY, options)
    assert data.classes == 10 and data.x_train.shape == (14, 16, 16, 3)
    places = np.sort(np.random.default_rng([0, 4]).choice(30, 14, replace=False))
    np.testing.assert_array_equal(data.y_train, small.y_train[places])
    # 32 to 16 pixels, bilinear without antialiasing: the mean of the four nearest of each new one
    x = small.x_train[places].reshape(14, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(next(data.x_train.batches(14)), 2 * x - 1, atol=1e-5)


def test_a_network_for_other_images_is_refused(place, undrawn, monkeypatch):
    inputs = keras.Input((8, 9, 3))
    x = keras.layers.Activation("relu")(inputs)
    x = keras.layers.Dense(1000)(keras.layers.Flatten()(x))
    keras.Model(inputs, x).save(place / "oblong.keras")
    with pytest.raises(ValueError, match=r"images of shape \(8, 9, 3\); it should be \(size, size, 3\)"):
        run(place, monkeypatch, model="oblong.keras")


def test_a_network_with_too_few_classes_is_refused(place, undrawn, monkeypatch):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Activation("relu", name="phi")(inputs)
    keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(x))).save(place / "ten.keras")
    with pytest.raises(ValueError, match="not in 0..9, the numbers of the 10 classes"):
        run(place, monkeypatch, "--experiments", "quantization", model="ten.keras")


@pytest.mark.slow
def test_random_weights_of_resnet50_are_refused(place, undrawn, monkeypatch, capsys):
    """A file that fits the network and is wrong: found by reading labelled pictures, in one line."""
    keras.utils.set_random_seed(0)
    shape = (32, 32, 3)  # at 224 pixels it takes long
    model = made.shallow_resnet50(weights=None, input_shape=shape, classifier_activation=None)
    model.save_weights(place / "wrong.weights.h5")
    monkeypatch.setattr(keras.applications, "ResNet50", lambda **options: model)  # building takes long
    put(place / "data", "val", 80, 1000)
    monkeypatch.setitem(imagenet.PRESETS, "quick", papers.ImageNetPreset("quick", 8, 50, 9, 9))
    options = ("--weights", place / "wrong.weights.h5", "--experiments", "quantization")
    with pytest.raises(
        SystemExit, match="error: .*wrong.weights.h5 reaches top-1 0.* on 50 pictures"
    ) as ended:
        cli.run(lambda: run(place, monkeypatch, *options, model=None))
    assert "the weights are not those of this network" in str(ended.value)
    assert not (place / "out").exists()


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path, monkeypatch):
    """At a tiny size: what it prints are the numbers that it took."""
    from keras_neuronlevel.benchmarks import imagenet as benchmark

    monkeypatch.setattr(keras.applications, "ResNet50", made.shallow_resnet50)
    network = pretrained.resnet50(None, input_shape=(32, 32, 3))
    monkeypatch.setattr(pretrained, "resnet50", lambda weights, **options: network)
    monkeypatch.setattr(benchmark, "LAYERS", ("conv1_relu", "conv4_block1_out"))
    monkeypatch.setattr(
        benchmark, "_in_a_fresh_process", lambda folder, count, *more: benchmark.peak(folder, count, *more)
    )
    small = {"pictures": 5, "growth": (2, 3), "batch_size": 2, "size": 32}
    result = benchmark.run(1, data_dir=benchmark.synthetic(tmp_path, 4), **small)
    assert result["source"] == "a folder of 4 pictures of 4 classes"
    assert (
        set(result["per_second"]) == {"decoding", "network", "both"}
        and min(result["per_second"].values()) > 0
    )
    assert list(result["peak_bytes"]) == [2, 3] and min(result["peak_bytes"].values()) > 50 * 2**20
    printed = benchmark.table(result)
    assert list(result["sweep_over_bare"]) == ["conv1_relu", "conv4_block1_out"]
    ratios = [result["both_over_slower"], result["both_over_sum"], *result["sweep_over_bare"].values()]
    assert ratios[1]["median"] < ratios[0]["median"]
    assert all(f": {ratio['median']:.2f} (" in printed for ratio in ratios)
    assert f"3 pictures {result['peak_bytes'][3] / 2**20:.0f} MiB" in printed
    with Image.open(next(tmp_path.rglob("*.JPEG"))) as opened:
        assert opened.size == (500, 375) and opened.mode == "RGB"
