"""The site is built in one command, without a warning, and asks no other host for anything."""

import importlib
import inspect
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import keras_neuronlevel as nl

for tool in ("mkdocs", "material", "mkdocstrings_handlers.python"):
    pytest.importorskip(tool, reason='pip install -e ".[docs]" brings what builds the site')

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
DOCS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
COMMAND = "mkdocs build -f .mkdocs.yml --strict"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", *COMMAND.split(), "-d", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


class Page(HTMLParser):
    """What a page loads (``assets``), where it leads (``links``), and the places in it (``ids``)."""

    def __init__(self, text):
        super().__init__()
        self.assets, self.links, self.ids = set(), set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids |= {found["id"]} if "id" in found else set()
        where = self.links if tag == "a" else self.assets
        where |= {found[name] for name in ("src", "href", "poster", "data") if found.get(name)}
        where |= set(re.findall(r"url\(([^)]+)\)", found.get("style") or ""))


def pages(site):
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_nothing_comes_from_another_host(site):
    for path, page in pages(site).items():
        assert [one for one in page.assets if re.match(r"(https?:)?//", one)] == [], path
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert styles and re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", styles) == []


def test_every_link_and_picture_is_there(site):
    for path, page in pages(site).items():
        if path.name == "404.html":  # its links start at the site's root
            continue
        here = [one.partition("#")[0] for one in page.assets | page.links if not re.match(r"\w+:", one)]
        assert [one for one in here if one and not (path.parent / one).exists()] == [], path


def test_every_page_is_in_the_navigation(site):
    menu = Page((site / "index.html").read_text(encoding="utf-8")).links
    written = [f"docs/{name.removesuffix('.md')}.html" for name in DOCS]
    assert set(written) <= menu
    assert {f"docs/api/{room}.html" for room in nl.__all__} <= menu


@pytest.mark.parametrize("room", nl.__all__)
def test_every_public_name_is_described(room, site):
    module = importlib.import_module(f"keras_neuronlevel.{room}")
    page = Page((site / "docs" / "api" / f"{room}.html").read_text(encoding="utf-8"))
    described = [
        name
        for name in module.__all__
        if inspect.getdoc(getattr(module, name)) and callable(getattr(module, name))
    ]
    assert [name for name in described if f"keras_neuronlevel.{room}.{name}" not in page.ids] == []


def test_docstrings_are_markdown(site):
    text = "".join(path.read_text(encoding="utf-8") for path in (site / "docs" / "api").glob("*.html"))
    prose = re.sub(r"<pre.*?</pre>", "", text, flags=re.DOTALL)
    assert re.findall(r":(?:func|class|meth|mod|data):", prose) == []
    assert "```" not in prose


def test_the_command_is_in_the_readme():
    assert COMMAND in (ROOT / "README.md").read_text(encoding="utf-8")
