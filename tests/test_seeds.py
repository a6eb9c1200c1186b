import copy
import json
import math
import runpy
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import made
import pytest

from keras_neuronlevel import files
from keras_neuronlevel.results import seeds

ROOT = Path(__file__).parents[1]


def result(seed, above=0.5, accuracy=0.9):
    numbers = made.layer(
        derivatives={"above_0.9_share": made.spread(above), "mean_abs": {**made.spread(0), "mean": None}},
        quantization={"ranks": [10, 50, 90], "accuracy": [0.1, above, 0.2]},
        dynamics={"auc": [made.spread(0.5), made.spread(above)]},
    )
    layers = {"dense1-relu": {kind: n for kind, n in numbers.items() if kind != "window"}}
    networks = {"mlp-relu": {"training": made.trained(accuracy=accuracy), "layers": layers}}
    return made.metrics("mnist_mlp", networks, seed=seed)


def test_spreads_against_the_standard_library():
    results = [result(0, 0.5, 0.9), result(1, 0.7, 0.8), result(4, 0.9, 0.95)]
    found = seeds.aggregate(results)["mlp-relu"]
    layer = found["layers"]["dense1-relu"]
    for spread, values in (
        (found["test_accuracy"], [0.9, 0.8, 0.95]),
        (layer["share of |s| > 0.9"], [0.5, 0.7, 0.9]),
        (layer["AUC at the end"], [0.5, 0.7, 0.9]),
        (layer["best quantized accuracy"], [0.5, 0.7, 0.9]),
    ):
        assert spread["values"] == values
        assert spread["mean"] == pytest.approx(statistics.mean(values))
        assert spread["std"] == pytest.approx(statistics.stdev(values))
        assert (spread["min"], spread["max"]) == (min(values), max(values))
    absent = {"mean |s|", "accuracy at the lowest window"}
    assert not absent & set(layer), "None and absent numbers are left out"


def test_one_seed_has_no_deviation():
    found = seeds.aggregate([result(3)])["mlp-relu"]["test_accuracy"]
    assert found["std"] is None and found["mean"] == 0.9


def test_what_some_seeds_lack_says_which_have_it():
    fewer = result(1)
    del fewer["networks"]["mlp-relu"]["layers"]["dense1-relu"]["dynamics"]
    more = result(0)
    more["networks"]["mlp-linear"] = more["networks"]["mlp-relu"]
    found = seeds.aggregate([more, fewer])
    assert list(found) == ["mlp-relu", "mlp-linear"]
    layer = found["mlp-relu"]["layers"]["dense1-relu"]
    assert layer["AUC at the end"]["seeds"] == [0] and layer["share of |s| > 0.9"]["seeds"] == [0, 1]
    assert found["mlp-linear"]["test_accuracy"]["seeds"] == [0]
    (table,) = seeds.brief([more, fewer])
    assert table.rows[0] == ("mlp-relu", "", "0.900 ± 0.000 (0.900 to 0.900)", "–", "–", "–", "–")
    assert table.rows[2] == ("mlp-linear", "", "0.900 (1 seed)", "–", "–", "–", "–")


def test_results_that_do_not_belong_together():
    other = result(1) | {"preset": made.preset("quick")}
    with pytest.raises(ValueError, match="differ in preset: paper; quick"):
        seeds.aggregate([result(0), other])
    other = result(1) | {"scale": "smaller"}
    with pytest.raises(ValueError, match="differ in scale: paper: 50 epochs; smaller"):
        seeds.aggregate([result(0), other])
    for change, what in (
        (lambda network: network["training"]["config"].update(update="SGD, learning rate 5"), "training"),
        (
            lambda network: network["layers"]["dense1-relu"]["quantization"].update(n_test=7),
            "quantization of",
        ),
    ):
        other = copy.deepcopy(result(1))
        other["networks"]["mlp-relu"]["training"].setdefault("config", {})["seed"] = 1
        change(other["networks"]["mlp-relu"])
        with pytest.raises(
            ValueError, match=f"several seeds differ in mlp-relu, {what}.*differ in their seed"
        ):
            seeds.aggregate([result(0), other])
    with pytest.raises(ValueError, match="the seeds are 2, 2; give each once"):
        seeds.aggregate([result(2), result(2)])
    with pytest.raises(ValueError, match="the seeds are none"):
        seeds.aggregate([])


def test_files_lie_in_a_folder_a_seed(tmp_path):
    for seed in (0, 2):
        files.write_json(seeds.folder(tmp_path, seed) / "metrics.json", result(seed))
    loaded = seeds.load(tmp_path, [0, 2])
    assert [r["seed"] for r in loaded] == [0, 2]
    assert (tmp_path / "seed2" / "metrics.json").exists() and (tmp_path / "metrics.json").exists()
    written = seeds.write(tmp_path, loaded)
    assert math.isclose(written["mlp-relu"]["test_accuracy"]["mean"], 0.9)
    for text in ("[]", "{}", json.dumps(result(2))):
        seeds.folder(tmp_path, 1).mkdir(exist_ok=True)
        (seeds.folder(tmp_path, 1) / "metrics.json").write_text(text)
        with pytest.raises(ValueError, match="run the experiment with"):
            seeds.load(tmp_path, [1])
    (seeds.folder(tmp_path, 1) / "metrics.json").unlink()
    with pytest.raises(ValueError, match=r"seed1.*metrics\.json cannot be read.*run the experiment"):
        seeds.load(tmp_path, [0, 1])


def test_seeds_that_are_there_are_found(tmp_path):
    assert seeds.found(tmp_path / "nowhere") == []
    for name in ("seed10", "seed2", "seed3", "seeds", "seed4b"):
        (tmp_path / name).mkdir()
        if name != "seed3":
            (tmp_path / name / "metrics.json").write_text("{}")
    (tmp_path / "seed3" / "standin-mnist32-metrics.json").write_text("{}")
    assert seeds.found(tmp_path) == [2, 10]
    (tmp_path / "metrics.json").write_text("{}")
    assert seeds.found(tmp_path) == [0, 2, 10]
    assert seeds.found(tmp_path, "standin-mnist32-metrics.json") == [3]


SLEEPER = """
import pathlib, signal, sys, time
def end(signum, frame):
    pathlib.Path(sys.argv[0]).with_name("ended").write_text(str(signum))
    sys.exit(1)
signal.signal(signal.SIGINT, end)
signal.signal(signal.SIGTERM, end)
print("begun", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_experiment_too(signum, status, tmp_path):
    script = tmp_path / "seeds.py"
    text = (ROOT / "experiments" / "seeds.py").read_text()  # Ctrl-C counts where tests run in the background
    heard = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    script.write_text(text.replace("import signal\n", heard))
    (tmp_path / "mnist_mlp.py").write_text(SLEEPER)
    command = [sys.executable, str(script), "--experiment", "mnist_mlp", "--results", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signum)
        _, errors = process.communicate()
    assert process.returncode == status and "Traceback" not in errors, errors
    assert (tmp_path / "ended").read_text() == str(int(signum)), "and was waited for"


def test_results_of_another_data_set_are_not_taken_together_as_those_that_are_named(tmp_path, capsys):
    script = runpy.run_path(str(ROOT / "experiments" / "seeds.py"))
    for seed in (0, 1):
        place = seeds.folder(tmp_path / "mnist_mlp", seed)
        place.mkdir(parents=True)
        value = result(seed)
        value["provenance"] = {**value["provenance"], "data": {"name": "mnist"}}
        (place / "metrics.json").write_text(json.dumps(value), encoding="utf-8")
    options = ["--experiment", "mnist_mlp", "--results", str(tmp_path), "--aggregate"]
    with pytest.raises(ValueError, match="seed 0 in .* is of mnist, not of fashion_mnist"):
        script["main"]([*options, "--dataset", "fashion_mnist"])
    assert not (tmp_path / "mnist_mlp" / "seeds.json").exists()
    script["main"]([*options, "--dataset", "mnist"])
    assert (tmp_path / "mnist_mlp" / "seeds.json").exists() and "0.900" in capsys.readouterr().out


@pytest.mark.slow
def test_the_script_runs_every_seed_and_resumes(tmp_path, monkeypatch):
    """The experiment itself is replaced by one that writes a result and counts its runs."""
    script = tmp_path / "experiments" / "mnist_mlp.py"
    script.parent.mkdir()
    (script.parent / "seeds.py").write_text((ROOT / "experiments" / "seeds.py").read_text())
    script.write_text(
        "import argparse, json, pathlib\n"
        "p = argparse.ArgumentParser()\n"
        "for o in ('--seed', '--output-dir', '--preset'):\n    p.add_argument(o)\n"
        "a = p.parse_args()\n"
        f"r = {result(0)!r}\n"
        "r['seed'] = int(a.seed)\n"
        "if a.preset == 'broken':\n    raise SystemExit('error: broken')\n"
        "out = pathlib.Path(a.output_dir)\nout.mkdir(parents=True, exist_ok=True)\n"
        "(out / 'metrics.json').write_text(json.dumps(r))\n"
    )
    command = [sys.executable, str(script.parent / "seeds.py"), "--experiment", "mnist_mlp"]
    command += ["--seeds", "0", "5", "--results", str(tmp_path / "out"), "--", "--preset"]
    done = subprocess.run([*command, "quick"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "seed 5 (2 of 2)" in done.stderr and "test accuracy" in done.stdout
    assert (tmp_path / "out" / "mnist_mlp" / "seeds.json").exists()
    done = subprocess.run([*command, "broken"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1 and "mnist_mlp.py failed with seed 0" in done.stderr
    (tmp_path / "out" / "mnist_mlp" / "seeds.json").unlink()
    all_there = [part for part in command[:-2] if part not in ("--seeds", "0", "5")]
    done = subprocess.run([*all_there, "--aggregate"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0 and "seed 5 (" not in done.stderr
    refused = subprocess.run([*command, "quick", "--aggregate"], capture_output=True, text=True, cwd=ROOT)
    assert refused.returncode != 0
    assert json.loads((tmp_path / "out" / "mnist_mlp" / "seeds.json").read_text())["seeds"] == [0, 5]
