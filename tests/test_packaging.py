"""What goes into wheel and sdist, that they install, and the files around the package."""

import os
import re
import runpy
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import numpy
import pytest

import keras_neuronlevel as nl
from keras_neuronlevel.protocol import provenance

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NO_INDEX = re.compile(
    "No matching distribution|Could not find a version|NewConnectionError|Failed to connect"
)


def run(*command):
    """A command's output; skips where it is pip and reaches no index."""
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, cwd=ROOT.parent, env=bare
    )
    if done.returncode and NO_INDEX.search(done.stdout + done.stderr):
        pytest.skip("pip reaches no package index")
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of a wheel and an sdist; the wheel is made from the sdist."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("built")
    done = run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def files(*folders):
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc" and "checkpoints" not in path.parent.name
    }


@pytest.mark.slow
def test_the_wheel_has_the_package_and_the_scripts_and_nothing_else(built):
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        found = {name for name in wheel.namelist() if ".dist-info/" not in name}
        entry = wheel.read(f"keras_neuronlevel-{nl.__version__}.dist-info/entry_points.txt").decode()
    package = files("keras_neuronlevel")
    scripts = {f"keras_neuronlevel/{name}" for name in files("experiments") if name.endswith(".py")}
    assert package | scripts <= found and "keras_neuronlevel/py.typed" in found
    assert all(name.startswith("keras_neuronlevel/experiments/") for name in found - package - scripts)
    assert "neuronlevel = keras_neuronlevel.protocol.command:main" in entry


@pytest.mark.slow
def test_the_sdist_has_what_the_tests_and_the_documents_need(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        found = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = {"README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md", "requirements.txt", "pyproject.toml"}
    wanted |= {name for name in files("tests", "docs", "experiments") if name.endswith((".py", ".md"))}
    assert wanted <= found and "figures/mnist_mlp/metrics.json" in found
    assert not any(name.startswith((".git/", "outputs/")) for name in found)


NEEDS = ["none that it brings", "", "[tensorflow,video,completion]"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "extras", [NEEDS[0], *(pytest.param(extras, marks=pytest.mark.exhaustive) for extras in NEEDS[1:])]
)
def test_the_wheel_installs_in_a_clean_environment(built, extras, tmp_path):
    """With all that it needs, which takes minutes; or with this environment's packages in their place."""
    (path,) = built.glob("*.whl")
    borrowed, clean = extras == NEEDS[0], tmp_path / "clean"
    venv.create(clean)
    programs = clean / "bin"
    what = ["--no-deps", path] if borrowed else [f"{path}{extras}"]
    pip = sys.executable, "-m", "pip", "--python", programs / "python"
    done = run(*pip, "install", "--quiet", *what)
    assert done.returncode == 0, done.stderr
    if borrowed:
        (packages,) = clean.glob("lib/*/site-packages")
        (packages / "borrowed.pth").write_text(str(Path(numpy.__file__).parents[1]))
    assert run(*pip, "check").returncode == 0
    where = run(
        programs / "python", "-P", "-c", "import keras_neuronlevel as nl; print(nl.statistics.__file__)"
    )
    assert str(tmp_path) in where.stdout, where.stderr
    assert run(programs / "neuronlevel", "--version").stdout == f"neuronlevel {nl.__version__}\n"
    helped = run(programs / "neuronlevel", "cifar10_resnet", "--help")
    assert "CPU cores" in helped.stdout, helped.stderr
    folder = tmp_path / "none"
    done = run(programs / "neuronlevel", "mnist_mlp", "--preset", "quick", "--data-dir", folder)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    reason = "error: Could not load mnist" if extras else "error: TensorFlow is not installed; pip install"
    assert reason in done.stderr
    completion = run(programs / "neuronlevel", "--print-completion", "zsh")
    assert ("#compdef neuronlevel" in completion.stdout) == bool(extras)


# The files around it -----------------------------------------------------------------------------------


def test_both_texts_are_cited():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    for title in (
        "Experimental study of the neuron-level mechanisms emerging from backpropagation",
        "Discovering the mechanics of hidden neurons",
    ):
        assert f"title: {title}" in text and title in (ROOT / "README.md").read_text().replace("\n", " ")
    assert text.count("family-names: Carbonnelle") == text.count("family-names: De Vleeschouwer") == 3
    assert f"version: {nl.__version__}\n" in text and "cff-version: 1.2.0\n" in text


def test_the_version_is_in_the_change_log():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text or f"## [{nl.__version__}]" in text


def test_what_runs_before_a_commit_is_what_ci_runs():
    hooks = re.findall(r"entry: (.+)", (ROOT / ".pre-commit-config.yaml").read_text())
    ci = (ROOT / ".ci" / "run").read_text()
    assert [hook.replace(" --force-exclude", "") for hook in hooks] == [
        "ruff check",
        "ruff format --check",
        "mypy",
    ]
    for hook in hooks:
        assert re.search(rf"^{hook.replace(' --force-exclude', '')}( \.)?$", ci, flags=re.MULTILINE)


def test_lower_bounds_are_those_of_the_project():
    bounds = runpy.run_path(str(ROOT / ".ci" / "lower_bounds.py"))["bounds"]
    found = bounds(PROJECT["project"])
    assert {"numpy==2.1", "tensorflow==2.21"} <= set(found)
    assert not any(line.startswith("keras_neuronlevel") for line in found)
    table = {
        "name": "p",
        "dependencies": ["a>=1,<2", "b-c[d]>=3.1"],
        "optional-dependencies": {"e": ["p[f]"]},
    }
    assert bounds(table) == ["a==1", "b-c==3.1"]
    with pytest.raises(ValueError, match="'a<2' in pyproject.toml has no lower bound"):
        bounds({**table, "dependencies": ["a<2"]})


def test_a_package_within_another_repository_has_no_commit(tmp_path, monkeypatch):
    package = tmp_path / "other" / "site-packages" / "keras_neuronlevel"
    (package / "protocol").mkdir(parents=True)
    commit = ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--allow-empty", "--message", "theirs")
    for command in (("init", "--quiet"), commit):
        assert run("git", "-C", tmp_path / "other", *command).returncode == 0
    monkeypatch.setattr(provenance, "__file__", str(package / "protocol" / "provenance.py"))
    assert provenance.collect()["commit"] is None
    assert run("git", "-C", tmp_path / "other", "init", "--quiet", package.parent).returncode == 0
    assert run("git", "-C", package.parent, *commit).returncode == 0
    assert re.fullmatch("[0-9a-f]{40}", provenance.collect()["commit"])
