"""What the site is made of: the repository's pages under their own paths, a page for each public room.

Links that work in the repository work in the site: its pages lie as they do there, and what they link to
comes along, source files as pages. ``nl.room.name`` in a page leads into the API, and must be there.
"""

import base64
import contextlib
import json
import re
from pathlib import Path

import griffe
from mkdocs.structure.files import File, Files

import keras_neuronlevel as nl

ROOT = Path(__file__).resolve().parent.parent
START = "README.md", "figures/README.md", "figures/REPORT.md", "docs/site.css"
LINK = re.compile(r"(\]\()([^)#\s]+)")
CODE = re.compile(r"(?<!\[)`nl\.([\w.]*\w)([^`\n]*)`")
ROLE = re.compile(r":(?:class|func|meth|mod|data):`(~?)([\w.]+)`")
FENCE = re.compile(r"(^```.*?^```$)", flags=re.DOTALL | re.MULTILINE)


def on_config(config):
    """The API's pages come after the guide."""
    pages = [{f"nl.{room}": api(room)} for room in nl.__all__]
    return config.nav.insert(3, {"API": pages})


def on_files(files, config):
    """The theme's files, the repository's pages with all that they link to, and the API's pages."""
    found = {file.src_uri: file for file in files if file.src_dir != config.docs_dir}
    waiting, seen = [*START, *pages()], set()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            found |= {file.src_uri: file for file in members(config, path)}
            waiting += linked(path) if path.endswith(".md") else []
    for room in nl.__all__:
        content = f"::: keras_neuronlevel.{room}\n"
        found[api(room)] = File.generated(config, api(room), content=content)
    return Files(found.values())


def on_page_markdown(markdown, page, **_):
    """Links to sources and notebooks lead to their pages, names to the API; <details> hold Markdown."""
    if page.file.src_uri.endswith(".py.md"):
        return markdown
    parts = FENCE.split(markdown)
    return "".join(part if i % 2 else _prose(part) for i, part in enumerate(parts))


def _prose(text):
    text = LINK.sub(lambda m: m[0] + ".md" if m[2].endswith((".py", ".ipynb")) else m[0], text)
    text = CODE.sub(r"[`nl.\1\2`][keras_neuronlevel.\1]", text)
    return text.replace("<details>", '<details markdown="1">')


def api(room):
    return f"docs/api/{room}.md"


def pages():
    return [f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")]


def linked(path):
    """The files that a page links to, by their paths in the repository."""
    text = FENCE.sub("", (ROOT / path).read_text(encoding="utf-8"))
    links = [link for _, link in LINK.findall(text) if "://" not in link]
    targets = [(ROOT / path).parent.joinpath(link).resolve() for link in links]
    return [target.relative_to(ROOT).as_posix() for target in targets if target.is_file()]


def members(config, path):
    """A file of the repository as files of the site: sources and notebooks as pages, and their pictures."""
    if path.endswith(".py"):
        text = (ROOT / path).read_text(encoding="utf-8")
        return [File.generated(config, f"{path}.md", content=f"# {path}\n\n````python\n{text}````\n")]
    if path.endswith(".ipynb"):
        return notebook(config, path)
    return [File(path, str(ROOT), config.site_dir, config.use_directory_urls)]


def notebook(config, path):
    """A notebook's text, code and outputs, as they are in the file, and its pictures."""
    texts, pictures = [], []
    for cell in json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        texts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                name = f"{path}.{len(pictures)}.png"
                content = base64.b64decode(output["data"]["image/png"])
                pictures.append(File.generated(config, name, content=content))
                texts.append(f"![What the code above draws]({Path(name).name})")
            elif "text" in output:
                texts.append(f"```text\n{''.join(output['text'])}```")
    return [File.generated(config, f"{path}.md", content="\n\n".join(texts) + "\n"), *pictures]


class Rooms(griffe.Extension):
    """The package as its users see it, with docstrings in Markdown.

    ``:func:`name` `` becomes a link where the API has that name, ``::`` a colon. A function that a room
    exports under the name of the file that it is from hides that file, as Python has it.
    """

    def on_package(self, *, pkg, **_):
        modules = [pkg, *_below(pkg)]
        for module in modules:
            _resolve(module)
        for module in modules:
            _rewrite(module)
            for name, path in module.imports.items():
                if path == f"{module.path}.{name}.{name}":
                    function = module.members[name].members[name]
                    module.members[name] = griffe.Alias(name, target=function, parent=module)


def _below(module):
    for inner in module.members.values():
        if not inner.is_alias and inner.is_module:
            yield from (inner, *_below(inner))


def _resolve(thing):
    """Names that come from other files are looked up while every file can be reached by its path."""
    for member in thing.members.values():
        if member.is_alias:
            with contextlib.suppress(griffe.AliasResolutionError, griffe.CyclicAliasError):
                member.resolve_target()


def _rewrite(thing):
    if thing.docstring:
        text = ROLE.sub(lambda m: _reference(thing, m[2], short=bool(m[1])), thing.docstring.value)
        thing.docstring.value = re.sub(r"::(?=\n\n +)", ":", text)
    for member in thing.members.values():
        if not (member.is_alias or member.is_module):
            _rewrite(member)


def _reference(thing, name, short):
    words = name.rsplit(".", 1)[-1] if short else name
    first, _, rest = name.partition(".")
    try:
        whole = name if first == nl.__name__ else ".".join(filter(None, (thing.resolve(first), rest)))
    except griffe.NameResolutionError:
        return f"`{words}`"
    return f'<autoref optional identifier="{whole}"><code>{words}</code></autoref>'
