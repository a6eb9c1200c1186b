import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_neuronlevel import files, results

SCRIPT = Path(__file__).parents[1] / "experiments" / "evaluate_model.py"
FILES = {"metrics.json", "quantization.png", "window.png", "table1.txt", "table1.csv", "table1.md", "runs"}


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
    assert {file.name for file in folder.glob("[!.]*")} == FILES
    (network,) = results.read(folder / "metrics.json")["networks"].values()
    answers = model.predict(loaded.x_test, verbose=0).argmax(1)
    accuracy = pytest.approx(np.mean(answers == loaded.y_test), abs=1e-6)
    assert network["training"]["test_accuracy"] == accuracy
    assert capsys.readouterr().out.startswith(f"baseline accuracy of net.{ending} on 23 test images")
    assert list(network["layers"]) == layers
    for numbers in network["layers"].values():
        assert set(numbers) == {"quantization", "window"}
        assert numbers["quantization"]["baseline_accuracy"] == accuracy
        assert len(numbers["window"]["accuracy"]) == 10
    assert (folder / "table1.csv").read_text().count("\n") == 1 + len(layers)


def test_a_second_run_goes_on_where_the_first_ended(script, model, loaded, tmp_path, monkeypatch):
    from keras_neuronlevel.evaluation import readout

    path, folder = tmp_path / "net.keras", tmp_path / "out"
    model.save(path)
    command = arguments(path, folder, "--experiments", "window", "--layers", "hidden-tanh")
    fitted = []

    def fit(*args):
        fitted.append(1)
        reached = {"accuracy": len(fitted) / 100, "converged": True}
        return lambda go_on: reached

    def broken(*args):
        if len(fitted) == 4:
            raise KeyboardInterrupt
        return fit(*args)

    monkeypatch.setattr(readout, "processors", lambda: 1)  # one after the other, so that four are kept
    monkeypatch.setattr(readout, "_retrain", broken)
    with pytest.raises(KeyboardInterrupt):
        script.main(command)
    monkeypatch.setattr(readout, "_retrain", fit)
    script.main(command)
    (network,) = results.read(folder / "metrics.json")["networks"].values()
    curve = network["layers"]["hidden-tanh"]["window"]
    assert curve["baseline_accuracy"] == 0.01
    assert curve["accuracy"] == [k / 100 for k in range(2, 12)]
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    for more, words in (
        (["--seed", "1"], "a run of seed 0, and this one is of seed 1"),
        (["--repeats", "2"], "a run of scale .*repeats 1.*, and this one is of scale .*repeats 2"),
    ):
        with pytest.raises(ValueError, match=f"metrics.json holds {words}.*give another --output-dir"):
            script.main([*command, *more])
    model.get_layer("hidden").bias.assign_add(np.ones(5))
    model.save(path)
    with pytest.raises(ValueError, match="holds numbers of net with sha256 .*; give another --output-dir"):
        script.main(command)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    assert len(fitted) == 11, "nothing was computed"


def test_windows_at_the_given_centres_are_those_of_the_library(script, model, loaded, tmp_path):
    from keras_neuronlevel import evaluation

    path, folder = tmp_path / "net.keras", tmp_path / "out"
    model.save(path)
    more = ["--experiments", "window", "--layers", "hidden-tanh", "--readout", "probe"]
    script.main(arguments(path, folder, *more, "--centers", "5", "62.5"))
    (network,) = results.read(folder / "metrics.json")["networks"].values()
    found = network["layers"]["hidden-tanh"]["window"]
    assert found["centers"] == [5, 62.5]
    split = script.nl.neurons.split_fused(script.nl.neurons.functional(model))
    options = {"readout": evaluation.Probe(), "centers": [5, 62.5], "max_train_samples": 30}
    expected = evaluation.window_curve(split, "hidden-tanh", loaded, **options)
    assert found["accuracy"] == pytest.approx(expected.accuracy)


def own_data(path, data, **changed):
    arrays = {name: getattr(data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(path, **{name: array for name, array in (arrays | changed).items() if array is not None})
    return path


def test_data_and_layers_of_ones_own(script, data, tmp_path, monkeypatch):
    (tmp_path / "my_layers.py").write_text(
        "import keras\n\n\n@keras.saving.register_keras_serializable('mine')\n"
        "class Half(keras.layers.Layer):\n    def call(self, x):\n        return x / 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from my_layers import Half

    layers = [keras.Input((4, 4, 1)), Half(), keras.layers.Flatten()]
    layers += [keras.layers.Dense(5, activation="relu", name="hidden"), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    model.save(tmp_path / "net.keras")
    own_data(tmp_path / "mine.npz", data)
    command = [str(tmp_path / "net.keras"), "--data", str(tmp_path / "mine.npz"), "--import", "my_layers"]
    script.main([*command, "--experiments", "quantization", "--output-dir", str(tmp_path / "out")])
    found = results.read(tmp_path / "out" / "metrics.json")
    answers = model.predict(data.x_test, verbose=0).argmax(1)
    curve = found["networks"]["net"]["layers"]["hidden-relu"]["quantization"]
    assert curve["baseline_accuracy"] == pytest.approx(np.mean(answers == data.y_test), abs=1e-6)
    assert found["provenance"]["data"]["name"] == "mine"
    with pytest.raises(ValueError, match="--import no_such_module: .*; give a module that Python finds"):
        script.main([*command[:3], "--import", "no_such_module"])


def test_a_folder_in_which_another_process_works(script, tmp_path):
    with files.locked(tmp_path), pytest.raises(files.InUseError, match="at work in .*another --output-dir"):
        script.main(arguments(tmp_path / "net.keras", tmp_path))


def test_curves_of_changed_code_are_not_taken_for_those_of_the_new(script, data, tmp_path, monkeypatch):
    module = tmp_path / "changing_layers.py"
    code = (
        "import keras\n\n\n@keras.saving.register_keras_serializable('changing')\n"
        "class Scale(keras.layers.Layer):\n    def call(self, x):\n        return x * {}\n"
    )
    module.write_text(code.format("1.0"))
    monkeypatch.syspath_prepend(tmp_path)
    from changing_layers import Scale

    layers = [keras.Input((4, 4, 1)), keras.layers.Flatten(), Scale()]
    layers += [keras.layers.Dense(5, activation="relu", name="hidden"), keras.layers.Dense(3)]
    keras.Sequential(layers).save(tmp_path / "net.keras")
    own_data(tmp_path / "mine.npz", data)
    command = [
        str(tmp_path / "net.keras"),
        "--data",
        str(tmp_path / "mine.npz"),
        "--import",
        "changing_layers",
    ]
    command += ["--experiments", "quantization", "--output-dir", str(tmp_path / "out")]
    script.main(command)
    script.main(command)
    module.write_text(code.format("-1.0"))
    with pytest.raises(ValueError, match="holds numbers of net with .*give another --output-dir"):
        script.main(command)


def test_windows_of_a_model_within_a_model(script, data, tmp_path):
    inner = [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(5, "relu", name="hidden")]
    backbone = keras.Sequential(inner, name="backbone")
    keras.Sequential([keras.Input((4, 4, 1)), backbone, keras.layers.Dense(3)]).save(tmp_path / "net.keras")
    own_data(tmp_path / "mine.npz", data)
    command = [str(tmp_path / "net.keras"), "--data", str(tmp_path / "mine.npz"), "--readout", "probe"]
    script.main([*command, "--centers", "50", "--output-dir", str(tmp_path / "out")])
    (network,) = results.read(tmp_path / "out" / "metrics.json")["networks"].values()
    assert set(network["layers"]["backbone/hidden-relu"]) == {"quantization", "window"}
