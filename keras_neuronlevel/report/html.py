"""The report as one page that needs nothing beside itself: styles, script, data and pictures are inside.

A content security policy lets the page run its own script only, and load nothing.
"""

import base64
import hashlib
import string
from importlib import resources

from keras_neuronlevel.report import document, texts
from keras_neuronlevel.report.claims_table import claims_section
from keras_neuronlevel.report.elements import embedded_json, escape, html_table, label_list
from keras_neuronlevel.report.markdown import link

EMBEDDED_VIDEO = 1_500_000  # bytes; a larger one is linked
EMBEDDED = 7_000_000  # bytes of pictures and videos together; what comes after is linked
TYPES = {".png": "image/png", ".gif": "image/gif", ".mp4": "video/mp4"}


def render(contents: document.Document) -> str:
    """``document.Document`` -> HTML text."""
    style, script = _asset("page.css"), _asset("page.js")
    return string.Template(_asset("page.html")).substitute(
        policy=_policy(style, script),
        title=escape(document.TITLE),
        style=style,
        script=script,
        neurons=embedded_json(contents.neurons),
        navigation=_navigation(contents),
        content=_content(contents),
    )


def _asset(name):
    return (resources.files("keras_neuronlevel.report") / name).read_text(encoding="utf-8")


def _policy(style, script):
    """Only this style and this script, known by their digests, and only data that is in the page."""
    style, script = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)
    )
    return (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'sha256-{style}'; "
        f"script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'"
    )


def _navigation(contents):
    items = [("claims", "Claims")]
    items += [("neurons", "Single neurons")] if contents.neurons else []
    items += [(f"run-{i}", section.title) for i, section in enumerate(contents.sections)]
    items += [("missing", "Not there yet")] if contents.missing else []
    return "".join(f'<li><a href="#{anchor}">{escape(name)}</a></li>' for anchor, name in items)


def _content(contents):
    embed = _Embedder(contents.root)
    parts = [_introduction(contents), claims_section(contents)]
    parts += [_asset("neurons.html")] if contents.neurons else []
    parts += [_section(section, i, embed) for i, section in enumerate(contents.sections)]
    if contents.missing:
        lines = "".join(f"<li>{escape(line)}</li>" for line in contents.missing)
        parts.append(f'<section id="missing"><h2>Not there yet</h2><ul>{lines}</ul></section>')
    return "\n".join(parts)


def _introduction(contents):
    papers = "".join(
        f"<li><strong>{escape(letter)}</strong> <span>{escape(paper)}</span></li>"
        for letter, paper in texts.PAPERS
    )
    warnings = "".join(f'<p class="warning">Warning: {escape(text)}.</p>' for text in contents.warnings)
    return (
        f'<div class="lead"><p>{escape(texts.INTRODUCTION)}</p><ul class="papers">{papers}</ul>'
        f"<p>{escape(texts.COMPARISON)}</p>{warnings}</div>"
    )


def _section(section, i, embed):
    blocks = "".join(
        _block(block, f"figure-{i}-{j}", section, embed) for j, block in enumerate(section.blocks)
    )
    missing = ""
    if section.missing:
        missing = f'<p class="absent">Not drawn or measured yet: {escape(", ".join(section.missing))}.</p>'
    return (
        f'<section id="run-{i}"><h2>{escape(section.title)}</h2>{label_list(section.labels)}'
        f"<p>{escape(section.lead)}</p>{''.join(map(html_table, section.tables))}{blocks}"
        f"{_videos(section, embed)}{missing}{_provenance(section)}</section>"
    )


def _block(block, anchor, section, embed):
    text = block.text
    pictures = "".join(_picture(picture, text, embed) for picture in block.pictures)
    numbers = "".join(map(html_table, block.tables))
    if pictures:
        pictures = f'<div class="pictures">{pictures}</div>'
        summary = f"<summary>Numbers: {escape(text.title.lower())}</summary>"
        numbers = f"<details>{summary}{numbers}</details>" if numbers else ""
    papers = f"<p><strong>The papers.</strong> {escape(text.papers)}</p>" if text.papers else ""
    return (
        f'<div class="block"><h3 id="{anchor}">{escape(text.title)} '
        f'<span class="where">{escape(text.where)}</span></h3>{label_list(section.labels)}'
        f'<div class="beside">{pictures}<div class="words">{papers}'
        f"<p><strong>Ours.</strong> {escape(text.ours)}</p></div></div>{numbers}</div>"
    )


def _picture(picture, text, embed):
    source = embed(picture.path)
    if not source:
        name = f"{text.title}: the picture is a file beside this page"
        return f'<p><a href="{escape(link(picture.path, embed.root))}">{escape(name)}</a></p>'
    return (
        f'<figure><img src="{source}" width="{picture.width}" height="{picture.height}" '
        f'alt="{escape(text.alt)}"><button type="button" class="enlarge" aria-haspopup="dialog" hidden>'
        f'Enlarge<span class="unseen"> {escape(text.title)}</span></button></figure>'
    )


def _videos(section, embed):
    if not section.videos:
        return ""
    items = "".join(f"<li>{_video(path, embed)}</li>" for path in section.videos)
    return (
        f'<div class="block videos"><h3>Videos</h3>{label_list(section.labels)}<p>{escape(texts.VIDEOS)} '
        "They move only when you start them.</p>"
        f"<ul>{items}</ul></div>"
    )


def _video(path, embed):
    name = escape(path.stem.replace("_", " "))
    source = embed(path, EMBEDDED_VIDEO)
    if not source:
        return f'<a href="{escape(link(path, embed.root))}">{name} (a file beside this page)</a>'
    if path.suffix == ".mp4":
        video = f'<video controls loop muted playsinline src="{source}" aria-label="{name}"></video>'
        return f"<p>{name}</p>{video}"
    alt = f"Animated histograms of one neuron's pre-activations through training: {name}"
    return f'<details><summary>{name}</summary><img src="{source}" alt="{alt}"></details>'


def _provenance(section):
    parts = []
    for name, pairs in section.provenance:
        lines = "".join(f"<dt>{escape(term)}</dt><dd>{escape(value)}</dd>" for term, value in pairs)
        parts.append(f"<h4>{escape(name)}</h4><dl>{lines}</dl>")
    return (
        '<div class="block"><h3>Provenance</h3><details class="provenance">'
        f"<summary>Where these numbers come from</summary>{''.join(parts)}</details></div>"
    )


class _Embedder:
    """Gives a file as a data address until the page has its share of bytes."""

    def __init__(self, root):
        self.root = root
        self._left = EMBEDDED

    def __call__(self, path, limit=EMBEDDED):
        """The address, or None for a file that is too large and is to be linked."""
        size = path.stat().st_size * 4 / 3
        if size > min(limit, self._left):
            return None
        self._left -= size
        encoded = base64.b64encode(path.read_bytes()).decode()
        return f"data:{TYPES[path.suffix]};base64,{encoded}"
