"""The report as Markdown, for a repository's pages: pictures are linked, evidence is a list."""

import os
from pathlib import Path
from urllib.parse import quote

from keras_neuronlevel.report import document, texts
from keras_neuronlevel.results.tables import escape


def render(contents: document.Document) -> str:
    """``document.Document`` -> Markdown text; links are relative to its ``root``."""
    parts = [
        f"# {document.TITLE}",
        escape(texts.INTRODUCTION),
        "\n".join(f"- **{letter}**: {escape(paper)}" for letter, paper in texts.PAPERS),
        escape(texts.COMPARISON),
        "The same with single neurons to watch: `report.html`, which `python experiments/report.py` writes "
        "beside this file.",
    ]
    parts += _warnings(contents.warnings)
    parts += ["## Claims", escape(texts.READING), *_claims(contents.findings)]
    if contents.overview:
        parts += ["### " + contents.overview.caption, escape(texts.OVERVIEW), contents.overview.markdown()]
    parts += ["### Criteria and evidence", *map(_evidence, contents.findings)]
    for section in contents.sections:
        parts += _section(section, contents.root)
    if contents.missing:
        parts += ["## Not there yet", "\n".join(f"- {escape(line)}" for line in contents.missing)]
    return "\n\n".join(part for part in parts if part) + "\n"


def link(path: Path, root: Path) -> str:
    """A relative link from the folder ``root`` to a file."""
    return quote(Path(os.path.relpath(path, root)).as_posix())


def _warnings(warnings):
    return ["\n".join(f"- **Warning:** {escape(warning)}" for warning in warnings)] if warnings else []


def _claims(findings):
    rows = ["| claim | measured | verdict |", "| --- | --- | --- |"]
    for finding in findings:
        claim = finding.claim
        lines = [
            f"{quantity}: {effects}, {verdicts}{_noted(labels)}"
            for quantity, (effects, verdicts, labels) in finding.summary.items()
        ]
        cells = (
            f"**{escape(claim.id)}** {escape(claim.statement)} ({escape(claim.where)})",
            "<br>".join(map(escape, lines)) or escape(finding.comment) or "–",
            f"**{escape(finding.verdict)}**",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return ["\n".join(rows)]


def _noted(notes):
    notes = [str(note) for note in notes if note]
    return f" ({'; '.join(notes)})" if notes else ""


def _evidence(finding):
    claim = finding.claim
    lines = [
        f"**{escape(claim.id)}**, {escape(finding.verdict)}: {escape(finding.comment)}",
        "",
        f"Measured: {escape(claim.measurement)}",
        "",
        f"Criterion: {escape(claim.criterion)}",
        "",
    ]
    for quantity, measurements in finding.measurements.items():
        lines.append(f"- {escape(quantity)}")
        for m in measurements:
            over = f" over {m.evidence.over}" if m.evidence.over else ""
            notes = _noted((m.evidence.note, *m.further_labels))
            line = f"{', '.join(m.place)}: {m.effect}{over}: {m.evidence.verdict}{notes}"
            lines.append(f"  - {escape(line)}")
    return "\n".join(lines)


def _section(section, root):
    parts = [f"## {escape(section.title)}"]
    parts += [f"**{escape(label)}**" for label in section.labels]
    parts += [escape(section.lead)]
    for found in section.tables:
        parts += _captioned(found)
    for block in section.blocks:
        parts.append(f"### {escape(block.text.title)} ({escape(block.text.where)})")
        for picture in block.pictures:
            parts.append(f"![{escape(block.text.alt)}]({link(picture.path, root)})")
        parts += [f"The papers: {escape(block.text.papers)}"] if block.text.papers else []
        parts.append(f"Ours: {escape(block.text.ours)}")
        parts += [f"**{escape(label)}**" for label in section.labels]
        for found in block.tables:
            parts += _captioned(found)
    if section.videos:
        links = [f"[{escape(path.name)}]({link(path, root)})" for path in section.videos]
        parts += ["### Videos", escape(texts.VIDEOS), ", ".join(links)]
    if section.missing:
        parts.append(escape(f"Not drawn or measured yet: {', '.join(section.missing)}."))
    parts.append("### Provenance")
    for name, pairs in section.provenance:
        lines = [f"- {escape(term)}: {escape(value)}" for term, value in pairs]
        parts.append("\n".join([f"{escape(name)}:", "", *lines]))
    return parts


def _captioned(found):
    return [f"{escape(found.caption)}:", found.markdown(), escape(found.note)]
