import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "experiments" / "evaluate_model.py"
FILES = {"metrics.json", "quantization.png", "window.png", "table1.txt", "table1.csv", "table1.md"}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("evaluate_model", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((4, 4, 1)),
        keras.layers.Conv2D(3, 3, activation="relu", name="conv"),
        keras.layers.Flatten(),
        keras.layers.Dense(5, activation="tanh", name="hidden"),
        keras.layers.Dense(3, activation="softmax"),
    ]
    return keras.Sequential(layers)


@pytest.fixture
def loaded(monkeypatch, data):
    import keras_neuronlevel as nl

    monkeypatch.setattr(nl.data, "load", lambda name, data_dir=None: data)
    return data


def arguments(path, folder, *more):
    fixed = ["--dataset", "mnist", "--max-train-samples", "30"]
    return [str(path), *fixed, "--output-dir", str(folder), *more]


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_both_experiments_on_a_saved_sequential_model(script, model, loaded, tmp_path, capsys, ending):
    path, folder = tmp_path / f"net.{ending}", tmp_path / "out"
    model.save(path)
    layers = ["hidden-tanh"] if ending == "h5" else ["conv-relu", "hidden-tanh"]
    more = ["--layers", *layers[::-1], *(["--epochs", "2"] if ending == "h5" else ["--readout", "probe"])]
    script.main(arguments(path, folder, *more))
    assert {file.name for file in folder.iterdir()} == FILES
    metrics = json.loads((folder / "metrics.json").read_text())
    answers = model.predict(loaded.x_test, verbose=0).argmax(1)
    assert metrics["baseline_accuracy"] == pytest.approx(np.mean(answers == loaded.y_test), abs=1e-6)
    assert capsys.readouterr().out.startswith(f"baseline accuracy of net.{ending} on 23 test images")
    for kind in ("quantization", "window"):
        assert [curve["layer"] for curve in metrics[kind]] == layers
    assert metrics["quantization"][0]["baseline_accuracy"] == metrics["baseline_accuracy"]
    assert len(metrics["window"][0]["accuracy"]) == 10
    assert (folder / "table1.csv").read_text().count("\n") == 1 + len(layers)


def test_a_second_run_goes_on_where_the_first_ended(script, model, loaded, tmp_path, monkeypatch):
    from keras_neuronlevel.evaluation import readout

    path, folder = tmp_path / "net.keras", tmp_path / "out"
    model.save(path)
    command = arguments(path, folder, "--experiments", "window", "--layers", "hidden-tanh")
    fitted = []

    def fit(*args):
        fitted.append(1)
        return {"accuracy": len(fitted) / 100, "converged": True}

    def broken(*args):
        if len(fitted) == 4:
            raise KeyboardInterrupt
        return fit(*args)

    monkeypatch.setattr(readout, "_retrain", broken)
    with pytest.raises(KeyboardInterrupt):
        script.main(command)
    monkeypatch.setattr(readout, "_retrain", fit)
    script.main(command)
    (curve,) = json.loads((folder / "metrics.json").read_text())["window"]
    assert curve["baseline_accuracy"] == 0.01
    assert curve["accuracy"] == [k / 100 for k in range(2, 12)]
    script.main([*command, "--seed", "1"])  # other settings: nothing is taken over
    assert len(fitted) == 22


def test_default_layers_are_the_first_the_middle_and_the_penultimate(script):
    from keras_neuronlevel import networks

    model = networks.cifar_cnn("relu", filters=2)
    assert script.default_layers(model) == [f"stage{s}layer{i}-relu" for s, i in ((0, 0), (1, 2), (3, 2))]


def test_models_that_cannot_be_used(script, model, loaded, tmp_path):
    broken = tmp_path / "broken.keras"
    broken.write_text("no model")
    for path, match in ((broken, "cannot be loaded"), (tmp_path / "none.keras", "there is no model")):
        with pytest.raises(ValueError, match=match):
            script.main(arguments(path, tmp_path))
    path = tmp_path / "net.keras"
    model.save(path)
    for more in (["--grid", "2"], ["--readout", "probe", "--epochs", "2"]):
        with pytest.raises(ValueError, match=f"{more[-2]} has no meaning with --readout"):
            script.main(arguments(path, tmp_path, *more))
    with pytest.raises(ValueError, match="nearest.*hidden-tanh"):
        script.main(arguments(path, tmp_path, "--layers", "hiden-tanh"))


def test_the_command_ends_with_one_line_and_a_status(tmp_path):
    command = [sys.executable, str(SCRIPT), str(tmp_path / "none.keras"), "--dataset", "mnist"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: there is no model at")
