"""The README's commands, paths and code are true."""

import ast
import importlib
import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import zoo

import keras_neuronlevel as nl
from keras_neuronlevel.benchmarks import growth, recording
from keras_neuronlevel.claims import dynamics, encoding, signs

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = sorted(set(re.findall(r"python (experiments/\w+\.py)", README)))
DOCS = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}


def test_every_link_leads_somewhere():
    for path, text in {ROOT / "README.md": README, **DOCS}.items():
        links = re.findall(r"\]\(([^)#]+)\)", text)
        assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_readme_is_short():
    assert len(README.splitlines()) < 140


def test_what_a_recording_costs_is_what_was_measured():
    for name, page in (("recording_growth", growth.markdown), ("recording_cost", recording.markdown)):
        kept = json.loads((ROOT / "docs" / f"{name}.json").read_text(encoding="utf-8"))
        machine = kept["provenance"]["machine"]
        assert DOCS[ROOT / "docs" / f"{name}.md"] == page(kept["results"], machine)
    assert "\n".join(recording.ratios(kept["results"])) in README
    assert f"on {machine}" in README.replace("\n", " ")


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
    assert "pip install --quiet --no-compile -r requirements.txt" in ci
    assert 'pip install -e ".[dev]" && pytest -n 2' in README
    assert 'pip install --quiet --no-compile -e ".[dev]"' in ci
    assert re.search(r"^pytest -n 2 ", ci, flags=re.MULTILINE)
    walk = (ROOT / ".ci" / "walk").read_text()
    first = re.search(r"^pip install -r requirements.txt && (python .*)$", README, flags=re.MULTILINE)
    assert 'pip" install -r requirements.txt' in walk and f"{{ {first[1]}; }}" in walk
    assert 'pip install -e ".[dev]"' in walk


def test_requirements_agree_with_the_package():
    pins = {line for line in (ROOT / "requirements.txt").read_text().splitlines() if ">=" in line}
    project = (ROOT / "pyproject.toml").read_text()
    assert {pin for pin in pins if f'"{pin}"' not in project} == set()


def test_the_table_of_models_is_that_of_the_zoo():
    assert zoo.TABLE.read_text(encoding="utf-8") == zoo.table()


def test_the_tests_that_pages_name_exist():
    files = (ROOT / "tests").glob("test_*.py")
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    there = {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}
    named = set(re.findall(r"`(test_\w+)`", "".join(DOCS.values())))
    assert named and named <= there


def test_the_page_of_the_papers_has_every_claim_where_the_papers_make_it():
    page = DOCS[ROOT / "docs" / "papers.md"]
    rows = re.findall(r"^\| (C\d+) [^|]*\| ([^|]*) \|.*?claims/(\w+)\.py", page, flags=re.MULTILINE)
    files = {claim: file for file in (signs, dynamics, encoding) for claim in file.CLAIMS}
    defined = {claim.id: file.__name__.rsplit(".", 1)[-1] for claim, file in files.items()}
    assert rows == [(claim.id, claim.where, defined[claim.id]) for claim in nl.claims.CLAIMS]
