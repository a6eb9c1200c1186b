"""The notebook, executed: its outputs are committed, so that it can be read where nothing runs.

    python tests/notebook.py

writes them anew.
"""

import re
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
PATH = ROOT / "experiments" / "record_your_own.ipynb"
# What TensorFlow says as it starts, whatever its log level.
STARTING = re.compile(r"^(?:WARNING: All log messages before absl|[IWE]\d{4} [\d:.]+).*", re.MULTILINE)


def read():
    return nbformat.read(PATH, as_version=4)


def executed():
    """The notebook with the outputs of a run of its own, in an empty folder."""
    notebook = read()
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=600, resources=resources).execute()
    for cell in notebook.cells:
        cell.metadata.clear()
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _starting(output)]
    known = ("kernelspec", "language_info")
    notebook.metadata = {name: {"name": notebook.metadata[name]["name"]} for name in known}
    notebook.metadata["kernelspec"] |= {"display_name": "Python 3", "language": "python"}
    return notebook


def _starting(output):
    return output.get("name") == "stderr" and not STARTING.sub("", output.text).strip()


def kinds(notebook):
    """For each code cell the kinds of its outputs."""
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [[sorted(one.get("data", [one.get("name")])) for one in cell.outputs] for cell in codes]


if __name__ == "__main__":
    nbformat.write(executed(), PATH)
