"""The direction of imports: which room may know which, and that the light ones stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import keras_neuronlevel as nl

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "keras_neuronlevel"

# From the ground up; a room knows only rooms of floors below its own, and those of its floor named before it.
FLOORS = (
    (
        "checks",
        "divergence",
        "streams",
        "files",
        "interruption",
        "checkpoints",
        "samples",
        "schedules",
        "statistics",
        "data",
    ),
    (
        "neurons",
        "networks",
        "scores",
        "distribution",
        "resuming",
        "training",
        "selection",
        "records",
        "recording",
    ),
    ("dynamics", "plots", "probes", "evaluation", "videos"),
    # What a user imports for a network of their own is below this line, the reproduction above.
    ("papers", "results", "claims", "report", "protocol", "benchmarks"),
)
ORDER = [room for floor in FLOORS for room in floor]
# What a room of the reproduction must not know although it stands above.
NOT_FOR = {
    "results": {"dynamics", "plots", "probes", "evaluation", "records"},
    "claims": {"dynamics", "plots", "probes", "evaluation", "records"},
    "report": {"dynamics", "probes", "evaluation", "records"},
    "protocol": {"claims", "report"},
    "plots": {"dynamics"},
}


def rooms():
    paths = [path for path in PACKAGE.iterdir() if path.name[0] not in "_."]
    return sorted(path.stem for path in paths if path.suffix == ".py" or (path / "__init__.py").exists())


def known(room):
    """The other rooms that a room's files import, also within functions."""
    place = PACKAGE / room
    files = place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]
    found = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE.name):
                inner = node.module.split(".")[1:]
                found |= {inner[0]} if inner else {alias.name for alias in node.names}
            elif isinstance(node, ast.Import):
                names = [alias.name.split(".") for alias in node.names]
                found |= {name[1] for name in names if name[0] == PACKAGE.name and len(name) > 1}
    return found - {room}


def test_every_room_has_its_floor():
    assert sorted(ORDER) == rooms()


@pytest.mark.parametrize("room", ORDER)
def test_a_room_knows_only_what_is_below_it(room):
    below = set(ORDER[: ORDER.index(room)])
    assert known(room) <= below - NOT_FOR.get(room, set())


LIGHT = """
import importlib, sys
for room in ("data", "statistics", "dynamics", "papers", "results", "claims", "plots", "report", "videos"):
    importlib.import_module(f"keras_neuronlevel.{room}")
    unwanted = {"tensorflow", "matplotlib.pyplot"}
    unwanted |= set() if room in ("plots", "report", "videos") else {"matplotlib"}
    print(*(f"{room} imports {name}" for name in sorted(unwanted & sys.modules.keys())), end="")
"""


def test_light_rooms_do_not_import_what_is_heavy():
    """No TensorFlow, and only those that draw matplotlib; one after the other in a fresh process."""
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == ""


def test_editors_see_the_rooms_that_users_know():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert block.test.id == "TYPE_CHECKING"
    assert [alias.name for node in block.body for alias in node.names] == nl.__all__ == sorted(nl.__all__)
