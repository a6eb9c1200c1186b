"""``neuronlevel``: the scripts as commands, quick help, and what is said to whom."""

import importlib
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

import keras_neuronlevel as nl
from keras_neuronlevel.protocol import cli, command, startup

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = sorted(
    path.stem.replace("evaluate_model", "evaluate") for path in (ROOT / "experiments").glob("*.py")
)
CALL = "import sys; from keras_neuronlevel.protocol import command; command.main({!r}); {}"


@pytest.fixture(autouse=True)
def own_state(monkeypatch):
    """Commands change the path, the arguments and the levels of loggers."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    loggers = [logging.getLogger(name) for name in (None, *cli.LIBRARIES)]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def called(*arguments):
    """What a command prints before it exits, and what then is imported."""
    after = "print(sorted({'tensorflow', 'keras', 'matplotlib.pyplot'} & sys.modules.keys()))"
    text = f"import sys\ntry:\n {CALL.format(list(arguments), '')}\nexcept SystemExit as e:\n print(e.code)\n"
    run = [sys.executable, "-c", text + after]
    return subprocess.run(run, capture_output=True, text=True, check=True, cwd=ROOT)


def test_help_names_every_script_and_imports_nothing_heavy():
    *printed, status, heavy = called("--help").stdout.splitlines()
    assert (status, heavy) == ("0", "[]")
    listed = [line.split()[0] for line in printed if line.startswith("    ") and line[4:5].strip()]
    assert [name for name in listed if name != "COMMAND"] == COMMANDS
    for path in (ROOT / "experiments").glob("*.py"):
        assert command.summary(path).endswith((".", "?"))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_needs_no_tensorflow(name):
    done = called(name, "--help")
    *printed, status, heavy = done.stdout.splitlines()
    assert status == "0" and "tensorflow" not in heavy and "keras" not in heavy
    assert printed[0].startswith(f"usage: neuronlevel {name} ")
    assert {"--quiet", "--verbose"} <= set(" ".join(printed).replace(",", " ").split())
    assert "(default: None)" not in done.stdout


def test_a_command_runs_its_script(tmp_path, capsys):
    with pytest.raises(SystemExit, match="error: there is no folder .*nowhere"):
        command.main(["report", "--results", str(tmp_path / "nowhere")])
    assert sys.argv[0] == "neuronlevel report"
    with pytest.raises(SystemExit) as ended:
        command.main(["cifar10_resnet", "--preset", "vast"])
    assert ended.value.code == 2
    assert "neuronlevel cifar10_resnet: error: argument --preset" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["train"], "invalid choice: 'train' (choose from"), ([], "give a command; --help lists them")],
)
def test_no_such_command(arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2 and words in capsys.readouterr().err


def test_the_version(capsys):
    with pytest.raises(SystemExit):
        command.main(["--version"])
    assert capsys.readouterr().out == f"neuronlevel {nl.__version__}\n"


def test_scripts_lie_in_an_installed_package_or_beside_a_checkouts(tmp_path):
    assert command.folder(tmp_path / "package") == tmp_path / "experiments"
    (tmp_path / "package" / "experiments").mkdir(parents=True)
    assert command.folder(tmp_path / "package") == tmp_path / "package" / "experiments"


@pytest.mark.parametrize("shell", command.SHELLS)
def test_completion_knows_commands_and_options(shell, tmp_path):
    pytest.importorskip("shtab")
    text = command.completion(shell)
    assert all(name in text for name in COMMANDS)
    assert "--checkpoint-every" in text and "--probe-dataset" in text
    path = tmp_path / "completion"
    path.write_text(text)
    if shell == "bash":
        asked = f"source {path}; COMP_WORDS=(neuronlevel cifar10_resnet --pre); COMP_CWORD=2; "
        asked += "_shtab_neuronlevel; echo ${COMPREPLY[@]}"
        done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["--preset"]


def test_completion_without_shtab_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(SystemExit, match=r"needs shtab, .*pip install 'keras_neuronlevel\[completion\]'"):
        command.main(["--print-completion", "bash"])


# Presets and durations ---------------------------------------------------------------------------------


def result(**changes):
    preset = nl.papers.EXPERIMENTS["mnist_mlp"].presets["paper"]
    networks = {f"n{i}": {"training": {"seconds": {"total": s}}} for i, s in enumerate((90.4, 600.0))}
    return {
        "experiment": "mnist_mlp",
        "preset": preset.described(),
        "scale": str(preset),
        "stand_in": None,
        "provenance": {"cpus": 2, "gpus": []},
        "networks": networks,
        **changes,
    }


def test_durations_are_those_of_the_networks_by_preset_and_machine():
    other = result(provenance={"cpus": 16, "gpus": ["GPU"]}, networks={"n": {"training": None}, "m": {}})
    gpu = result(provenance={"cpus": 16, "gpus": ["GPU"]})
    untold = [
        result(stand_in="another network"),
        result(scale="paper: another scale"),
        result(experiment="model", preset=None),
        other,
    ]
    few = {"experiment": "mnist_mlp", "preset": "paper", "networks": 2, "seconds": [90, 345]}
    found = nl.papers.durations.measured([result(), *untold, gpu])
    assert found == [{**few, "cpus": 16, "gpus": ["GPU"]}, {**few, "cpus": 2, "gpus": []}]
    assert nl.papers.durations.measured([result(), result()])[0]["networks"] == 4


def test_presets_say_what_was_measured(monkeypatch):
    monkeypatch.setattr(nl.papers.durations, "read", lambda: nl.papers.durations.measured([result()]))
    row = nl.papers.EXPERIMENTS["mnist_mlp"]
    text = " ".join(cli.presets(row).split())
    assert f"{row.presets['paper']}: 2 min at best, 6 min in the median (2 CPU cores)" in text
    assert f"{row.presets['quick']}: not measured" in text
    assert "measured" not in cli.presets(nl.papers.EXPERIMENTS["imagenet_resnet50"])


# What is said ------------------------------------------------------------------------------------------


def test_quiet_and_verbose_are_heard():
    logging.getLogger().setLevel(logging.INFO)
    cli.parse(cli.options("words"), [])
    assert logging.getLogger().level == logging.INFO
    cli.parse(cli.options("words"), ["--quiet"])
    assert logging.getLogger().level == logging.WARNING
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    cli.parse(cli.options("words"), ["--verbose"])
    assert logging.getLogger("tensorflow").level == logging.NOTSET
    with pytest.raises(SystemExit):
        cli.parse(cli.options("words"), ["--quiet", "--verbose"])


def test_seeds_hands_on_how_much_is_said(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    script, given = importlib.import_module("seeds"), []
    monkeypatch.setattr(script, "_child", given.extend)
    with pytest.raises(ValueError, match="metrics.json"):
        script.main(["--experiment", "mnist_mlp", "--seeds", "3", "--results", str(tmp_path), "--quiet"])
    assert given[2:] == ["--seed", "3", "--output-dir", str(tmp_path / "mnist_mlp" / "seed3"), "--quiet"]


NOTE = "I0000 00:00:1795691017.105160   21351 port.cc:153] oneDNN custom operations are on."
DRIVER = "E0000 00:00:1795691022.418533   21351 cuda_platform.cc:52] failed call to cuInit: 303"
SAID = [
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    NOTE,
    "W0000 00:00:1795691022.418533   21351 memory.cc:52] not enough",
    DRIVER,
    "E0000 00:00:1795691022.418533   21351 other.cc:52] failed",
    "I am no note",
]


@pytest.mark.parametrize(("there", "hidden"), [(False, (0, 1, 3)), (True, (0, 1))])
def test_only_notes_are_taken_out_of_stderr(there, hidden, tmp_path):
    """Also what a process says last that crashes, from whichever code."""
    pattern = startup.NOTES if there else f"{startup.NOTES}|{startup.NO_DRIVER}"
    code = (
        "import os, sys\nfrom keras_neuronlevel.protocol import startup\n"
        f"with startup.without_lines({pattern!r}):\n"
        f"    os.write(2, {chr(10).join(SAID).encode()!r})\n    os.abort()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode < 0
    assert done.stderr.splitlines() == [line for i, line in enumerate(SAID) if i not in hidden]


def test_stderr_is_as_before_after_an_error(capfd):
    with pytest.raises(KeyError), startup.without_lines("hidden"):
        print("hidden", file=sys.stderr)
        raise KeyError
    print("hidden", file=sys.stderr)
    assert capfd.readouterr().err in ("hidden\n", "hidden\nhidden\n")


@pytest.mark.slow
@pytest.mark.parametrize(("everything", "onednn"), [(False, None), (True, None), (True, "0")])
def test_tensorflow_starts_without_its_notes_unless_they_are_wanted(everything, onednn, monkeypatch):
    """And with the kernels of oneDNN, unless the environment says no."""
    monkeypatch.delenv(startup.LEVEL, raising=False)
    monkeypatch.delenv(startup.ONEDNN, raising=False)
    if onednn:
        monkeypatch.setenv(startup.ONEDNN, onednn)
    code = f"from keras_neuronlevel.protocol import startup; startup.tensorflow({everything})\n"
    code += "import tensorflow as tf; tf.function(lambda x: tf.cast(x, tf.float16))([1.0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ("oneDNN custom operations are on" in done.stderr) == (everything and onednn is None)
    assert (done.stderr != "") == everything


def test_without_tensorflow_there_is_one_sentence(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorflow"]:
        monkeypatch.delitem(sys.modules, name)

    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name == "tensorflow":
                raise ModuleNotFoundError("No module named 'tensorflow'", name=name)

    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(ValueError, match=r"TensorFlow is not installed; pip install 'keras_neuronlevel\["):
        startup.tensorflow(everything=True)


def test_committed_durations_are_read():
    assert all(run["seconds"][0] <= run["seconds"][1] for run in nl.papers.durations.read())
    assert json.loads(nl.papers.durations.FILE.read_text())
