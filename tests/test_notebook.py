"""The notebook runs, and its committed outputs can be read by anyone."""

import re

import pytest

pytest.importorskip("nbclient", reason='pip install -e ".[test]" brings what runs notebooks')
pytest.importorskip("ipykernel", reason='pip install -e ".[test]" brings what runs notebooks')

import notebook


@pytest.mark.slow
def test_it_runs_and_gives_outputs_of_the_committed_kinds():
    assert notebook.kinds(notebook.executed()) == notebook.kinds(notebook.read())


def test_the_committed_outputs_are_of_one_run_from_top_to_bottom():
    codes = [cell for cell in notebook.read().cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in codes] == list(range(1, len(codes) + 1))
    pictures = [output for cell in codes for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 4


def test_the_committed_file_is_small_and_tells_nothing_of_a_machine():
    assert notebook.PATH.stat().st_size < 1e6
    text = notebook.PATH.read_text(encoding="utf-8")
    assert "stderr" not in text and "Warning" not in text
    cells = notebook.read().cells
    words = "".join(cell.source for cell in cells)
    words += "".join(str(output.get("text")) for cell in cells for output in cell.get("outputs", []))
    assert re.findall(r"(?<!\w)/(?:root|home|tmp|Users|usr|work)/|[A-Z]:\\\\", words) == []


def test_its_links_lead_somewhere():
    links = [link for cell in notebook.read().cells for link in re.findall(r"\]\(([^)#]+)\)", cell.source)]
    assert links and [link for link in links if not (notebook.PATH.parent / link).exists()] == []
