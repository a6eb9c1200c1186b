"""experiments/mnist_mlp.py and the pipeline behind it, at a tiny size."""

import csv
import dataclasses
import functools
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import made
import matplotlib.image
import numpy as np
import pytest

from keras_neuronlevel import claims, files, networks, papers, recording, report, results, training
from keras_neuronlevel import data as datasets
from keras_neuronlevel.protocol import cli, figures, pipeline, runs
from keras_neuronlevel.records import Records

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "experiments" / "mnist_mlp.py"
ROW = papers.EXPERIMENTS["mnist_mlp"]
TINY = papers.Preset("quick", epochs=2, every=3, samples=40, batch_size=16, record_batch_size=25)
PICTURES = (
    "average_sign_one_neuron.png",
    "average_sign_all_neurons.png",
    "class_consistency.png",
    "dynamics.png",
    "subtasks.png",
    "training_curves.png",
)


def load_script():
    spec = importlib.util.spec_from_file_location("mnist_mlp_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Script:
    """The experiment script on tiny data: ``run(*arguments)`` as the command line would."""

    def __init__(self, monkeypatch, folder, data):
        self.monkeypatch, self.folder = monkeypatch, folder
        self.module = load_script()
        monkeypatch.setattr(datasets, "load", lambda name, data_dir=None: data)
        monkeypatch.setitem(ROW.presets, "quick", TINY)

    def run(self, *arguments):
        argv = [str(SCRIPT), "--preset", "quick", "--experiments", "derivatives", "--output-dir"]
        self.monkeypatch.setattr(sys, "argv", [*argv, str(self.folder), *arguments])
        self.module.main()

    def metrics(self):
        return json.loads((self.folder / "metrics.json").read_text())

    def trained(self):
        """Names and times of everything that training writes."""
        return {p.name: p.stat().st_mtime_ns for p in (self.folder / "runs").iterdir()}


@pytest.fixture
def drawing(monkeypatch, tmp_path, make_data):
    """The script as it is, figures and all."""
    small = make_data(image_shape=(28, 28, 1), train=70, test=20, classes=10, name="mnist")
    return Script(monkeypatch, tmp_path / "out", small)


@pytest.fixture
def script(drawing, undrawn):
    return drawing


def loop_shares(s):
    """Low share, |s| = 1 and |s| > 0.9 of each neuron, by loops; their means over neurons."""
    low, constant, above = [], [], []
    for u in range(s.shape[1]):
        column = [float(v) for v in s[:, u] if v == v]
        signs = [v > 0 for v in column if v]
        if signs:
            low.append(sum(signs) / len(signs))
        if column:
            constant.append(sum(abs(v) == 1 for v in column) / len(column))
            above.append(sum(abs(v) > 0.9 for v in column) / len(column))
    return np.mean(low), np.mean(constant), np.mean(above)


@pytest.mark.slow
def test_the_experiment_from_start_to_end(drawing, capsys):
    script = drawing
    script.run("--activation", "relu", "sigmoid")
    metrics = script.metrics()
    assert metrics["complete"] is True and metrics["experiment"] == "mnist_mlp"
    assert results.preset(metrics) == "quick" and metrics["seed"] == 0
    assert list(metrics["networks"]) == ["mlp-relu", "mlp-sigmoid"]
    printed = capsys.readouterr().out
    for activation in ("relu", "sigmoid"):
        network = metrics["networks"][f"mlp-{activation}"]
        # 70 images are 5 batches of 16; batches 0 and 3 of each of 2 epochs are recorded
        assert network["training"]["recordings"] == 4 and network["training"]["samples"] == 40
        assert network["training"]["config"]["epochs"] == 2
        assert len(network["training"]["history"]["loss"]) == 2
        assert network["training"]["test_accuracy"] == network["training"]["history"]["val_accuracy"][-1]
        with Records(script.folder / "runs" / f"mnist-mlp-{activation}-quick-seed0.h5") as records:
            assert records.recordings["batch"].tolist() == [0, 3, 0, 3]
            for layer in records.layers:
                found = network["layers"][layer]["derivatives"]
                assert network["layers"][layer]["dynamics"]["recordings"] == [0, 1, 2, 3]
                s = records.average_sign(layer)
                assert found["neurons"] == 512 and found["pairs"] == 40 * 512
                low, constant, above = loop_shares(s)
                assert found["low_share"]["mean"] == pytest.approx(low, abs=1e-5)
                assert found["constant_share"]["mean"] == pytest.approx(constant, abs=1e-5)
                assert found["above_0.9_share"]["mean"] == pytest.approx(above, abs=1e-5)
                assert found["undefined_share"] == pytest.approx(np.isnan(s).mean(), abs=1e-5)
                line = next(line for line in printed.splitlines() if line.split()[1:2] == [layer])
                assert f"{constant:.3f}" in line and f"{above:.3f}" in line and f"{low:.3f}" in line
    for name in PICTURES:
        picture = matplotlib.image.imread(script.folder / name)
        assert min(picture.shape[:2]) > 200
        dark = (picture[..., :3].min(axis=-1) < 0.9).mean()
        assert 0.01 < dark < 0.9
    assert {p.name for p in script.folder.iterdir()} == {
        *PICTURES,
        "metrics.json",
        "neurons.json",
        "runs",
    }


@pytest.mark.slow
def test_the_clipped_loss_is_recorded_in_the_same_training(script):
    """Against the files; and the exact loss's numbers and the weights are those of a run without it."""
    relu = ("--activation", "relu")
    script.run(*relu)

    def weights():
        return keras.models.load_model(
            folder / "mnist-mlp-relu-quick-seed0.keras", compile=False
        ).get_weights()

    def layers():
        return script.metrics()["networks"]["mlp-relu"]["layers"]

    folder, plain = script.folder / "runs", layers()
    clipped, before = folder / "mnist-mlp-relu-quick-seed0.clipped.h5", weights()
    assert not clipped.exists()
    with pytest.raises(ValueError, match="trained without recording the clipped loss.*give --force"):
        script.run(*relu, "--experiments", "clipped")
    script.run(*relu, "--experiments", "derivatives", "clipped", "--force")
    for one, other in zip(before, weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    numbers = layers()
    with Records(clipped) as records:
        for layer in records.layers:
            assert numbers[layer]["derivatives"] == plain[layer]["derivatives"]
            found, total = numbers[layer]["clipped"], len(records.recordings)
            _, constant, above = loop_shares(records.average_sign(layer))
            assert found["left_out"]["constant_share"]["mean"] == pytest.approx(constant, abs=1e-5)
            assert found["left_out"]["above_0.9_share"]["mean"] == pytest.approx(above, abs=1e-5)
            _, constant, above = loop_shares(records.sign_sum(layer) / total)
            assert found["counted"]["constant_share"]["mean"] == pytest.approx(constant, abs=1e-5)
            assert found["recordings"] == total == 4
    report.write(script.folder)
    text = (script.folder / "REPORT.md").read_text()
    assert "Recorded so in the same training, that share differs by" in text and "(At reduced scale.)" in text
    script.run(*relu, "--experiments", "clipped", "--remeasure")
    assert layers() == numbers
    script.run(*relu, "--force")
    assert not clipped.exists() and "clipped" not in layers()["dense1-relu"]


@pytest.mark.slow
def test_the_first_network_is_measured_and_drawn_before_the_second_is_trained(script, monkeypatch):
    train, drawn = runs.train_and_record, {}

    def note(name, found):
        drawn.setdefault(name, []).append([getattr(one, "label", one) for one in found])

    for name in ("derivative_figures", "dynamics_figures", "evaluation_figures"):
        noted = functools.partial(note, name)
        monkeypatch.setattr(figures, name, lambda found, *args, noted=noted, **kwargs: noted(found))

    def once(spec, *args, **options):
        if spec.label == "mlp-linear":
            raise KeyboardInterrupt
        return train(spec, *args, **options)

    monkeypatch.setattr(runs, "train_and_record", once)
    command = ["--activation", "relu", "linear", "--experiments", "derivatives", "quantization"]
    with pytest.raises(KeyboardInterrupt):
        script.run(*command)
    assert list(drawn.values()) == [[["mlp-relu"]]] * 2 and not script.metrics()["complete"]
    (layers,) = (network["layers"] for network in script.metrics()["networks"].values())
    assert all({"derivatives", "dynamics"} <= set(found) for found in layers.values())
    assert all("quantization" in layers[layer] for layer in ("dense1-relu", "dense2-relu"))
    monkeypatch.setattr(runs, "train_and_record", train)
    script.run(*command)
    script.run(*command)  # what is finished is drawn from the first on
    assert drawn["derivative_figures"] == [["mlp-relu"], ["mlp-relu"], *[["mlp-relu", "mlp-linear"]] * 3]
    assert drawn["dynamics_figures"] == drawn["derivative_figures"]
    assert drawn["evaluation_figures"] == [["mlp-relu", "mlp-linear"]] * 2
    assert script.metrics()["complete"]
    drawn.clear()  # one network is measured again: no finished picture loses the other
    script.run("--activation", "linear", "--experiments", "derivatives", "quantization")
    assert all(found == [["mlp-relu", "mlp-linear"]] for found in drawn.values()) and len(drawn) == 3
    assert set(json.loads((script.folder / "neurons.json").read_text())["networks"]) == {
        "mlp-relu",
        "mlp-linear",
    }
    (script.folder / "runs" / "mnist-mlp-relu-quick-seed0.h5").unlink()
    drawn.clear()  # without its records only its numbers can be drawn
    script.run("--activation", "linear", "--experiments", "derivatives", "quantization")
    assert drawn["derivative_figures"] == drawn["dynamics_figures"] == [["mlp-linear"]]
    assert drawn["evaluation_figures"] == [["mlp-relu", "mlp-linear"]]


@pytest.mark.slow
def test_finished_work_is_not_done_again_unless_forced(script):
    script.run("--activation", "linear")
    first, numbers = script.trained(), script.metrics()
    assert set(first) == {f"mnist-mlp-linear-quick-seed0.{end}" for end in ("keras", "h5", "json")}
    seconds = numbers.pop("seconds")  # of a command that did all of it at once
    total, first_figures = seconds.pop("total"), seconds.pop("first figures after")
    assert set(seconds) == {"planning", "training and recording", "measuring and drawing"}
    assert 0 < first_figures < total and 0.5 * total < sum(seconds.values()) <= total

    def never(*arguments, **options):
        raise AssertionError("trained again")

    with script.monkeypatch.context() as patch:
        patch.setattr(training, "train", never)
        script.run("--activation", "linear")
        assert script.trained() == first
        again = script.metrics()
        assert "seconds" not in again  # it trained nothing
        for found in (again, numbers):
            found["networks"]["mlp-linear"].pop("measured")  # when: that differs
        assert again["networks"] == numbers["networks"]
        with pytest.raises(AssertionError, match="trained again"):
            script.run("--activation", "linear", "--force")
    assert script.trained() == first
    script.run("--activation", "linear", "--force")
    assert set(script.trained()) == set(first)
    assert script.trained() != first
    found = script.metrics()["networks"]["mlp-linear"]
    assert found["layers"] == numbers["networks"]["mlp-linear"]["layers"]  # the same seed, the same numbers


@pytest.mark.parametrize(("takes", "calls"), [(0.4, 4), (2.0, 2), (0.001, 21)])
def test_a_plan_times_calls_for_about_a_second(takes, calls, monkeypatch):
    now, done = [0.0], []

    def call():
        now[0] += takes
        done.append(now[0])
        return 0.0

    monkeypatch.setattr(runs.time, "perf_counter", lambda: now[0])
    assert runs._seconds(call, 20) == pytest.approx(takes)
    assert len(done) == calls  # the first one traces


def small_spec(**config):
    import keras

    def build():
        return networks.mlp("relu", hidden=(4,), input_shape=(4, 4, 1), num_classes=3, seed=0)

    optimizer = functools.partial(keras.optimizers.SGD, 0.5)
    return runs.Spec("net", "net", ROW.network("relu"), build, optimizer, TINY, config, 0)


@pytest.mark.slow
def test_finished_networks_are_measured_again_without_training(script, monkeypatch):
    options = ("--activation", "linear", "--experiments", "quantization")
    with pytest.raises(ValueError, match="mnist-mlp-linear-quick-seed0 is not finished; run the same"):
        script.run(*options, "--remeasure")
    script.run(*options)
    trained, before = script.trained(), script.metrics()
    kept = script.folder / "runs" / "mnist-mlp-linear-quick-seed0.quantization.json"
    damaged = json.loads(kept.read_text())
    damaged["dense1-linear"]["accuracy"] = [0.5] * 11
    kept.write_text(json.dumps(damaged))
    monkeypatch.setattr(training, "train", None)
    script.run(*options)
    layer = script.metrics()["networks"]["mlp-linear"]["layers"]["dense1-linear"]
    assert layer["quantization"]["accuracy"] == [0.5] * 11, "what is kept is taken"
    script.run(*options, "--remeasure")
    after = script.metrics()["networks"]["mlp-linear"]["layers"]
    assert after == before["networks"]["mlp-linear"]["layers"]
    assert {name: t for name, t in script.trained().items() if name != kept.name} == {
        name: t for name, t in trained.items() if name != kept.name
    }


def asked(metrics):
    """{(claim, network, layer, quantity)} that claims found in a result."""
    return {
        (item.claim.id, piece.network, piece.layer, piece.quantity)
        for item in claims.assess([metrics])
        for piece in item.evidence
    }


def known(value):
    """The same, with a value where a tiny run has none (no neuron qualifies) and networks that learned."""
    if isinstance(value, dict) and "quartiles" in value and value["mean"] is None:
        return made.spread(0.5)
    if isinstance(value, dict):
        learned = {"baseline_accuracy": 0.9} if "baseline_accuracy" in value else {}
        return {key: known(item) for key, item in value.items()} | learned
    return [known(item) for item in value] if isinstance(value, list) else value


@pytest.mark.slow
def test_everything_that_a_claim_wants_is_measured(script):
    """From a tiny real run through measures, claims and report, beside a result that has every number."""
    tiny = dataclasses.replace(TINY, window_centers=(5, 50, 95), window_samples=20, window_epochs=1)
    script.monkeypatch.setitem(ROW.presets, "quick", tiny)
    script.run("--experiments", "derivatives", "quantization", "window")
    metrics = results.read(script.folder / "metrics.json")
    assert asked(made.mnist()) <= asked(known(metrics))
    report.write(script.folder)
    with (script.folder / "evidence.csv").open(newline="") as table:
        written = {
            (row["claim"], row["network"], row["layer"], row["quantity"]) for row in csv.DictReader(table)
        }
    assert {(*place, layer or "", quantity) for *place, layer, quantity in asked(metrics)} <= written


@pytest.mark.slow
def test_numbers_of_the_same_training_are_kept(script, monkeypatch):
    stamps = iter("abcde")
    collect = pipeline.provenance.collect
    monkeypatch.setattr(pipeline.provenance, "collect", lambda: {**collect(), "commit": next(stamps)})

    def network(name):
        return script.metrics()["networks"][name]

    script.run("--activation", "relu")
    before = network("mlp-relu")["layers"]["dense1-relu"]
    script.run("--activation", "relu", "--experiments", "quantization")
    layer = network("mlp-relu")["layers"]["dense1-relu"]
    assert "quantization" not in before and set(layer) == {*before, "quantization"}
    assert layer["derivatives"] == before["derivatives"]
    script.run("--activation", "linear", "--experiments", "quantization")
    assert network("mlp-relu")["layers"]["dense1-relu"] == layer, "another network's numbers stay"
    commits = {kind: stamp["commit"] for kind, stamp in network("mlp-relu")["measured"].items()}
    assert commits == {"derivatives": "a", "dynamics": "a", "quantization": "b"}
    script.run("--activation", "relu")
    commits = {kind: stamp["commit"] for kind, stamp in network("mlp-relu")["measured"].items()}
    assert commits == {"derivatives": "a", "dynamics": "a", "quantization": "b"}, "nothing has changed"
    script.run("--activation", "relu", "--experiments", "quantization", "--force")
    assert set(network("mlp-relu")["layers"]["dense1-relu"]) == {"quantization"}
    assert list(script.metrics()["networks"]) == ["mlp-relu", "mlp-linear"]


def test_a_run_made_otherwise_is_not_taken(data, tmp_path):
    made = runs.train_and_record(small_spec(epochs=2, rate=0.5), data, tmp_path, progress=False)
    assert made.summary["config"] == {"epochs": 2, "rate": 0.5}
    with pytest.raises(ValueError, match=r"differs in rate \(0.5, now 0.25\); give another"):
        runs.train_and_record(small_spec(epochs=2, rate=0.25), data, tmp_path, progress=False)
    forced = runs.train_and_record(
        small_spec(epochs=2, rate=0.25), data, tmp_path, force=True, progress=False
    )
    assert forced.summary["config"]["rate"] == 0.25


def test_a_folder_is_a_runs_from_its_start(script, monkeypatch):
    """Another seed in the folder of a training that was interrupted is refused before anything is done."""

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        script.run("--activation", "linear")
    before = script.metrics()
    assert before["networks"] == {} and not before["complete"]
    monkeypatch.setattr(training, "train", None)
    for more in ((), ("--force",)):
        with pytest.raises(
            ValueError, match="of seed 0, and this one is of seed 1; give another --output-dir"
        ):
            script.run("--activation", "linear", "--seed", "1", *more)
    assert script.metrics() == before
    (warning,) = report.gather.find(script.folder).warnings
    assert warning == "metrics.json has no network yet; it is left out"


def test_a_damaged_summary_of_a_finished_run_is_named(data, tmp_path):
    runs.train_and_record(small_spec(), data, tmp_path, progress=False)
    path = tmp_path / "net.json"
    sound = json.loads(path.read_text())
    for damage, words in (
        (
            {"test_accuracy": 7.5},
            "it/test_accuracy should be a number from 0 to 1, or null; it is 7.5; delete",
        ),
        ({"history": []}, "it/history should be an object"),
        ({"name": None}, "it/name should be text"),
        ({"seconds": {"training": "long"}}, "it/seconds/training should be a number"),
    ):
        path.write_text(json.dumps({**sound, **damage}))
        with pytest.raises(ValueError, match=f"net.json is damaged: {words}"):
            runs.finished(small_spec(), tmp_path)
    path.write_text(json.dumps({key: sound[key] for key in ("config", "name")}))
    with pytest.raises(ValueError, match="net.json is damaged: it lacks 'history'; give --force to train"):
        runs.finished(small_spec(), tmp_path)
    for text in ("", "[]", "{}", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(
            ValueError, match="^[^\n]*net.json [^\n]*; delete it, and what it holds is computed"
        ):
            runs.finished(small_spec(), tmp_path)


def test_a_configuration_with_long_numbers_is_recognized(data, tmp_path):
    config = {"rate": 1 / 3, "decay": 1e-8, "filters": (2, 4), "nothing": None}
    runs.train_and_record(small_spec(**config), data, tmp_path, progress=False)
    assert runs.finished(small_spec(**config), tmp_path) is not None


@pytest.mark.parametrize("moment", ["the model is saved", "the summary is written"])
def test_an_interrupted_run_is_not_finished_and_goes_on(moment, data, tmp_path, monkeypatch):
    wanted = runs.train_and_record(small_spec(), data, tmp_path / "undisturbed", progress=False)

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    folder = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(runs.files, {"the model is saved": "replacing"}.get(moment, "write_json"), stop)
        with pytest.raises(KeyboardInterrupt):
            runs.train_and_record(small_spec(), data, folder, progress=False)
    assert runs.finished(small_spec(), folder) is None
    files.partial_path(folder / "net.h5").write_text("left over")
    run = runs.train_and_record(small_spec(), data, folder, progress=False)
    assert run.summary["history"] == wanted.summary["history"]
    assert {p.name for p in folder.iterdir()} == {"net.keras", "net.h5", "net.json"}
    for found, expected in zip(run.model().get_weights(), wanted.model().get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_a_missing_file_of_a_finished_run_is_named_and_not_made_again(ending, data, tmp_path):
    runs.train_and_record(small_spec(), data, tmp_path, progress=False)
    (tmp_path / f"net.{ending}").unlink()
    left = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=f"net.{ending} is missing; put it back, or give --force"):
        runs.train_and_record(small_spec(), data, tmp_path, progress=False)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == left
    runs.train_and_record(small_spec(), data, tmp_path, progress=False, force=True)
    assert runs.finished(small_spec(), tmp_path) is not None


def test_force_replaces_a_finished_run_only_when_the_new_one_is_complete(data, tmp_path, monkeypatch):
    made = runs.train_and_record(small_spec(), data, tmp_path, progress=False)
    evaluation = tmp_path / "net.quantization.dense1-relu.json"
    evaluation.write_text("{}")
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    class Killed(BaseException):
        pass

    def die(*arguments, **options):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(runs.training, "evaluate", die)
        with pytest.raises(Killed):
            runs.train_and_record(small_spec(), data, tmp_path, progress=False, force=True)
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {name: found[name] for name in left} == left
    assert runs.finished(small_spec(), tmp_path).summary == made.summary
    again = runs.train_and_record(small_spec(), data, tmp_path, progress=False, force=True)
    assert again.summary["history"] == made.summary["history"] and not evaluation.exists()


def test_the_saved_model_is_the_trained_one(data, tmp_path):
    run = runs.train_and_record(small_spec(), data, tmp_path, progress=False)
    accuracy = training.evaluate(run.model(), data.x_test, data.y_test).accuracy
    assert accuracy == pytest.approx(run.summary["test_accuracy"], abs=1e-6)
    with Records(run.records_path) as records:
        index = runs.recorded_samples(data, 40, 0)
        np.testing.assert_array_equal(records.sample_index, index)
        np.testing.assert_array_equal(records.labels, data.y_train[index])


def test_recorded_samples_come_from_the_seed(data):
    chosen = runs.recorded_samples(data, 20, 5)
    assert len(set(chosen.tolist())) == 20 and chosen.tolist() == sorted(chosen)
    np.testing.assert_array_equal(chosen, runs.recorded_samples(data, 20, 5))
    assert chosen.tolist() != runs.recorded_samples(data, 20, 6).tolist()
    assert runs.recorded_samples(data, 999, 5).tolist() == list(range(50))


def test_the_plan_counts_recordings(data):
    plan = runs.estimate(small_spec(), data)  # 50 images: 4 batches, of which 0 and 3 are recorded
    assert plan["recordings"] == 4
    assert plan["training"] > 0 and plan["recording"] > 0


@pytest.mark.parametrize("free, rows", [(10, 1), (2**40, 2)])
def test_the_plan_times_as_many_batches_at_once_as_the_recorder_takes(data, monkeypatch, free, rows):
    found = []

    class Spied(runs.Recordings):
        def __init__(self, *args, at_once, **options):
            found.append(at_once)
            super().__init__(*args, at_once=at_once, **options)

    monkeypatch.setattr(runs, "Recordings", Spied)
    monkeypatch.setattr(recording.memory, "processors", lambda: 2)
    monkeypatch.setattr(recording.memory, "available_memory", lambda: free)
    runs.estimate(small_spec(), data)
    assert found == [rows]


# Presets -------------------------------------------------------------------------------------------


def test_presets_say_what_the_papers_say():
    paper, reduced = ROW.presets["paper"], ROW.presets["reduced"]
    assert (paper.epochs, paper.every, paper.samples, paper.batch_size) == (50, 10, 30_000, 128)
    assert dataclasses.replace(reduced, name="paper", size=paper.size, every=10) == paper
    assert reduced.every == 100 and ROW.presets["quick"].samples == 30_000
    assert load_script().RATES == {"relu": 0.1, "sigmoid": 1.0, "linear": 1e-3}


def test_a_quarter_is_the_papers_scale_with_fewer_epochs_and_no_limit_that_readouts_meet():
    paper, quarter = papers.presets.CIFAR["paper"], papers.presets.CIFAR["quarter"]
    same = dataclasses.replace(quarter, name="paper", size=paper.size, epochs=100, window_epochs=100)
    assert same == paper and quarter.epochs == 25 and quarter.window_epochs == 400
    # It is of the size of `reduced`, which stays what a machine without a GPU takes.
    assert papers.choose(papers.presets.CIFAR, "auto", "")[0].name == "reduced"


@pytest.mark.parametrize("row", papers.EXPERIMENTS.values(), ids=lambda row: row.name)
def test_only_the_quick_preset_decides_nothing(row):
    described = {name: preset.described() for name, preset in row.presets.items()}
    between = {"quarter": True} if row.name.startswith("cifar10") else {}
    assert {name: found["decides"] for name, found in described.items()} == {
        "paper": True, "reduced": True, **between, "quick": False,
    }  # fmt: skip
    assert all(found["name"] == name for name, found in described.items())


@pytest.mark.parametrize(
    ("name", "gpu", "chosen", "because"),
    [
        ("auto", "", "reduced", "no GPU"),
        ("auto", "Some GPU", "paper", "Some GPU"),
        ("quick", "Some GPU", "quick", "as asked"),
    ],
)
def test_choice_of_the_preset(name, gpu, chosen, because):
    preset, reason = papers.choose(ROW.presets, name, gpu)
    assert preset.name == chosen and chosen in reason and because in reason


def test_presets_need_no_names_of_their_kind():
    one = {"tiny": dataclasses.replace(TINY, name="tiny")}
    for gpu in ("", "Some GPU"):
        assert papers.choose(one, "auto", gpu)[0] is one["tiny"]


# The command line ----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, OSError, datasets.DataError])
def test_an_expected_error_ends_in_one_line(error):
    def main():
        raise error("this and that; do so")

    with pytest.raises(SystemExit) as stopped:
        cli.run(main)
    assert stopped.value.code == "error: this and that; do so"


def test_a_bug_keeps_its_traceback_and_an_interrupt_says_how_to_go_on(capsys):
    def bug():
        raise ZeroDivisionError("mine")

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(ZeroDivisionError):
        cli.run(bug)
    with pytest.raises(SystemExit, match="130"):
        cli.run(interrupt)
    assert "run the same command again" in capsys.readouterr().err


@pytest.mark.slow
def test_the_script_itself_ends_with_one_error_and_no_traceback(tmp_path):
    command = [sys.executable, str(SCRIPT), "--preset", "quick", "--data-dir", str(tmp_path / "none")]
    done = subprocess.run(
        [*command, "--output-dir", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "mnist" in errors[0]
    assert str(tmp_path / "none") in done.stderr
    assert not (tmp_path / "out").exists()


def test_results_do_not_name_local_folders():
    hide = pipeline.without_paths
    assert "/home" not in hide("IDX files in /home/someone/my data")
    assert hide("IDX files in /home/someone") == "IDX files in a local folder"
    assert hide("tensorflow_datasets 3.0.1") == "tensorflow_datasets 3.0.1"
    assert hide("~/tensorflow_datasets") == "a local folder"
