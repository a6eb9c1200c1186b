"""What users get wrong, and what they are told: one sentence that says what was given and what to do.

Three tables: command lines, with the exit status (2 for how a command is used, 1 for what its files hold);
calls, with the type of the error; and numbers of wrong types and sizes, for every function that takes any.
"""

import logging
import math
import runpy
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import made
import matplotlib.image
import numpy as np
import pytest
from conftest import tiny_dataset

import keras_neuronlevel as nl
from keras_neuronlevel import data as datasets
from keras_neuronlevel import files, results, schedules, selection, streams
from keras_neuronlevel.data import DataError
from keras_neuronlevel.records import RecordsError

SCRIPTS = Path(__file__).parents[1] / "experiments"
LAYER = "hidden-relu"


# Sound and broken files ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what the rows name: data, models, a recording and results, sound and broken ones."""
    place, data = tmp_path_factory.mktemp("place"), tiny_dataset()
    for name in ("empty", "idx", "pictures/n01440764"):
        (place / name).mkdir(parents=True)
    (place / "text").write_text("hello")
    (place / "idx" / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03")
    for number in range(3):
        picture = place / "pictures" / "n01440764" / f"{number}.png"
        matplotlib.image.imsave(picture, np.zeros((8, 8, 3)))
    _put_arrays(place, data)
    _put_models(place)
    _put_results(place)
    return place


def _put_arrays(place, data):
    arrays = {name: getattr(data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    spoilt = np.array(data.x_test)
    spoilt[3] = np.nan
    for name, changed in (
        ("mine", {}),
        ("labels", {"y_test": data.y_test + 1}),
        ("nan", {"x_test": spoilt}),
        ("shape", {"x_test": data.x_test[:, :3]}),
        ("untested", {"x_test": data.x_test[:0], "y_test": data.y_test[:0]}),
        ("objects", {"y_test": np.array([{}], object)}),
    ):
        np.savez(place / f"{name}.npz", **arrays | changed)
    np.savez(place / "part.npz", x_train=data.x_train)


def _put_models(place):
    model = small_model()
    model.save(place / "net.keras")
    model.save(place / "net.h5")
    model.save_weights(place / "net.weights.h5")
    (place / "damaged.keras").write_bytes((place / "net.keras").read_bytes()[:4000])

    class Own(keras.layers.Layer):
        def call(self, x):
            return x

    for name, layer in (("lambda", keras.layers.Lambda(lambda x: x)), ("own", Own())):
        keras.Sequential([keras.Input((4, 4, 1)), layer]).save(place / f"{name}.keras")


def small_model():
    keras.utils.set_random_seed(0)
    layers = [keras.Input((4, 4, 1)), keras.layers.Flatten()]
    layers += [keras.layers.Dense(5, "relu", name="hidden"), keras.layers.Dense(3)]
    return keras.Sequential(layers)


def _put_results(place):
    data, model = tiny_dataset(), small_model()
    recorder = nl.recording.ActivationGradientRecorder(
        data.x_train[:10], data.y_train[:10], path=place / "r.h5", every=3
    )
    nl.training.train(model, data, optimizer="sgd", epochs=1, callbacks=[recorder], progress=False)
    run, accuracy = made.mnist(), ("networks", "mlp-relu", "training", "test_accuracy")
    files.write_json(place / "run" / "metrics.json", run)
    files.write_text(place / "damaged" / "metrics.json", "{")
    folder = place / "seeds" / "mnist_mlp"
    files.write_json(folder / "metrics.json", run)
    for seed, value in (
        (1, {**run, "seed": 7}),
        (2, {**run, "seed": 2, "preset": made.preset("quick")}),
        (3, []),
        (4, made.put({**run, "seed": 4}, accuracy, 17)),
    ):
        files.write_json(folder / f"seed{seed}" / "metrics.json", value)


# Command lines ---------------------------------------------------------------------------------------

QUICK = "--preset quick"
SEED = "it is {}; give a whole number at least 0 and at most 4294967295"
NO_DATA = "Could not load {}. Tried, in this order:"
ELSEWHERE = "; give another --output-dir, or move that file away"
NET = "{place}/net.keras"
MINE = NET + " --data {place}/mine.npz"
PICTURES = "--data-dir {place}/pictures"
FILM = "--layer hidden-relu --run {place}/r.h5 --output {place}/n.gif"

# {script: [(options, words of the message, exit status)]}; {place} is the folder above.
COMMANDS = {
    "mnist_mlp": [
        ("--preset huge", "invalid choice: 'huge' (choose from 'auto', 'paper'", 2),
        ("--activation gelu", "invalid choice: 'gelu' (choose from 'relu', 'sigmoid', 'linear')", 2),
        ("--colour red", "unrecognized arguments: --colour red", 2),
        ("--see 7", "unrecognized arguments: --see 7", 2),
        ("more", "unrecognized arguments: more", 2),
        ("--data-dir", "--data-dir: expected one argument", 2),
        ("--seed x", SEED.format("'x'"), 2),
        ("--seed -1", SEED.format("-1"), 2),
        ("--seed 1.5", SEED.format("'1.5'"), 2),
        ("--seed nan", SEED.format("'nan'"), 2),
        ("--seed 4294967296", SEED.format("4294967296"), 2),
        ("--checkpoint-every 0", "--checkpoint-every: it is 0.0; give a number above 0", 2),
        ("--checkpoint-every nan", "--checkpoint-every: it is nan; give a number above 0", 2),
        ("--experiments windows", "invalid choice: 'windows' (choose from 'derivatives'", 2),
        ("--dataset cifar10", "invalid choice: 'cifar10' (choose from 'mnist', 'fashion_mnist')", 2),
        ("--force --remeasure", "--remeasure: not allowed with argument --force", 2),
        ("--output-dir {place}/text", "--output-dir: {place}/text is a file; give a folder", 2),
        ("--output-dir {place}/text/below", "--output-dir: {place}/text is a file; give a folder", 2),
        (f"{QUICK} --data-dir {{place}}/none", NO_DATA.format("mnist"), 1),
        (f"{QUICK} --data-dir {{place}}/text", NO_DATA.format("mnist"), 1),
        (f"{QUICK} --data-dir {{place}}/idx", "{place}/idx lacks the file train-labels-idx1-ubyte", 1),
        (f"{QUICK} --remeasure", "--remeasure measures finished networks again, and mnist-mlp-relu-quick", 1),
        (
            f"{QUICK} --output-dir {{place}}/run",
            f"metrics.json holds a run of preset paper, and this one is of preset quick{ELSEWHERE}",
            1,
        ),
        (f"{QUICK} --output-dir {{place}}/damaged", "damaged/metrics.json cannot be read (Expecting", 1),
    ],
    "cifar10_cnn": [
        ("--preset huge", "invalid choice: 'huge'", 2),
        ("--activation sigmoid", "invalid choice: 'sigmoid' (choose from 'relu', 'linear')", 2),
        ("--dataset mnist", "invalid choice: 'mnist' (choose from 'cifar10', 'mnist32')", 2),
        ("--seed -1", SEED.format("-1"), 2),
        (f"{QUICK} --data-dir {{place}}/none", NO_DATA.format("cifar10"), 1),
    ],
    "cifar10_cnn_norm_first": [
        ("--activation tanh", "invalid choice: 'tanh' (choose from 'relu', 'linear')", 2),
        ("--checkpoint-every a", "--checkpoint-every: it is 'a'; give a number above 0", 2),
        (f"{QUICK} --data-dir {{place}}/empty", NO_DATA.format("cifar10"), 1),
    ],
    "cifar10_resnet": [
        ("--experiments everything", "invalid choice: 'everything'", 2),
        ("--seed 3.5", SEED.format("'3.5'"), 2),
        (f"{QUICK} --data-dir {{place}}/text", "no published archive has; unpack it and give the folder", 1),
    ],
    "imagenet_resnet50": [
        ("--model a.keras", "--model needs its --preprocessing, one of unit, raw, imagenet-caffe", 2),
        ("--model a.keras --preprocessing standardize", "invalid choice: 'standardize'", 2),
        ("--model a.keras --weights b.h5 --preprocessing unit", "not allowed with argument", 2),
        ("--preprocessing unit", "--preprocessing, --name and --expected-top1 belong to a --model", 2),
        ("--name net", "belong to a --model", 2),
        ("--expected-top1 0.5", "belong to a --model", 2),
        ("--expected-top1 74.9", "it is 74.9; give a number above 0 and at most 1", 2),
        ("--expected-top1 0", "it is 0.0; give a number above 0 and at most 1", 2),
        ("--model a.keras --preprocessing unit --name ../../evil", "it is '../../evil', and becomes part", 2),
        ("--model a.keras --preprocessing unit --name .hidden", "a letter or digit first", 2),
        ("--model a.keras --preprocessing unit --name a/b", "it is 'a/b', and becomes part of file names", 2),
        ("--model a.keras --preprocessing unit --name ''", "it is '', and becomes part of file names", 2),
        ("--grid 2 0", "--grid: it is 0; give a whole number at least 1", 2),
        ("--grid 1.5", "--grid: it is '1.5'; give a whole number at least 1", 2),
        ("--grid 2 2", "--grid is 2 2; give every number once", 2),
        ("--experiments quantization --grid 2", "--grid belongs to the windows, which --experiments", 2),
        ("--experiments quantization --probe-dataset cifar10", "--probe-dataset belongs to the windows", 2),
        ("--experiments quantization --probe-data-dir x", "--probe-data-dir belongs to the windows", 2),
        ("--batch-size 0", "--batch-size: it is 0; give a whole number at least 1", 2),
        ("--batch-size a", "--batch-size: it is 'a'; give a whole number at least 1", 2),
        ("--memory -1", "--memory: it is -1; give a whole number at least 0", 2),
        ("--memory nan", "--memory: it is 'nan'; give a whole number at least 0", 2),
        ("--seed -1", SEED.format("-1"), 2),
        ("--preset huge", "invalid choice: 'huge'", 2),
        ("--experiments derivatives", "invalid choice: 'derivatives'", 2),
        ("--probe-dataset mnist", "invalid choice: 'mnist'", 2),
        ("--layers", "--layers: expected at least one argument", 2),
        ("--data-dir {place}/none", "{place}/none is not a folder. Pass a data folder that holds one", 1),
        ("--data-dir {place}/empty", "holds no folder of pictures that is named by a wnid", 1),
        (f"{PICTURES} --model {{place}}/none.keras --preprocessing unit", "none.keras does not exist", 1),
        (f"{PICTURES} --model {{place}}/damaged.keras --preprocessing unit", "damaged.keras is damaged", 1),
        (f"{PICTURES} --model {NET} --preprocessing unit", "net takes images of shape (4, 4, 1); it", 1),
        (f"{PICTURES} --weights {{place}}/none.h5", "there is no weight file at {place}/none.h5", 1),
    ],
    "evaluate_model": [
        ("", "the following arguments are required: MODEL", 2),
        (NET, "one of the arguments --dataset --data is required", 2),
        (f"{MINE} --dataset mnist", "--dataset: not allowed with argument --data", 2),
        (f"{MINE} --preprocessing unit", "--preprocessing belongs to a --dataset; a --data file has", 2),
        (f"{MINE} --data-dir {{place}}", "--data-dir belongs to a --dataset; --data names its file", 2),
        (f"{NET} --dataset mnist --preprocessing half", "invalid choice: 'half'", 2),
        (f"{MINE} --experiments training", "invalid choice: 'training'", 2),
        (f"{MINE} --experiments quantization --epochs 3", "--epochs belongs to the windows, which", 2),
        (f"{MINE} --experiments quantization --readout probe", "--readout belongs to the windows", 2),
        (f"{MINE} --experiments quantization --repeats 3", "--repeats belongs to the windows", 2),
        (f"{MINE} --experiments quantization --centers 5", "--centers belongs to the windows, which", 2),
        (f"{MINE} --centers 101", "--centers: it is 101.0; give a number at least 0 and at most 100", 2),
        (f"{MINE} --centers 2", "the window of width 10 round 2 is -3 to 7, outside [0, 100]; centres go", 1),
        (f"{MINE} --max-train-samples -5", "it is -5; give a whole number at least 2", 2),
        (f"{MINE} --calibration-size -5", "it is -5; give a whole number at least 1", 2),
        (f"{MINE} --calibration-size 1.5", "it is '1.5'; give a whole number at least 1", 2),
        (f"{MINE} --repeats nan", "it is 'nan'; give a whole number at least 1", 2),
        (f"{MINE} --epochs 0", "it is 0; give a whole number at least 1", 2),
        (f"{MINE} --grid 0", "it is 0; give a whole number at least 1", 2),
        (f"{MINE} --seed {10**16}", SEED.format(10**16), 2),
        (f"{MINE} --output-dir {{place}}/text", "{place}/text is a file; give a folder", 2),
        ("{place}/none.keras --dataset mnist", "none.keras does not exist; give a file saved by", 1),
        ("{place}/text --dataset mnist", "text has the ending ''; give a model saved as .keras or .h5", 1),
        ("{place}/empty --dataset mnist", "empty is no file; give one saved by model.save()", 1),
        ("{place}/damaged.keras --dataset mnist", "is damaged (File is not a zip file); save the model", 1),
        ("{place}/net.weights.h5 --dataset mnist", "holds no model, perhaps its weights alone; save it", 1),
        ("{place}/lambda.keras --dataset mnist", "it brings code of its own (a Lambda or TFSMLayer)", 1),
        ("{place}/own.keras --dataset mnist", "Could not locate class 'Own'; register the class", 1),
        (f"{NET} --dataset mnits", "Unknown data set 'mnits'. Did you mean mnist or mnist32?", 1),
        (f"{NET} --dataset imagenet2012", "for imagenet2012 use experiments/imagenet_resnet50.py", 1),
        (f"{NET} --dataset mnist --data-dir {{place}}/none", NO_DATA.format("mnist"), 1),
        (f"{NET} --data {{place}}/none.npz", "none.npz cannot be read as an .npz file: [Errno 2] No such", 1),
        (f"{NET} --data {{place}}/text", "text is no .npz file; make one by np.savez", 1),
        (f"{NET} --data {{place}}/part.npz", "part.npz lacks y_train, x_test, y_test; it must hold", 1),
        (f"{NET} --data {{place}}/objects.npz", "objects.npz cannot be read as an .npz file: Object", 1),
        (f"{NET} --data {{place}}/labels.npz", "y_test as y: label 3 of sample 1 in y is not in 0..2", 1),
        (f"{NET} --data {{place}}/nan.npz", "image 3 of x holds NaN or infinite values", 1),
        (f"{NET} --data {{place}}/shape.npz", "x has shape (23, 3, 4, 1), but the network takes", 1),
        (f"{NET} --data {{place}}/untested.npz", "x is empty; give at least one image", 1),
        (f"{MINE} --layers hiden-relu", "no neuron layer is called 'hiden-relu'; the nearest", 1),
        (f"{MINE} --readout probe --grid 2", "a grid of 2 does not fit features with no positions", 1),
        (f"{MINE} --grid 2", "--grid has no meaning with --readout retrain; leave it out", 1),
        (f"{MINE} --readout probe --epochs 2", "--epochs has no meaning with --readout probe; leave it", 1),
        (f"{MINE} --import no_such_module", "give a module that Python finds from here", 1),
        (
            f"{MINE} --experiments quantization --output-dir {{place}}/run",
            f"of experiment mnist_mlp, and this one is of experiment evaluate_model{ELSEWHERE}",
            1,
        ),
    ],
    "workers": [
        ("", "the following arguments are required: -- SCRIPT", 2),
        ("--workers 1 -- experiments/mnist_mlp.py", "--workers: it is 1; give a whole number at least 2", 2),
        ("--workers 2 -- experiments/nothing.py", "there is no script experiments/nothing.py", 2),
        ("-- {place}/text --strategy=none", "--strategy after -- contradicts", 2),
    ],
    "seeds": [
        ("", "the following arguments are required: --experiment", 2),
        ("--experiment mnist", "invalid choice: 'mnist' (choose from 'mnist_mlp', 'cifar10_cnn'", 2),
        ("--experiment imagenet_resnet50", "invalid choice: 'imagenet_resnet50'", 2),
        ("--experiment mnist_mlp --seeds 0 1 0", "--seeds has 0 twice; give every seed once", 2),
        ("--experiment mnist_mlp --seeds 0 -1", SEED.format("-1"), 2),
        ("--experiment mnist_mlp --seeds 0 1.5", SEED.format("'1.5'"), 2),
        ("--experiment mnist_mlp --seeds", "--seeds: expected at least one argument", 2),
        ("--experiment mnist_mlp --preset quick", "unrecognized arguments: --preset", 2),
        ("--experiment mnist_mlp --results {place}/text", "{place}/text is a file; give a folder", 2),
        ("--experiment mnist_mlp -- --seed 7", "--seed after -- contradicts what this script gives; use", 2),
        ("--experiment mnist_mlp -- --seed=7", "use --seeds", 2),
        ("--experiment mnist_mlp -- --output-dir elsewhere", "--output-dir after -- contradicts", 2),
        ("--experiment mnist_mlp --dataset mnist -- --dataset mnist", "use --dataset before --", 2),
        ("--experiment mnist_mlp --aggregate -- --preset quick", "--aggregate runs nothing, so it", 2),
        ("--experiment mnist_mlp --aggregate --results {place}", "metrics.json cannot be read (No such", 1),
        ("--experiment mnist_mlp --aggregate --results {place}/seeds --seeds 0 1", "is of seed 7; run", 1),
        ("--experiment mnist_mlp --aggregate --results {place}/seeds --seeds 0 2", "differ in preset", 1),
        ("--experiment mnist_mlp --aggregate --results {place}/seeds --seeds 0 3", "holds list where", 1),
        ("--experiment mnist_mlp --aggregate --results {place}/seeds --seeds 0 4", "it is 17; run the", 1),
    ],
    "report": [
        ("figures", "unrecognized arguments: figures", 2),
        ("--result figures", "unrecognized arguments: --result figures", 2),
        ("--results {place}/none", "there is no folder {place}/none; run an experiment first", 1),
        ("--results {place}/empty", "empty holds no metrics.json; run an experiment first: python", 1),
        ("--results {place}/text", "there is no folder {place}/text", 1),
    ],
    "videos": [
        ("", "the following arguments are required: --run, --layer, --output", 2),
        (f"{FILM} --neuron -1", "--neuron: it is -1; give a whole number at least 0", 2),
        (f"{FILM} --neuron 1 --seed 0", "--seed draws a neuron, and --neuron names one; give one", 2),
        (f"{FILM} --fps 0", "--fps: it is 0.0; give a number at least 0.1 and at most 50", 2),
        (f"{FILM} --fps nan", "--fps: it is nan; give a number at least 0.1 and at most 50", 2),
        (f"{FILM} --fps a", "--fps: it is 'a'; give a number at least 0.1 and at most 50", 2),
        (f"{FILM} --width 20", "it is 20; give a whole number at least 160 and at most 4096", 2),
        (f"{FILM} --width 1e4", "it is '1e4'; give a whole number at least 160 and at most 4096", 2),
        (f"{FILM} --seed -1", SEED.format("-1"), 2),
        (f"{FILM} --neuron 99", "neuron 99 of hidden-relu has no snapshots of its pre-activations", 1),
        (f"{FILM} --run {{place}}/none.h5", "there is no records file at {place}/none.h5", 1),
        (f"{FILM} --run {{place}}/text", "text is not a readable HDF5 file of recordings", 1),
        (f"{FILM} --run {{place}}/net.h5", "but not one of keras_neuronlevel's recordings", 1),
        (f"{FILM} --layer dense9", "holds no layer 'dense9'; it holds hidden-relu", 1),
        (f"{FILM} --output {{place}}/n.avi", "a video is a .gif or an .mp4 file; {place}/n.avi is", 1),
    ],
    "benchmark": [
        ("", "the following arguments are required: what", 2),
        ("everything", "invalid choice: 'everything' (choose from 'recording', 'growth', 'evaluation'", 2),
        ("recording --repeats 0", "--repeats: it is 0; give a whole number at least 1", 2),
        ("recording --repeats 1.5", "--repeats: it is '1.5'; give a whole number at least 1", 2),
        ("faults --kills 0", "--kills: it is 0; give a whole number at least 1", 2),
        ("recording --kills 3", "--kills has no meaning with recording; leave it out", 2),
        ("faults --repeats 3", "--repeats has no meaning with faults; leave it out", 2),
        ("evaluation --data-dir x", "--data-dir has no meaning with evaluation; leave it out", 2),
        ("evaluation --output x.json", "--output has no meaning with evaluation; leave it out", 2),
        ("evaluation --peers", "--peers has no meaning with evaluation; leave it out", 2),
        ("rates --data-dir {place}/none", NO_DATA.format("cifar10"), 1),
        ("imagenet --repeats 1 --data-dir {place}/none", "{place}/none is not a folder. Pass a data", 1),
    ],
}


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Scripts start in an empty folder; data sets are tiny unless a row says where they are."""
    load = datasets.load

    def tiny_or_there(name, data_dir=None):
        small = data_dir is None and name in ("mnist", "cifar10")
        return tiny_dataset(name=name) if small else load(name, data_dir)

    monkeypatch.setattr(datasets, "load", tiny_or_there)
    monkeypatch.syspath_prepend(SCRIPTS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("script", "options", "words", "status"),
    [(script, *row) for script, rows in COMMANDS.items() for row in rows],
)
def test_a_command_says_what_is_wrong(script, options, words, status, place, tiny, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *shlex.split(options.format(place=place))])
    logging.getLogger().handlers.clear()  # each command sets its own up
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
    if status == 2:  # the usage comes first
        assert stop.value.code == 2
        message = capsys.readouterr().err.splitlines()[-1]
        assert message.startswith(f"{script}.py: error: ")
        assert list(tiny.iterdir()) == [], "nothing was begun"
    else:  # Python prints the text, and exits with status 1
        message = stop.value.code
        assert message.startswith("error: ") and "in user code" not in message
        assert message.count("\n") == 0 or "Could not load" in message
    assert words.format(place=place) in message


# Calls -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def given(place):
    """What calls are given: a model, data, a recording, and small arrays."""
    data, rng = tiny_dataset(), np.random.default_rng(0)
    p = rng.normal(size=(30, 4)).astype(np.float32)
    spoilt = np.array(p)
    spoilt[3, 2] = np.nan
    records = nl.records.Records(place / "r.h5")
    return SimpleNamespace(
        place=place,
        model=keras.models.load_model(place / "net.keras", compile=False),
        data=data,
        x=data.x_test,
        y=data.y_test,
        p=p,
        nan=spoilt,
        c=np.where(p > 0, 1, -1),
        s=np.clip(p, -1, 1),
        k=np.arange(30) % 3,
        records=records,
        neuron=nl.dynamics.read(records, LAYER, [0])[0],
        film={"records_path": place / "r.h5", "layer": LAYER, "unit": 0, "path": place / "n.gif"},
    )


class Subclassed(keras.Model):
    """A model without a graph of layers."""

    def call(self, x):
        return x


def sigmoids():
    layers = [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3, "sigmoid")]
    return keras.Sequential(layers)


def quantized(given, x=None, y=None, layer=LAYER, **options):
    x, y = given.x if x is None else x, given.y if y is None else y
    return nl.evaluation.quantization_curve(given.model, layer, x, y, **options)


def windows(given, data=None, layer=LAYER, **options):
    options = {"readout": nl.evaluation.Retrain(epochs=1), "centers": [50], **options}
    return nl.evaluation.window_curve(given.model, layer, data or given.data, **options)


def train(given, model=None, data=None, **options):
    options = {"optimizer": "sgd", "epochs": 1, "progress": False, **options}
    return nl.training.train(model or given.model, data or given.data, **options)


def recorder(given, y=None, **options):
    y, options = given.y if y is None else y, {"path": given.place / "new.h5", **options}
    return nl.recording.ActivationGradientRecorder(given.x, y, **options)


def recorded(given, **options):
    return train(given, callbacks=[recorder(given, **options)])


def film(given, **options):
    return nl.videos.render(**{**given.film, **options})


def probe(given, x=None, y=None, **options):
    x, y = given.p if x is None else x, given.k if y is None else y
    return nl.probes.LinearProbe(**{"classes": 3, **options}).fit(x, y)


ev, stats, dyn = nl.evaluation, nl.statistics, nl.dynamics
DEEP = np.zeros((2, 2, 2))
NONE = "no neuron layer is called '{}'; the nearest of the 1 are hidden-relu"
NO_GRAPH = "'sub' is not a functional or Sequential model, so it cannot be cut in two; express it with"
NO_MODEL = "{} is no Keras model; give a keras.Model"
NOT_FINITE = "1 of 120 pre-activations are NaN or infinite (the first at index (3, 2)); check the network's"
IMAGES = "but the network takes images of shape (N, 4, 4, 1)"
LABEL = "label 3 of sample 1 in y is not in 0..2, the numbers of the 3 classes"

# (call, words of the message[, type of the error, ValueError unless given])
CALLS = [
    (lambda g: nl.data.load("mnits"), "Unknown data set 'mnits'. Did you mean mnist or mnist32?"),
    (lambda g: nl.data.load(None), "Unknown data set None. The data sets are mnist, fashion_mnist"),
    (lambda g: nl.data.load("mnist", g.place / "none"), "Could not load mnist. Tried, in this", DataError),
    (lambda g: nl.networks.mlp("rellu"), "activation 'rellu' is not known to Keras; give a name such as"),
    (lambda g: nl.networks.mlp("relu", hidden=3), "hidden is 3; give a sequence, such as [3]"),
    (lambda g: nl.networks.mlp("relu", input_shape=28), "input_shape is 28; give a sequence, such as"),
    (lambda g: nl.networks.cifar_cnn("relu", mean=[0], std=[1]), "mean has shape (1,) and std (1,); give"),
    (lambda g: nl.networks.cifar_cnn("relu", mean=[0] * 3, std=[0] * 3), "give finite numbers, std above 0"),
    (lambda g: nl.networks.cifar_cnn("relu", mean=["a"], std=[1]), "mean is ['a']; give real numbers"),
    (lambda g: nl.networks.cifar_cnn("relu", mean=[0] * 3), "give both, one number a channel, or neither"),
    (lambda g: nl.networks.cifar_cnn("relu", order="norm"), "order is 'norm'; it must be 'activation-norm'"),
    (lambda g: nl.networks.channel_statistics(g.x[:0]), "x has shape (0, 4, 4, 1) and type float32; give"),
    (lambda g: nl.networks.channel_statistics("a"), "give images (N, H, W, C), at least one"),
    (lambda g: nl.neurons.neuron_layers(None), NO_MODEL.format("NoneType")),
    (lambda g: nl.neurons.functional("net.keras"), NO_MODEL.format("str")),
    (lambda g: nl.neurons.choose_layers(g.model, ["hiden"]), NONE.format("hiden")),
    (lambda g: nl.neurons.choose_layers(g.model, []), "layers is empty; name at least one neuron layer"),
    (lambda g: nl.neurons.split_fused(Subclassed(name="sub")), NO_GRAPH),
    (lambda g: ev.truncate(Subclassed(name="sub"), LAYER), "sub"),
    (lambda g: ev.truncate(None, LAYER), NO_MODEL.format("NoneType")),
    (lambda g: ev.truncate(g.model, "hiden"), NONE.format("hiden")),
    (lambda g: ev.truncate(g.model, LAYER, 5), "has no output 5; it has 0"),
    (lambda g: quantized(g, layer="hiden"), NONE.format("hiden")),
    (lambda g: ev.quantization_curves(g.model, [], g.x, g.y), "layers is empty; name at least one"),
    (lambda g: ev.quantization_curves(g.model, LAYER, g.x, g.y), "layers is 'hidden-relu'; give a sequence"),
    (lambda g: quantized(g, y=g.y + 1), LABEL),
    (lambda g: quantized(g, y=g.y[:-1]), "y has shape (22,), but there are 23 samples; give one label"),
    (lambda g: quantized(g, y=g.y + 0.5), "y holds values of type float64 that are no whole numbers"),
    (lambda g: quantized(g, x=g.x[:, :3]), f"x has shape (23, 3, 4, 1), {IMAGES}"),
    (lambda g: quantized(g, x="x"), f"x has shape (), {IMAGES}"),
    (lambda g: quantized(g, x=g.x[:0], y=g.y[:0]), "x is empty; give at least one image"),
    (lambda g: quantized(g, x=g.x * np.nan), "image 0 of x holds NaN or infinite values (as float32)"),
    (lambda g: quantized(g, x=g.x.astype(object)), "x holds values of type object; give real numbers"),
    (lambda g: quantized(g, calibration=g.x[:0]), "the calibration set is empty; give at least one"),
    (lambda g: quantized(g, calibration=g.x[:, :2]), f"calibration set has shape (23, 2, 4, 1), {IMAGES}"),
    (lambda g: quantized(g, ranks=[]), "ranks have shape (0,); give at least one rank"),
    (lambda g: quantized(g, ranks=[[1, 2]]), "ranks have shape (1, 2); give at least one rank, in one"),
    (lambda g: quantized(g, ranks=[101]), "101 among the ranks is outside [0, 100]; percentile ranks are"),
    (lambda g: quantized(g, ranks=[50, 50]), "two of the ranks are 50, as printed with six digits; give"),
    (lambda g: quantized(g, ranks=["a"]), "ranks is ['a']; give real numbers"),
    (lambda g: quantized(g, ranks=[True]), "ranks is [True]; give real numbers"),
    (lambda g: quantized(g, metric="acuracy"), "there is no Keras metric called 'acuracy'; give another"),
    (lambda g: ev.accuracy(g.model, g.x, g.y[:3]), "y has shape (3,), but there are 23 samples; give one"),
    (lambda g: windows(g, readout="retrain"), "readout is 'retrain'; give evaluation.Retrain(...) or"),
    (lambda g: windows(g, data=(g.x, g.y)), "data is of type tuple and lacks x_train, y_train, x_test"),
    (lambda g: windows(g, layer="hiden"), NONE.format("hiden")),
    (lambda g: windows(g, centers=[3]), "the window of width 10 round 3 is -2 to 8, outside [0, 100]"),
    (lambda g: windows(g, centers=[50, 50.0000001]), "two of the centers are 50, as printed with six"),
    (lambda g: windows(g, centers="a"), "centers is 'a'; give real numbers"),
    (lambda g: windows(g, readout=ev.Probe(grid=2)), "a grid of 2 does not fit features with no positions"),
    (lambda g: windows(g, readout=ev.Probe(), metric="mse"), "a probe learns one class for each sample, and"),
    (lambda g: ev.quantize(g.nan, np.zeros(4)), NOT_FINITE),
    (lambda g: ev.quantize(g.p, np.zeros(3)), "thresholds have shape (3,), but there are 4 neurons on the"),
    (lambda g: ev.quantize(g.p, np.full(4, np.nan)), "thresholds hold NaN, on no side of which any value"),
    (lambda g: ev.quantize(g.p, "a"), "thresholds is 'a'; give real numbers"),
    (lambda g: ev.side_means(g.p[:0], np.zeros(4)), "pre-activations have shape (0, 4); give at least one"),
    (lambda g: ev.calibration_subset(g.x[:0]), "the calibration set is empty; give at least one training"),
    (lambda g: train(g, optimizer="sdg"), "sdg"),
    (lambda g: train(g, optimizer=None), "optimizer is None; give one of keras.optimizers, or its name"),
    (lambda g: train(g, data=(g.x, g.y)), "data is of type tuple and lacks x_train, y_train, x_test, y_test"),
    (lambda g: train(g, model=sigmoids()), "pass a sigmoid, so its logits are not known; end it in keras"),
    (lambda g: nl.training.evaluate(g.model, g.x, g.y + 1), LABEL),
    (lambda g: nl.training.evaluate(g.model, g.x, g.y[:-1]), "y has shape (22,), but there are 23 samples"),
    (lambda g: nl.training.evaluate(g.model, g.x[:0], g.y[:0]), "x is empty; give at least one image"),
    (lambda g: nl.recording.activation_derivatives(g.model, g.x, g.y, ["hiden"]), NONE.format("hiden")),
    (lambda g: nl.recording.activation_derivatives(g.model, g.x, g.y + 1), LABEL),
    (lambda g: nl.recording.activation_derivatives(g.model, g.x, g.y, loss="cros"), "no Keras loss called"),
    (lambda g: recorded(g, path=g.place / "r.h5"), "r.h5 exists already; give another path, overwrite=True"),
    (lambda g: recorded(g, layers=["hiden"]), NONE.format("hiden")),
    (lambda g: recorded(g, y=g.y[:3]), "there are 23 samples and 3 labels or further inputs; give as many"),
    (lambda g: recorded(g, keep=selection.Keep(positions=2)), "none of the layers has positions; leave it"),
    (lambda g: recorder(g, path=None), "path is None; give a path, such as 'run.h5'"),
    (
        lambda g: nl.claims.assess([{}]),
        "result 0 is no metrics.json (it lacks 'experiment'); give what",
    ),
    (lambda g: recorder(g, snapshots=12), "snapshots 12; give a Keep(...) and a Snapshots(...), as"),
    (lambda g: recorder(g, every="x"), "every is 'x'; give a whole number at least 1, of batches, or a func"),
    (lambda g: nl.recording.Snapshots(dtype="int8"), "the dtype of snapshots is 'int8'; give 'float16' or"),
    (lambda g: nl.records.Records(g.place / "none.h5"), "there is no records file at", RecordsError),
    (lambda g: nl.records.Records(g.place / "text"), "is not a readable HDF5 file of rec", RecordsError),
    (lambda g: nl.records.Records(g.place / "net.h5"), "not one of keras_neuronlevel's", RecordsError),
    (lambda g: g.records.average_sign("dense9"), "holds no layer 'dense9'; it holds", RecordsError),
    (lambda g: g.records.snapshots("dense9"), "holds no layer 'dense9'; it holds hidden", RecordsError),
    (lambda g: stats.percentiles(g.nan, [50]), NOT_FINITE),
    (lambda g: stats.percentiles(g.p[:, 0], [50]), "pre-activations have shape (30,); give at least one"),
    (lambda g: stats.percentiles(g.p[:0], [50]), "pre-activations have shape (0, 4); give at least one"),
    (lambda g: stats.percentile_rank(g.nan, 0.0), NOT_FINITE),
    (lambda g: stats.percentile_rank_of_zero(g.nan), NOT_FINITE),
    (lambda g: stats.streaming_percentiles([g.p], [50]), "give a function that gives the batches anew each"),
    (lambda g: stats.streaming_percentiles(lambda: [], [50]), "there are no pre-activations at all; give at"),
    (lambda g: stats.category_balance(g.s[:, 0]), "give values of shape (N, U) or (N, U, P); these have 1"),
    (lambda g: stats.sign_constancy(g.s[:, 0]), "give values of shape (N, U) or (N, U, P); these have 1"),
    (lambda g: stats.class_consistency(g.s, np.arange(30), 10), "label 10 of sample 10 in labels is not in"),
    (lambda g: stats.class_consistency(g.s, g.k[:3], 3), "labels has shape (3,), but there are 30 samples"),
    (lambda g: stats.auc(g.p, g.c[:3]), "pre-activations have shape (30, 4) and categories (3, 4); give"),
    (lambda g: stats.auc_by_side(g.p, g.c, np.nan), "split is NaN, on no side of which any value lies; give"),
    (lambda g: stats.auc_by_side(g.p, g.c, [0, 1]), "split has shape (2,); give a number or one a neuron"),
    (lambda g: stats.auc_by_side(g.p, g.c, "a"), "split is 'a'; give real numbers"),
    (lambda g: stats.rank_correlation(g.p, g.p[:3]), "the two recordings have shapes (30, 4) and (3, 4)"),
    (lambda g: stats.top_of_high(g.p, g.p[:3], g.c), "pre-activations have shape (3, 4) and categories"),
    (lambda g: stats.bimodality(g.s[:, 0]), "average signs have shape (N, U) or (N, U, P); these have 1"),
    (lambda g: stats.bootstrap_interval(DEEP), "values have shape (2, 2, 2); give (n,) or (n, D)"),
    (lambda g: stats.bootstrap_interval(["a", "b"]), "values is ['a', 'b']; give real numbers"),
    (lambda g: stats.interval_over_seeds([0.5], [[0.4, 0.6]]), "give (S,) and (S, 2) of at least two seeds"),
    (lambda g: stats.interval_over_seeds([0.5, 0.6], [["a", "b"]] * 2), "give real numbers"),
    (
        lambda g: stats.interval_over_seeds([0.5, 0.6], [[0.4, 0.6]] * 2, scale="log"),
        "scale is 'log'; give one of plain, share, correlation",
    ),
    (
        lambda g: stats.interval_over_seeds([0.5, 1.6], [[0.4, 0.6]] * 2, scale="share"),
        "a share lies in [0.0, 1.0]; the values are [0.5, 1.6]",
    ),
    (lambda g: probe(g, x=g.p[:, 0]), "features have shape (30,) and labels (30,); give (N, D) and (N,)"),
    (lambda g: probe(g, y=g.k + 1), "label 3 of sample 2 in labels is not in 0..2, the numbers of the 3"),
    (lambda g: probe(g, x=g.nan), "features hold NaN or infinite values; a probe cannot be fitted to them"),
    (lambda g: probe(g, x=g.p[:1], y=g.k[:1]), "1 sample(s) are too few for a probe; give at least 2"),
    (lambda g: probe(g, strengths=[]), "strengths is empty; give at least one"),
    (lambda g: probe(g, strengths=1), "strengths is 1; give a sequence, such as [1]"),
    (lambda g: probe(g, strengths=[-1]), "a strength is -1; give a number above 0"),
    (lambda g: nl.probes.LinearProbe(3).predict(g.p), "the probe was not fitted yet; call fit(x, y) first"),
    (lambda g: probe(g).predict(g.p[:, :3]), "features have shape (30, 3); give (N, 4), as those of the fit"),
    (lambda g: probe(g).evaluate(g.p, g.k - 1), "label -1 of sample 0 in labels is not in 0..2"),
    (lambda g: nl.probes.pool(np.zeros((2, 4, 4, 3)), 5), "a grid of 5 does not fit features with 4 x 4 pos"),
    (lambda g: nl.probes.pool(g.p, 2), "a grid of 2 does not fit features with no positions; give a whole"),
    (lambda g: dyn.read(g.records, LAYER, [99]), "neuron 99 of hidden-relu has no snapshots of its pre-act"),
    (lambda g: dyn.read(g.records, LAYER, 3), "units is 3; give a sequence, such as [3]"),
    (lambda g: dyn.read(g.records, "dense9", [0]), "holds no layer 'dense9'; it holds hid", RecordsError),
    (lambda g: dyn.panels(g.neuron, []), "the moments are []; give indices of snapshots, at least one, in"),
    (lambda g: dyn.panels(g.neuron, [99]), "a moment is 99; give a whole number at least 0 and at most 0"),
    (lambda g: dyn.subtask(g.neuron, "rellu"), "activation 'rellu' is not known to Keras; give a name"),
    (lambda g: film(g, layer="dense3"), "no layer 'dense3'; it holds hidden-relu", RecordsError),
    (lambda g: film(g, unit=99), "neuron 99 of hidden-relu has no snapshots of its pre-activations in"),
    (lambda g: film(g, path=g.place / "n.avi"), "a video is a .gif or an .mp4 file; "),
    (lambda g: film(g, path=g.place / "n"), "n is neither"),
    (lambda g: film(g, records_path=g.place / "none.h5"), "there is no records file at ", RecordsError),
    (lambda g: nl.report.write(g.place / "none"), "run an experiment first, or name its folder (--results)"),
    (lambda g: results.read(g.place / "none.json"), "none.json cannot be read (No such file or directory)"),
    (lambda g: results.path("dynamics", "change/au"), "dynamics has no number 'change/au'; nearest: change/"),
]


@pytest.mark.parametrize(
    ("call", "words", "error"), [(*row, ValueError) if len(row) == 2 else row for row in CALLS]
)
def test_a_call_says_what_is_wrong(call, words, error, given):
    with pytest.raises(error) as found:
        call(given)
    message = str(found.value)
    assert words in message and "in user code" not in message
    assert "\n" not in message or "Could not load" in message
    assert not (given.place / "n.gif").exists() and not (given.place / "new.h5").exists()


# Numbers ---------------------------------------------------------------------------------------------

BELOW = ["a", None, math.nan, True, -1, math.inf, 1j, 10**400]
COUNT = [*BELOW, 1.5]
POSITIVE = [*COUNT, 0]
OPTIONAL = [value for value in COUNT if value is not None]


def one_map(given, keep=None, samples=10, **snapshots):
    keep, plan = nl.recording.Keep(**keep or {}), nl.recording.Snapshots(**snapshots)
    return selection.select({"map": (4, 4, 4)}, samples, keep, plan)


# (function of what is given and of numbers, {number: what it must not be})
NUMBERS = [
    (
        lambda g, **n: ev.Retrain(**n),
        {"epochs": POSITIVE, "batch_size": POSITIVE, "patience": POSITIVE, "decays": COUNT},
    ),
    (
        lambda g, **n: ev.Retrain(**n),
        {
            "learning_rate": [*BELOW, 0],
            "decay": [*BELOW, 0, 1.1],
            "held_out": [*BELOW, 0, 1],
            "average": [*BELOW, 1],
        },
    ),
    (lambda g, **n: ev.Probe(**n), {"grid": POSITIVE, "held_out": [*BELOW, 0, 1], "classes": OPTIONAL}),
    (lambda g, **n: ev.accuracy(g.model, g.x, g.y, **n), {"batch_size": COUNT}),
    (lambda g, **n: ev.calibration_subset(g.x, **n), {"size": COUNT, "seed": COUNT}),
    (lambda g, **n: ev.calibrate(ev.truncate(g.model, LAYER), g.x, [50], **n), {"batch_size": COUNT}),
    (lambda g, **n: ev.calibrate(ev.truncate(g.model, LAYER), g.x, [50], **n), {"in_memory": BELOW}),
    (quantized, {"calibration_size": COUNT, "batch_size": COUNT, "seed": COUNT, "in_memory": BELOW}),
    (windows, {"width": [*BELOW, 0, 100.5], "repeats": POSITIVE, "seed": COUNT, "calibration_size": COUNT}),
    (windows, {"max_train_samples": OPTIONAL, "in_memory": BELOW}),
    (lambda g, **n: nl.networks.mlp("relu", **n), {"dropout": BELOW, "num_classes": COUNT}),
    (lambda g, **n: nl.networks.mlp("relu", **n), {"seed": [*OPTIONAL, 2**32]}),
    (lambda g, size: nl.networks.mlp("relu", hidden=[size]), {"size": COUNT}),
    (lambda g, side: nl.networks.mlp("relu", input_shape=(4, side)), {"side": COUNT}),
    (lambda g, **n: nl.networks.cifar_cnn("relu", **n), {"filters": COUNT, "seed": OPTIONAL}),
    (train, {"epochs": POSITIVE, "batch_size": POSITIVE, "seed": COUNT, "checkpoint_every": BELOW}),
    (lambda g, **n: nl.training.evaluate(g.model, g.x, g.y, **n), {"batch_size": POSITIVE}),
    (probe, {"classes": COUNT, "held_out": BELOW, "seed": COUNT, "max_iterations": COUNT}),
    (probe, {"tolerance": [*BELOW, 0]}),
    (lambda g, strength: probe(g, strengths=[strength]), {"strength": [*BELOW, 0]}),
    (lambda g, **n: nl.probes.pool(DEEP[:, None], **n), {"grid": POSITIVE}),
    (recorder, {"every": POSITIVE, "batch_size": POSITIVE}),
    (lambda g, **n: recorder(g).recording(g.model, **n).__enter__(), {"epochs": COUNT, "steps": OPTIONAL}),
    (lambda g, **n: nl.recording.activation_derivatives(g.model, g.x, g.y, **n), {"batch_size": COUNT}),
    (lambda g, **n: nl.recording.Keep(**n), {"memory_budget": [*BELOW, 0], "seed": [*COUNT, 2**32]}),
    (lambda g, **n: one_map(g, keep=n), {"neurons": [*OPTIONAL, 5], "positions": [*OPTIONAL, 17]}),
    (one_map, {"samples": COUNT, "recordings": POSITIVE, "neurons": COUNT, "positions": COUNT}),
    (lambda g, **n: schedules.due(**n), {"every": POSITIVE}),
    (lambda g, total: schedules.snapshot_recordings(3, total), {"total": OPTIONAL}),
    (lambda g, recording: schedules.snapshot_recordings([recording], 9), {"recording": COUNT}),
    (lambda g, **n: schedules.planned_recordings(bool, **{"epochs": 1, "steps": 2, **n}), {"steps": COUNT}),
    (lambda g, **n: streams.generator(name="bootstrap", **n), {"seed": COUNT}),
    (lambda g, **n: stats.auc(g.p, g.c, **n), {"fewest": COUNT}),
    (lambda g, **n: stats.auc_by_side(g.p, g.c, **n), {"fewest": COUNT}),
    (lambda g, **n: stats.category_accuracy(g.p, g.c, **n), {"fewest": COUNT}),
    (lambda g, **n: stats.top_of_high(g.p, g.p, g.c, **n), {"share": [*BELOW, 0, 1.1]}),
    (lambda g, **n: stats.bootstrap_interval(g.p[:, 0], **n), {"level": [*BELOW, 95], "resamples": POSITIVE}),
    (lambda g, **n: stats.bootstrap_interval(g.p[:, 0], **n), {"seed": COUNT}),
    (lambda g, **n: stats.class_consistency(g.s, g.k, **n), {"num_classes": COUNT}),
    (lambda g, **n: stats.fair_sign_edges([-1, 0, 1], **n), {"recordings": POSITIVE}),
    (lambda g, **n: stats.sign_edges(**{"recordings": 5, **n}), {"recordings": COUNT, "bins": POSITIVE}),
    (lambda g, **n: stats.sign_constancy(g.s, **n), {"threshold": [*BELOW, 1.1]}),
    (lambda g, **n: stats.streaming_percentiles(lambda: [g.p], [50], **n), {"bins": POSITIVE}),
    (lambda g, **n: dyn.random_units(g.records, LAYER, **n), {"count": POSITIVE, "seed": COUNT}),
    (lambda g, unit: dyn.read(g.records, LAYER, [unit]), {"unit": COUNT}),
    (lambda g, **n: dyn.moments(g.neuron.recordings, **n), {"count": POSITIVE}),
    (lambda g, moment: dyn.panels(g.neuron, [moment]), {"moment": COUNT}),
    (lambda g, **n: dyn.panels(g.neuron, **n), {"bins": POSITIVE}),
    (lambda g, **n: dyn.subtask(g.neuron, "relu", **n), {"bins": POSITIVE}),
    (lambda g, **n: dyn.high_share_by_decile(g.p[:, 0], g.c[:, 0], **n), {"groups": POSITIVE}),
    (film, {"fps": [*BELOW, 0, 51], "width": [*COUNT, 20, 5000]}),
]


@pytest.mark.parametrize(
    ("call", "name", "value"),
    [(call, name, value) for call, bad in NUMBERS for name, values in bad.items() for value in values],
    ids=lambda part: f"{part!r:.10}" if not callable(part) else part.__name__,
)
def test_a_number_of_a_wrong_type_or_size_is_named(call, name, value, given):
    with pytest.raises(ValueError) as found:
        call(given, **{name: value})
    message = str(found.value)
    assert "\n" not in message and len(message) < 200
    if "has no snapshots" not in message:
        assert name in message and f"is {value!r:.40}; give a " in message


def test_there_are_enough_rows():
    """Every script and hundreds of ways to get something wrong."""
    assert set(COMMANDS) == {path.stem for path in SCRIPTS.glob("*.py")}
    assert sum(map(len, COMMANDS.values())) >= 120 and len(CALLS) >= 100
