"""What an experiment takes, on paper: counted by hand, and measured on tiny networks."""

import dataclasses
import functools
import json
import math
import runpy
from pathlib import Path

import keras
import made
import numpy as np
import pytest

from keras_neuronlevel import networks, papers
from keras_neuronlevel.benchmarks import plan
from keras_neuronlevel.protocol import pretrained, runs

BENCHMARK = Path(__file__).parents[1] / "experiments" / "benchmark.py"
PRESET = papers.Preset(
    "tiny",
    epochs=3,
    every=2,
    samples=7,
    batch_size=4,
    record_batch_size=2,
    window_centers=(5, 50, 95),
    first_window_centers=(50,),
    window_samples=10,
    window_epochs=4,
    window_batch_size=5,
    snapshots=2,
    train_images=21,
    test_images=6,
)
PICTURES = papers.ImageNetPreset(
    "tiny", calibration=6, test=10, probe_train=8, probe_test=4, window_centers=(5, 95)
)


@pytest.fixture(scope="module")
def mlp():
    row = papers.EXPERIMENTS["mnist_mlp"]
    spec = runs.Spec(
        "mnist-mlp-relu",
        "mlp-relu",
        row.network("relu"),
        functools.partial(networks.mlp, "relu", hidden=(5, 3), seed=0),
        functools.partial(keras.optimizers.SGD, 0.1, momentum=0.9),
        PRESET,
        {},
        0,
    )
    return plan.Trained(spec, plan.made_up_data(row, PRESET))


@pytest.fixture(scope="module")
def resnet():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.applications, "ResNet50", made.shallow_resnet50)
        model = pretrained.resnet50(None, input_shape=(32, 32, 3), classes=4).model
    assert len(pretrained.paper_layers(model)) == 1 + 4
    return plan.Pretrained(model, PICTURES, batch_size=2, in_memory=2**29, size=32)


def dealt(parts, devices):
    """By hand: parts go to devices like cards; what the fullest hand has."""
    hands = [0.0] * devices
    for number, part in enumerate(parts):
        hands[number % devices] += part
    return max(hands)


@pytest.mark.parametrize("devices", [1, 2, 3, 8])
@pytest.mark.parametrize("parts", [[1.0], [1.0, 5.0, 2.0], [0.5] * 8, list(np.arange(20.0))])
def test_the_device_with_most_parts_decides(parts, devices):
    work = plan.Work("", 0, np.array(parts), "")
    assert work.seconds(devices) == pytest.approx(dealt(parts, devices))
    assert work.seconds() == pytest.approx(sum(parts))


def test_equal_parts_are_shared_up_to_one():
    assert plan.Work("", 0, plan.equal(45.0, 45), "").seconds(8) == pytest.approx(math.ceil(45 / 8))


def at_one(network, devices=1):
    """The works where every image takes 1 s in every part of the network."""
    return {work.what: work for work in network.works(lambda _: 1.0, devices)}


def test_passes_of_a_trained_network_are_counted(mlp):
    works = at_one(mlp)
    steps = [step for epoch in range(3) for step in range(6) if step % 2 == 0]  # 21 images, 4 at a time
    assert works["training"].images == 3 * 21 == works["training"].seconds()
    assert works["test accuracy of every epoch"].images == 3 * 6
    assert works["test accuracy of every epoch"].seconds() == 3 * 6 * 2  # both halves
    recorded = works[f"{len(steps)} recordings of 7 samples"]
    assert recorded.images == len(steps) * 7 == recorded.seconds()
    assert works["calibrating 2 layers"].seconds() == 2 * 10_000  # kept, so one pass each
    sweep = works["a sweep of 11 ranks at 2 layers"]
    assert sweep.images == 6 + 6 * 12 * 2 == sweep.seconds()
    # Of 10 training images one is held out; every window, and p itself, is read for 4 epochs at most.
    first = works["readouts of 1 windows and p at dense1-relu, at most 4 epochs"]
    assert first.images == 2 * 4 * 9 and first.seconds() == 2 * (4 * 9 + 4 * 1 + 6)
    last = works["readouts of 3 windows and p at dense2-relu, at most 4 epochs"]
    assert last.images == 4 * 4 * 9 and last.seconds() == 4 * (4 * 9 + 4 * 1 + 6)
    assert last.seconds(3) == 2 * (4 * 9 + 4 * 1 + 6)
    bits = works["bits of 3 windows at dense2-relu"]
    assert bits.images == 10 + 2 * 16 == bits.seconds()  # thresholds, p, bits


def test_recordings_are_shared_as_the_recorder_shares_them(mlp):
    whole, samples = (at_one(mlp, devices)["9 recordings of 7 samples"] for devices in (2, 5))
    assert whole.spread == "whole batches" and whole.seconds(2) == 9 * 7 / 2  # of 4 batches
    assert samples.spread == "samples" and samples.seconds(5) == 9 * 2


def test_passes_of_the_pretrained_network_are_counted(resnet):
    works = at_one(resnet)
    layers = len(resnet._cuts)
    assert works["looking for corrupt pictures"].seconds() == 16
    assert works["verifying the network"].seconds(8) == 200 * 3  # everyone: decoded, two halves
    assert works[f"calibrating {layers} layers"].seconds() == layers * 6 * 2
    assert works[f"a sweep of 11 ranks at {layers} layers"].seconds() == 10 * (2 + 12 * layers)
    features, fits = (works[f"{what} 3 probes at {layers} layers{more}"] for what, more in (
        ("features of", ""), ("fitting", f", {plan.PROBE_ITERATIONS} iterations each")
    ))  # fmt: skip
    assert features.seconds() == layers * (8 + 4 + 6) * 2
    assert features.seconds(layers) == (8 + 4 + 6) * 2 == features.seconds(layers + 3)
    assert fits.seconds() == layers * 3 * plan.PROBE_ITERATIONS * 8


@pytest.mark.parametrize(("memory", "p", "bits", "groups"), [
    (2**20, 0, 0, 1),  # both kept
    (8 * (16 * 1), 1, 0, 1),  # 16 images: 12 bytes of p, 1 of a window's bits
    (8 * (16 * 1) // 4, 1, 0, 2),
    (15, 1, 1, 0),
])  # fmt: skip
def test_what_is_not_kept_is_passed_in_every_epoch(mlp, monkeypatch, memory, p, bits, groups):
    monkeypatch.setattr(plan, "IN_MEMORY", memory / 2)
    works = at_one(mlp)
    made = works["bits of 3 windows at dense2-relu"]
    every = 10 + 16 * groups * (not bits)
    assert made.images == every + 16 * (not p) == made.seconds()
    assert made.seconds(2) == made.seconds(9) == every + 16 * (not p)  # the first has p as well
    read = works["readouts of 3 windows and p at dense2-relu, at most 4 epochs"]
    own, anew = 4 * 9 + 4 * 1 + 6, 4 * 10 + 6
    assert read.images == 4 * 4 * 9 + anew * (p + 3 * bits)
    assert read.seconds() == 4 * own + anew * (p + 3 * bits)
    assert read.seconds(4) == own + anew * max(p, bits)


def test_pre_activations_that_are_not_kept_are_passed_four_times(resnet):
    small = dataclasses.replace(resnet, in_memory=0)
    (what,) = (what for what in at_one(small) if what.startswith("calibrating"))
    assert at_one(small)[what].seconds() == 4 * at_one(resnet)[what].seconds()


@pytest.mark.parametrize("name", ["mlp", "resnet"])
def test_measured_rates_are_all_that_is_asked_for(name, request, tmp_path):
    network = request.getfixturevalue(name)
    found = plan.run([network], 2, repeats=1)
    (told,) = found["networks"].values()
    assert all(rate > 0 for rate in told["rates"].values())
    seconds = [work.seconds() for work in network.works(told["rates"].__getitem__, 2)]
    assert [row["alone"] for row in told["works"]] == pytest.approx(seconds)
    assert found["seconds"]["alone"] == pytest.approx(sum(seconds))
    assert found["seconds"]["each"] < found["seconds"]["alone"]
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"results": {"experiment": "x", **found}}))
    again = plan.run([network], 2, plan.read(path, "x"))
    assert again["machine"] is None and again["networks"] == found["networks"]
    text = plan.table(again)
    assert "each of 2 devices" in text and "rates as given" in text and "memory of a device, about: " in text
    alone = plan.table(plan.run([network], 1, plan.read(path, "x")))
    assert "each of" not in alone and "in all " in alone


def test_the_memory_of_windows_is_counted(mlp, monkeypatch):
    """At dense1: 16 images' p of 5 neurons are kept, and three readouts learn φ, dropout, dense2, φ, dropout
    and 10 logits of 5 images."""
    monkeypatch.setattr(plan.evaluation.readout, "processors", lambda: 3)
    data, seeds = 4 * 784 * (21 + 6), 2 * 2  # of two dropouts
    weights = 4 * (784 * 5 + 5 + 5 * 3 + 3 + 3 * 10 + 10 + seeds)
    widest = 2 * 4 * plan.MODEL_BATCH * 784  # of one image, flattened: two such tensors
    later_weights = 5 * 3 + 3 + 3 * 10 + 10
    tested = 4 * 2048 * (2 * 5 + 2 * 10)  # more than a batch of 5 with its derivatives
    readouts = 3 * (tested + 24 * later_weights)
    assert mlp.sizes(1)["memory"]["windows"] == data + weights + widest + 4 * 16 * 5 + readouts


def test_a_device_of_many_holds_less_and_sends_gradients(mlp):
    one, four = mlp.sizes(1), mlp.sizes(4)
    assert one["exchanged"] == 0
    trainable = 784 * 5 + 5 + 5 * 3 + 3 + 3 * 10 + 10
    assert four["exchanged"] == round(2 * 3 / 4 * 4 * trainable) * 3 * 6  # a ring's all-reduce, 18 steps
    assert one["disk"] == four["disk"]
    assert one["memory"]["training and recording"] > four["memory"]["training and recording"]
    values = 7 * (5 + 3)
    assert one["disk"]["records"] >= values * (2 * 2 + 2 * 2)  # sums in int16, two snapshots in float16


@pytest.mark.parametrize("rate", [0, -1.0, float("nan"), "fast", None])
def test_rates_that_are_no_rates_are_refused(mlp, rate):
    rates = dict.fromkeys(plan.run([mlp], 1, repeats=1)["networks"]["mlp-relu"]["rates"], 1.0)
    with pytest.raises(ValueError, match="the rate of training of mlp-relu"):
        plan.run([mlp], 1, {"mlp-relu": {**rates, "training": rate}})


def test_rates_that_lack_something_are_refused(mlp):
    with pytest.raises(ValueError, match="the rates lack 'prefix dense2-relu' of mlp-relu; make them by"):
        plan.run([mlp], 1, {"mlp-relu": {"training": 1.0}})


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"results": {}}', '{"results": {"networks": [1]}}'])
def test_a_file_without_rates_is_refused(text, tmp_path):
    path = tmp_path / "rates.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="rates.json holds no rates; give a file that plan wrote"):
        plan.read(path, "mnist_mlp")
    with pytest.raises(ValueError, match="nowhere.json holds no rates"):
        plan.read(tmp_path / "nowhere.json", "mnist_mlp")


def test_rates_of_another_experiment_are_refused(tmp_path):
    path = tmp_path / "rates.json"
    path.write_text(json.dumps({"results": {"experiment": "cifar10_cnn", "networks": {}}}))
    with pytest.raises(ValueError, match="holds rates of cifar10_cnn, not of mnist_mlp"):
        plan.read(path, "mnist_mlp")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan"], "plan needs --experiment, one of mnist_mlp, "),
        (["plan", "--experiment", "imagenet_resnet50", "--preset", "big"], "has no preset big, only paper, "),
        (["plan", "--experiment", "mnist_mlp", "--peers"], "--peers has no meaning with plan"),
        (["growth", "--devices", "2"], "--devices has no meaning with growth"),
        (["plan", "--experiment", "mnist_mlp", "--devices", "0"], "--devices: it"),
    ],
)
def test_a_plan_of_nothing_is_refused(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(BENCHMARK))["main"](arguments)
    assert stop.value.code == 2 and words in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        "mnist_mlp",
        pytest.param("cifar10_cnn", marks=pytest.mark.exhaustive),
        pytest.param("cifar10_cnn_norm_first", marks=pytest.mark.exhaustive),
        pytest.param("cifar10_resnet", marks=pytest.mark.exhaustive),
    ],
)
def test_every_experiment_can_be_planned(name, monkeypatch, capsys, tmp_path):
    """From its script's own networks; at rates of 1 s an image, without measuring."""
    monkeypatch.setattr(plan, "read", lambda path, experiment: {})
    monkeypatch.setattr(plan, "_checked", lambda network, rates, what: 1.0)
    monkeypatch.syspath_prepend(str(BENCHMARK.parent))
    main = runpy.run_path(str(BENCHMARK))["main"]
    main(
        ["plan", "--experiment", name, "--rates", "x", "--devices", "4", "--output", str(tmp_path / "p.json")]
    )
    assert "each of 4 devices" in capsys.readouterr().out
    told = json.loads((tmp_path / "p.json").read_text())["results"]
    assert told["experiment"] == name and told["preset"] == "paper" and told["devices"] == 4
    row = papers.EXPERIMENTS[name]
    preset = row.presets["paper"]
    for network in told["networks"].values():
        found = {work["what"]: work["images"] for work in network["works"]}
        count = 60_000 if row.family == "mlp" else 50_000
        assert found["training"] == preset.epochs * count
        recordings = {"mlp": 2350, "cnn": 1600}[row.family]
        assert found[f"{recordings} recordings of {preset.samples} samples"] == recordings * preset.samples
