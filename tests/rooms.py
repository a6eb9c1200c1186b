"""The rooms of the package in their order, and the page that lists them with their files.

    python tests/rooms.py

writes the list in docs/modules.md anew.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "keras_neuronlevel"
PAGE = ROOT / "docs" / "modules.md"
BEGIN, END = "<!-- rooms: made by tests/rooms.py -->", "<!-- end of rooms -->"

# From the ground up; a room knows only rooms of floors below its own, and those of its floor named before it.
FLOORS = (
    (
        "checks",
        "tabular",
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
        "normalization",
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
TITLES = (
    "The ground",
    "Networks, training, recording",
    "What is made of recordings and networks",
    "The reproduction",
)


def rooms():
    paths = [path for path in PACKAGE.iterdir() if path.name[0] not in "_."]
    return sorted(path.stem for path in paths if path.suffix == ".py" or (path / "__init__.py").exists())


def files(room):
    """The files of a room, ``__init__.py`` first."""
    place = PACKAGE / room
    return sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]


def listing():
    """A table for each floor: every room and file with the first words of its docstring."""
    tables = []
    for title, floor in zip(TITLES, FLOORS, strict=True):
        rows = [_row(room, path) for room in floor for path in files(room)]
        tables.append("\n".join([f"### {title}", "", "| room, file | what it is |", "| --- | --- |", *rows]))
    return "\n\n".join(tables)


def _row(room, path):
    whole = path.stem in ("__init__", room) and path.parent.name in (room, PACKAGE.name)
    words = " ".join(ast.get_docstring(ast.parse(path.read_text("utf-8"))).split("\n\n")[0].split())
    name = f"**{room}**" if whole else f"`{path.name}`"
    return f"| [{name}](../{path.relative_to(ROOT).as_posix()}) | {words.replace('``', '`')} |"


def page():
    """docs/modules.md with its list made anew."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    return f"{before}{BEGIN}\n\n{listing()}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
