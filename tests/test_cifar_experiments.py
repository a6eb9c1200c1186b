"""Both CIFAR-10 scripts, from the command line to the figures, at a tiny size."""

import dataclasses
import functools
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import keras_neuronlevel as nl
from keras_neuronlevel import papers, results
from keras_neuronlevel.protocol import pipeline

SCRIPTS = Path(__file__).resolve().parent.parent / "experiments"
TINY = papers.Preset(
    "quick",
    epochs=1,
    every=2,
    samples=12,
    batch_size=16,
    record_batch_size=5,
    window_centers=(95,),
    first_window_centers=(5,),
    window_samples=40,
    window_epochs=1,
)


@pytest.fixture
def tiny(make_data, monkeypatch):
    """The scripts' data, presets and networks made small; returns the data."""
    data = make_data(image_shape=(32, 32, 3), train=64, test=20, classes=4, name="cifar10")
    monkeypatch.setattr(pipeline.datasets, "load", lambda name, folder: data)
    monkeypatch.setitem(papers.EXPERIMENTS["cifar10_cnn"].presets, "quick", TINY)
    monkeypatch.syspath_prepend(SCRIPTS)
    for name in ("cifar_cnn", "cifar_cnn_norm_first", "cifar_resnet"):
        small = functools.wraps(getattr(nl.networks, name))(
            functools.partial(getattr(nl.networks, name), filters=2, num_classes=4)
        )
        monkeypatch.setattr(nl.networks, name, small)
    return data


def run(script, monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", [script, *map(str, options)])
    runpy.run_path(str(SCRIPTS / script), run_name="__main__")


LAYERS = [f"stage{s}layer{i}-relu" for s in range(4) for i in range(3)]


@pytest.mark.slow
def test_the_script_trains_records_and_evaluates(tiny, tmp_path, monkeypatch, capsys):
    """With a stand-in, which is called one everywhere."""
    stand_in = dataclasses.replace(tiny, name="mnist32", stand_in="MNIST, standing in for CIFAR-10")
    monkeypatch.setattr(pipeline.datasets, "load", lambda name, folder: stand_in)
    options = ("--preset", "quick", "--output-dir", tmp_path, "--activation", "relu")
    run("cifar10_cnn.py", monkeypatch, *options, "--dataset", "mnist32")
    written = [path.name for path in tmp_path.iterdir() if path.is_file()]
    assert written and all(name.startswith("standin-mnist32-") for name in written)
    metrics = json.loads((tmp_path / "standin-mnist32-metrics.json").read_text())
    assert metrics["complete"] and results.preset(metrics) == "quick"
    assert metrics["stand_in"] == "MNIST, standing in for CIFAR-10"
    assert metrics["provenance"]["data"]["name"] == "mnist32"
    layers = metrics["networks"]["cnn-relu"]["layers"]
    assert list(layers) == LAYERS
    evaluated = [name for name, found in layers.items() if "quantization" in found]
    assert evaluated == ["stage0layer0-relu", "stage2layer2-relu", "stage3layer2-relu"]
    for name in evaluated:
        assert layers[name]["quantization"]["n_test"] == 20
        assert layers[name]["window"]["centers"] == [5 if name == evaluated[0] else 95]
        assert layers[name]["window"]["n_train"] == 40
    (records_path,) = (tmp_path / "runs").glob("*.h5")
    with nl.records.Records(records_path) as records:
        np.testing.assert_array_equal(records.recordings["step"], [0, 2])
        s = records.average_sign("stage3layer2-relu")
        assert s.shape == (12, 16, 16)
    shares = [
        np.mean(np.abs(s[:, u][np.isfinite(s[:, u])]) == 1) for u in range(16) if np.isfinite(s[:, u]).any()
    ]
    measured = layers["stage3layer2-relu"]["derivatives"]["constant_share"]["mean"]
    assert measured == pytest.approx(np.mean(shares), abs=1e-6)
    assert "stage3layer2-relu" in capsys.readouterr().out
    for picture in ("average_sign_one_neuron", "average_sign_all_neurons", "quantization", "window"):
        assert (tmp_path / f"standin-mnist32-{picture}.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_residual_network_has_the_same_layers(tiny, undrawn, tmp_path, monkeypatch):
    options = ("--preset", "quick", "--output-dir", tmp_path, "--activation", "relu")
    run("cifar10_resnet.py", monkeypatch, *options, "--experiments", "derivatives", "quantization")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["complete"] and metrics["stand_in"] is None
    found = metrics["networks"]["resnet-relu"]["layers"]
    assert list(found) == LAYERS and all(found[layer]["derivatives"]["pairs"] for layer in LAYERS)
    evaluated = [layer for layer in LAYERS if "quantization" in found[layer]]
    assert evaluated == ["stage0layer0-relu", "stage2layer2-relu", "stage3layer2-relu"]


def test_the_network_with_norms_first_is_named_so(tiny, undrawn, tmp_path, monkeypatch):
    options = ("--preset", "quick", "--output-dir", tmp_path, "--activation", "relu")
    run("cifar10_cnn_norm_first.py", monkeypatch, *options, "--experiments", "quantization")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["experiment"] == "cifar10_cnn_norm_first"
    found = metrics["networks"]["cnn_norm_first-relu"]
    assert "norm_first" in found["training"]["config"]["network"]
    assert list(found["layers"]) == ["stage0layer0-relu", "stage2layer2-relu", "stage3layer2-relu"]


@pytest.mark.slow
def test_layers_are_evaluated_one_by_one_as_together(tiny, undrawn, tmp_path, monkeypatch):
    def measured(*options):
        whole = ("--preset", "quick", "--activation", "relu", "--experiments", "quantization", "window")
        run("cifar10_cnn.py", monkeypatch, *whole, "--output-dir", tmp_path, *options)
        return json.loads((tmp_path / "metrics.json").read_text())["networks"]["cnn-relu"]["layers"]

    assert list(measured("--layers", "stage3layer2")) == ["stage3layer2-relu"]
    apart = measured("--layers", "stage2layer2", "stage0layer0")
    # The centres are those of the layer's place in the network, not of that among those that are named.
    assert {layer: kinds["window"]["centers"] for layer, kinds in apart.items()} == {
        "stage0layer0-relu": [5], "stage2layer2-relu": [95], "stage3layer2-relu": [95],
    }  # fmt: skip
    for layer, kinds in measured("--remeasure").items():
        assert kinds["quantization"] == apart[layer]["quantization"]
        assert kinds["window"]["centers"] == apart[layer]["window"]["centers"]


def test_a_saved_network_standardizes_its_images_itself(tiny):
    mean, std = nl.networks.channel_statistics(tiny.x_train)
    model = nl.networks.cifar_cnn("relu", mean=mean, std=std, seed=0)
    standardized = (tiny.x_test - np.array(mean)) / np.array(std)
    expected = nl.networks.cifar_cnn("relu", seed=0)(standardized.astype("float32"))
    np.testing.assert_allclose(model(tiny.x_test), expected, atol=1e-5)


def test_a_preset_may_take_part_of_the_images(make_data):
    data = make_data(image_shape=(2, 2, 1), train=50, test=20, classes=4, name="cifar10")
    preset = dataclasses.replace(TINY, train_images=30, test_images=100)
    part = pipeline.subset(data, preset, seed=1)
    assert len(part.x_train) == len(part.y_train) == 30
    np.testing.assert_array_equal(part.x_test, data.x_test)  # no more than there are
    places = [next(i for i, image in enumerate(data.x_train) if (image == x).all()) for x in part.x_train]
    assert places == sorted(set(places)), "random images, each once, in their order"
    np.testing.assert_array_equal(data.y_train[places], part.y_train)
    same, other = (pipeline.subset(data, preset, seed=seed).x_train for seed in (1, 2))
    assert (same == part.x_train).all() and (other != part.x_train).any()
    assert "2 epochs of 30 images" in str(dataclasses.replace(preset, epochs=2))
