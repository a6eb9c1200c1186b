"""The README's commands, paths and code are true."""

import importlib
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import zoo

import keras_neuronlevel as nl

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = sorted(set(re.findall(r"python (experiments/\w+\.py)", README)))
DOCS = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
RECORD, EVALUATE, TRANSFER, TRANSFORMER, LOOP = re.findall(
    r"```python\n(.*?)```", README + DOCS[ROOT / "docs" / "own_models.md"], flags=re.DOTALL
)


def test_every_link_leads_somewhere():
    for path, text in {ROOT / "README.md": README, **DOCS}.items():
        links = re.findall(r"\]\(([^)#]+)\)", text)
        assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_readme_is_short():
    assert len(README.splitlines()) < 130


def test_every_module_that_is_named_exists():
    names = set(re.findall(r"\bnl\.(\w+)", README + "".join(DOCS.values())))
    assert names
    for name in names:
        assert importlib.import_module(f"keras_neuronlevel.{name}") is getattr(nl, name)


def test_every_experiment_is_in_the_readme():
    assert SCRIPTS == sorted(f"experiments/{path.name}" for path in (ROOT / "experiments").glob("*.py"))


def test_every_row_of_the_papers_has_its_script_and_its_line():
    for row in nl.papers.EXPERIMENTS.values():
        assert (ROOT / "experiments" / f"{row.name}.py").exists() and row.command in README


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_explains_its_options(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    monkeypatch.syspath_prepend(ROOT / "experiments")  # where Python finds what a script's neighbours hold
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert not ended.value.code
    printed = capsys.readouterr().out
    options = {
        word
        for line in re.findall(rf"python {script}[^`\n]*", README + "".join(DOCS.values()))
        for word in shlex.split(line)
        if word.startswith("--")
    }
    assert [option for option in options if option not in printed] == []


def test_the_two_commands_are_what_ci_runs():
    ci = (ROOT / ".ci" / "run").read_text()
    assert "pip install -r requirements.txt" in README
    assert "pip install --quiet -r requirements.txt" in ci
    assert 'pip install -e ".[dev]" && pytest -n 2' in README
    assert 'pip install --quiet -e ".[dev]"' in ci
    assert re.search(r"^pytest -n 2 ", ci, flags=re.MULTILINE)


def test_requirements_agree_with_the_package():
    pins = {line for line in (ROOT / "requirements.txt").read_text().splitlines() if ">=" in line}
    project = (ROOT / "pyproject.toml").read_text()
    assert {pin for pin in pins if f'"{pin}"' not in project} == set()


def test_the_code_runs(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    x = rng.random((300, 28, 28, 1), dtype=np.float32)
    y = rng.integers(0, 10, 300).astype(np.int32)
    tiny = nl.data.Dataset("mnist", x, y, x[:50], y[:50], tuple("0123456789"), "made here", "")
    monkeypatch.setattr(nl.data, "load", lambda name: tiny)
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(RECORD.replace("2000", "20").replace("every=100", "every=5"), scope)
    printed = capsys.readouterr().out
    assert scope["s"].shape == (20, 16, 676)
    shares = nl.statistics.sign_constancy(scope["s"])["above"]
    assert str(shares) in printed
    exec(EVALUATE, scope)
    assert set(scope["curve"].ranks) == set(range(0, 101, 10))
    scope |= {"images": rng.random((96, 32, 32, 3), dtype=np.float32), "labels": y[:96]}
    exec(TRANSFER.replace("weights=None,", "weights=None, alpha=0.35,").replace("1.00", "0.35"), scope)
    with nl.records.Records("transfer.h5") as records:
        assert records.layers == ["mobilenetv2_0.35_32/out_relu"]
    scope |= {"tokens": rng.integers(0, 1000, (128, 7)), "kinds": y[:128] % 2, "tf": tf}
    capsys.readouterr()
    exec(TRANSFORMER, scope)
    assert capsys.readouterr().out == "['block/dense-gelu', 'hidden-relu']\n"
    parts = [slice(i, i + 8) for i in range(0, 128, 8)]
    scope["batches"] = [(scope["tokens"][part], scope["kinds"][part]) for part in parts]
    exec(LOOP, scope)
    with nl.records.Records("loop.h5") as records:
        assert records.layers == ["block/dense-gelu", "hidden-relu"]
        assert records.recordings["batch"].tolist() == [0, 10, 0, 10]


def test_the_table_of_models_is_that_of_the_zoo():
    assert zoo.TABLE.read_text(encoding="utf-8") == zoo.table()
