"""The report as Markdown: REPORT.md, the page of the figures, and the README's part made of both."""

import dataclasses
import os
from pathlib import Path
from urllib.parse import quote

from keras_neuronlevel import papers
from keras_neuronlevel.claims.evidence import SETTINGS
from keras_neuronlevel.report import document, texts
from keras_neuronlevel.results.tables import NOTHING, escape

FIGURES = "# Figures: what the papers show, what ours show"
BEGIN, END = "<!-- findings: made by experiments/report.py -->", "<!-- end of findings -->"


def report(contents: document.Document) -> str:
    """REPORT.md: the summary that reproducibility reports have, and a paragraph for each claim."""
    parts = [f"# {document.TITLE}", "## Reproducibility summary"]
    parts += [f"**{title}.** {escape(text)}" for title, text in summary(contents)]
    parts += _warnings(contents.warnings)
    parts += ["## Claims", escape(texts.TERMS), contents.table().markdown(), escape(texts.READING)]
    parts.append(
        "Every measurement: [evidence.csv](evidence.csv) (`by_seed`: value, low and high end of the interval "
        "of one seed after the other). The figures: [README.md](README.md)."
    )
    parts += [_claim(finding) for finding in contents.findings]
    parts.append("## Runs")
    parts += [_run(section) for section in contents.sections]
    if contents.missing:
        parts += ["## Not there yet", "\n".join(f"- {escape(line)}" for line in contents.missing)]
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(contents: document.Document) -> list[tuple[str, str]]:
    """(title, text) of the parts of a reproducibility summary."""
    return [
        ("Scope", texts.SCOPE),
        ("Method", texts.METHOD),
        ("Results", " ".join(filter(None, (contents.result, contents.tally, texts.COMPARISON)))),
        ("What was easy", texts.EASY),
        ("What was difficult", texts.DIFFICULT),
    ]


def figures(contents: document.Document) -> str:
    """The page of the figures: for each figure of the papers our picture, what they say, what we find."""
    parts = [
        FIGURES,
        "**E** is the ESANN paper, **I** the longer text. Tinted panels are not at the papers' scale. How "
        "the runs were made: [docs/runs.md](../docs/runs.md). Claim by claim: [REPORT.md](REPORT.md).",
    ]
    for figure in contents.figures:
        if not figure.picture and not figure.tables:
            continue
        parts.append(f"## {escape(figure.text.title)} ({escape(figure.text.where)})")
        if figure.picture:
            parts.append(f"![{escape(figure.text.alt)}]({link(figure.picture.path, contents.root)})")
        parts.append(f"**They:** {escape(figure.text.papers)}")
        if figure.findings:
            parts += ["**We:**", "\n".join(f"- {escape(line)}" for line in told(figure))]
        parts += [f"*{escape(figure.text.ours)}*"] if figure.text.ours else []
        if figure.themselves:
            parts.append(f"{texts.OWN} {_links([one.path for one in figure.themselves], contents.root)}.")
        numbers = "\n\n".join(
            part
            for t in figure.tables
            for part in (f"{escape(t.caption)}:", t.markdown(), escape(t.note))
            if part
        )
        parts += [f"<details><summary>Numbers</summary>\n\n{numbers}\n\n</details>"] if numbers else []
    films = [film.path for section in contents.sections for film in section.films]
    if films:
        parts += ["## Films (E §4; I §4.2)", f"{escape(texts.VIDEOS)} {_links(films, contents.root)}"]
    return "\n\n".join(parts) + "\n"


def _links(paths, root):
    """Links to files, each by its place below the root."""
    return ", ".join(
        f"[{escape(Path(os.path.relpath(path, root)).as_posix())}]({link(path, root)})" for path in paths
    )


def told(figure: document.Figure) -> list[str]:
    """What we find beside a figure, a line for each claim."""
    return [f"{one.claim.id}, {one.label}: {one.sentence} {one.context}".strip() for one in figure.findings]


def readme(text: str, contents: document.Document, root: Path) -> str:
    """A README whose part between ``BEGIN`` and ``END`` is made anew; its links are relative to ``root``.

    Raises:
        ValueError: where the README has no such part.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README has no lines {BEGIN!r} and {END!r}; put them where the findings belong")
    rows = [
        (row[0], row[1] if row[1] != NOTHING else _elsewhere(row), row[-1])
        for row in contents.table(papers.PAPERS).rows
    ]
    lines = [f"| {' | '.join(map(escape, row))} |" for row in rows]
    parts = [f"**{escape(contents.result)}**"]
    if contents.strip:
        parts.append(f"![{escape(texts.STRIP)}]({link(contents.strip.path, root)})")
    seeds = f" ({contents.seeds})" if contents.seeds else ""
    head = ["claim", f"effect, range over layers{escape(seeds)}", "result"]
    parts.append("\n".join([f"| {' | '.join(head)} |", "| --- | --- | --- |", *lines]))
    parts.append(escape(texts.TERMS))
    film = _film(contents)
    if film:
        alt = f"The pre-activations through training of {film.neuron or 'one neuron'}"
        parts.append(f"![{escape(alt)}]({link(film.path, root)})<br>{escape(_filmed(film, contents))}")
    return "\n".join([before + begin, "", "\n\n".join(parts), "", end + after])


def _film(contents):
    """A film in the form that a page can show by itself, or None."""
    found = [film for section in contents.sections for film in section.films]
    found = [dataclasses.replace(film, path=film.path.with_suffix(".gif")) for film in found]
    return next((film for film in sorted(found, key=lambda one: one.path) if film.path.exists()), None)


def _filmed(film, contents):
    """What the film shows, and that the strip shows another neuron, where that is known."""
    told = f"The film: {film.neuron or 'one neuron'} (its number stands in it)"
    strip = contents.strip_neuron if contents.strip else None
    if strip and film.neuron and film.neuron != dataclasses.replace(strip, unit=None):
        told += f"; the strip's first two panels: another, {strip}"
    return f"{told}."


def _elsewhere(row):
    """The effect where it was measured only elsewhere, which decides nothing."""
    found = [
        f"{cell} at {name}" for name, cell in zip(SETTINGS[1:], row[2:], strict=False) if cell != NOTHING
    ]
    return f"({found[0]})" if found else NOTHING


def link(path: Path, root: Path) -> str:
    """A relative link from the folder ``root`` to a file."""
    return quote(Path(os.path.relpath(path, root)).as_posix())


def _warnings(warnings):
    return ["\n".join(f"- **Warning:** {escape(warning)}" for warning in warnings)] if warnings else []


def _claim(finding):
    claim = finding.claim
    return "\n\n".join(
        [
            f"### {escape(claim.id)} {escape(claim.short)}: {escape(finding.label)}",
            f"{escape(claim.statement)} ({escape(claim.where)}) **{escape(finding.sentence)}**",
            *([escape(finding.context)] if finding.context else []),
            f"Measured: {escape(claim.measurement)} Criterion: {escape(claim.criterion)}",
        ]
    )


def _run(section):
    labels = "".join(f" ({escape(label)})" for label in section.labels)
    tables = "\n\n".join(table.markdown() for table in section.tables)
    return "\n\n".join(
        part for part in (f"**{escape(section.title)}**{labels}. {escape(section.lead)}", tables) if part
    )
