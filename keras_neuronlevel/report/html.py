"""The report as one page that needs nothing beside itself: styles, script, data and pictures are inside.

A content security policy lets the page run its own script only, and load nothing.
"""

import base64
import hashlib
import string
from importlib import resources

from keras_neuronlevel.report import claims_table, document, texts
from keras_neuronlevel.report.elements import embedded_json, escape, html_table, label_list
from keras_neuronlevel.report.markdown import link, summary

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
    items += [(f"figure-{figure.name}", figure.text.title) for figure in contents.figures]
    items += [("runs", "Runs")]
    return "".join(f'<li><a href="#{anchor}">{escape(name)}</a></li>' for anchor, name in items)


def _content(contents):
    embed = _Embedder(contents.root)
    parts = [_verdict(contents, embed)]
    parts += [_asset("neurons.html")] if contents.neurons else []
    parts += [_figure(figure, embed) for figure in contents.figures]
    return "\n".join([*parts, _runs(contents, embed)])


def _verdict(contents, embed):
    warnings = "".join(f'<p class="warning">Warning: {escape(text)}.</p>' for text in contents.warnings)
    picture = ""
    if contents.strip:
        picture = _pictures(contents.strip, "In four panels", texts.STRIP, embed)
    about = "".join(
        f"<p><strong>{escape(title)}.</strong> {escape(text)}</p>" for title, text in summary(contents)
    )
    sources = "".join(
        f"<li><strong>{escape(letter)}</strong> <span>{escape(paper)}</span></li>"
        for letter, paper in texts.PAPERS
    )
    return (
        '<section id="claims"><h2>What came out</h2>'
        f'<p class="result">{escape(contents.result)}</p>{warnings}'
        f"{picture}{claims_table.overview(contents)}"
        f"<details><summary>Summary, and how to read the numbers</summary>{about}"
        f"<p>{escape(texts.TERMS)}</p><p>{escape(texts.READING)}</p>"
        f'<ul class="papers">{sources}</ul></details>'
        '<p><button type="button" id="evidence-toggle" hidden>Show all evidence</button></p></section>'
    )


def _figure(figure, embed):
    text = figure.text
    picture = '<p class="absent">Not drawn yet.</p>'
    if figure.picture:
        picture = _pictures(figure.picture, text.title, text.alt, embed)
    numbers = "".join(map(html_table, figure.tables))
    if numbers:
        title = f"Numbers: {escape(text.title.lower())}"
        numbers = f'<details class="numbers"><summary>{title}</summary>{numbers}</details>'
    claims = "".join(map(claims_table.claim, figure.findings))
    claims = f"<h3>Claims</h3>{claims}" if claims else ""
    ours = f"<p>{escape(text.ours)}</p>" if text.ours else ""
    return (
        f'<section class="block" id="figure-{figure.name}"><h2>{escape(text.title)} '
        f'<span class="where">{escape(text.where)}</span></h2>{picture}'
        f'<div class="words"><p><strong>The papers.</strong> {escape(text.papers)}</p>{ours}</div>'
        f"{claims}{numbers}</section>"
    )


def _runs(contents, embed):
    parts = "".join(_section(section, embed) for section in contents.sections)
    missing = "".join(f"<li>{escape(line)}</li>" for line in contents.missing)
    missing = f"<h3>Not there yet</h3><ul>{missing}</ul>" if missing else ""
    return (
        '<section id="runs"><h2>Runs</h2><details><summary>What was run, and where the numbers come from'
        f"</summary>{parts}</details>{missing}</section>"
    )


def _section(section, embed):
    return (
        f"<h3>{escape(section.title)}</h3>{label_list(section.labels)}"
        f"<p>{escape(section.lead)}</p>{''.join(map(html_table, section.tables))}"
        f"{_videos(section, embed)}{_provenance(section)}"
    )


def _pictures(picture, title, alt, embed):
    """A picture in a box that scrolls where the page is narrow."""
    drawn = _picture(picture, title, alt, embed)
    return (
        f'<div class="pictures scroll" role="region" aria-label="{escape(title)}" tabindex="0">{drawn}</div>'
    )


def _picture(picture, title, alt, embed):
    source = embed(picture.path)
    if not source:
        name = f"{title}: the picture is a file beside this page"
        return f'<p><a href="{escape(link(picture.path, embed.root))}">{escape(name)}</a></p>'
    return (
        f'<figure><img src="{source}" width="{picture.width}" height="{picture.height}" '
        f'alt="{escape(alt)}"><button type="button" class="enlarge" aria-haspopup="dialog" hidden>'
        f'Enlarge<span class="unseen"> {escape(title)}</span></button></figure>'
    )


def _videos(section, embed):
    if not section.films:
        return ""
    items = "".join(f"<li>{_video(film.path, embed)}</li>" for film in section.films)
    return (
        f'<div class="block videos"><h4>Films</h4><p>{escape(texts.VIDEOS)} '
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
        '<details class="provenance"><summary>Where these numbers come from</summary>'
        f"{''.join(parts)}</details>"
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
