"""The claims as the page shows them: one row each, and its criterion and evidence to open."""

import math

from keras_neuronlevel import papers
from keras_neuronlevel.report import document, texts
from keras_neuronlevel.report.elements import (
    VERDICTS,
    badge,
    badge_or_text,
    escape,
    html_table,
    label_list,
    scrolling,
    verdict_class,
)
from keras_neuronlevel.results.tables import NOTHING, number

WIDTH = 180  # of a strip of effects, in pixels
MARGIN = 32  # at its ends, for the axis' ends in words
AXES = ((0, 0.1), (0, 1), (-0.1, 0.1), (-1, 1), (0, 100), (-100, 100))


def claims_section(contents: document.Document) -> str:
    """The section of a ``document.Document`` that stands first."""
    verdicts = [finding.verdict for finding in contents.findings]
    tally = ", ".join(f"{verdicts.count(v)} {badge(v)}" for v in VERDICTS if v in verdicts)
    rows = "".join(map(_claim, contents.findings))
    overview = ""
    if contents.overview:
        overview = (
            f"<h3>The same by network</h3><p>{escape(texts.OVERVIEW)}</p>"
            f"{html_table(contents.overview, badge_or_text)}"
        )
    return (
        f'<section id="claims"><h2>{_count(contents.findings)}</h2><p>{tally}.</p>'
        "<p>A dot is what one network or layer measured, the line across it its interval. Filled dots hold, "
        "red rings do not, grey broken ones are undecided; small ones do not decide, and their note says "
        "why.</p>"
        f"<details><summary>How to read the numbers</summary><p>{escape(texts.READING)}</p></details>"
        '<p><button type="button" id="evidence-toggle" hidden>Show all evidence</button></p>'
        '<table class="claims" role="table"><thead role="rowgroup"><tr role="row">'
        '<th scope="col" role="columnheader">What the papers say</th>'
        '<th scope="col" role="columnheader">What our runs measured</th>'
        '<th scope="col" role="columnheader">Verdict</th></tr></thead>'
        f'<tbody role="rowgroup">{rows}</tbody></table>{overview}</section>'
    )


def _count(findings):
    ours = sum(finding.claim.owner != papers.PAPERS for finding in findings)
    return f"{len(findings) - ours} claims of the papers" + (f", {ours} of ours" if ours else "")


def _claim(finding):
    claim = finding.claim
    strips = "".join(
        _strip_line(quantity, line, finding.measurements[quantity])
        for quantity, line in finding.summary.items()
    )
    measured = f'<ul class="strips">{strips}</ul>' if strips else f"<p>{escape(finding.comment)}</p>"
    details = (
        f"<p><strong>Measured.</strong> {escape(claim.measurement)}</p>"
        f"<p><strong>Criterion.</strong> {escape(claim.criterion)}</p>"
        f"<p><strong>Result.</strong> {escape(finding.comment)}</p>"
    )
    details += "".join(_quantity(quantity, found) for quantity, found in finding.measurements.items())
    count = "no measurements" if not finding.count else f"{finding.count} measurements"
    return (
        f'<tr role="row" id="{escape(claim.id)}"><th scope="row" role="rowheader">'
        f'<span class="id">{escape(claim.id)}</span> {escape(claim.statement)} '
        f'<span class="where">{escape(claim.where)}</span></th>'
        f'<td role="cell">{measured}</td><td role="cell">{badge(finding.verdict)}</td></tr>'
        '<tr role="row" class="more"><td role="cell" colspan="3"><details class="evidence">'
        f"<summary>{escape(claim.id)}: criterion, {count}</summary>{details}</details></td></tr>"
    )


def _strip_line(quantity, line, measurements):
    """One quantity in a line: all its effects on one axis, and ``document.summarize`` of them."""
    effects, verdicts, labels = line
    return (
        f'<li><span class="quantity">{escape(quantity)}{label_list(labels)}</span>'
        f'{_strip(measurements, _axis(measurements))}<span class="range">{escape(effects)}</span> '
        f'<span class="held">{escape(verdicts)}</span></li>'
    )


def _axis(measurements):
    """The ends of the axis on which a quantity's effects are drawn; intervals may reach beyond it."""
    effects = [m.evidence.effect for m in measurements if number(m.evidence.effect) != NOTHING]
    low, high = min(effects, default=0), max(effects, default=1)
    fitting = [ends for ends in AXES if ends[0] <= low and high <= ends[1]]
    return fitting[0] if fitting else (math.floor(low), math.ceil(high))


def _strip(measurements, axis):
    """Dots at the effects and lines over their intervals; the numbers stand beside it as text."""
    low, high = axis

    def x(value):
        value = min(max(value, low), high)
        return f"{MARGIN + (WIDTH - 2 * MARGIN) * (value - low) / ((high - low) or 1):.1f}"

    marks = [
        f'<path class="base" d="M{MARGIN} 9H{WIDTH - MARGIN}"/>'
        f'<text class="end" x="{MARGIN - 8}" y="13">{low:g}</text>'
        f'<text x="{WIDTH - MARGIN + 8}" y="13">{high:g}</text>'
    ]
    marks += [f'<path class="zero" d="M{x(0)} 2V16"/>'] if low < 0 < high else []
    for m in measurements:
        found, ends = m.evidence, m.evidence.interval or ()
        if number(found.effect) == NOTHING:
            continue
        kind = verdict_class(found.verdict)
        if len(ends) == 2 and NOTHING not in map(number, ends):
            marks.append(f'<path class="interval {kind}" d="M{x(ends[0])} 9H{x(ends[1])}"/>')
        radius = 4 if found.decides else 2.5
        marks.append(f'<circle class="{kind}" cx="{x(found.effect)}" cy="9" r="{radius}"/>')
    return (
        f'<svg class="strip" viewBox="0 0 {WIDTH} 18" width="{WIDTH}" height="18" aria-hidden="true">'
        f"{''.join(marks)}</svg>"
    )


def _quantity(quantity, measurements):
    axis = _axis(measurements)
    notes = ("Note",) if any(m.evidence.note for m in measurements) else ()
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Interval over", "Verdict", *notes))
    body = "".join(_measurement(m, axis, bool(notes)) for m in measurements)
    return scrolling(
        f"{quantity}, measurements",
        f"<table><caption>{escape(quantity)}</caption><thead><tr>"
        '<th scope="col">Experiment</th><th scope="col">Where</th>'
        '<th scope="col" class="n">Effect [interval]</th>'
        '<th scope="col"><span class="unseen">Drawn</span></th>'
        f"{head}</tr></thead><tbody>{body}</tbody></table>",
    )


def _measurement(measurement, axis, with_note):
    found = measurement.evidence
    experiment, *place = measurement.place
    note = f'<td class="free">{escape(found.note or "")}</td>' if with_note else ""
    return (
        f"<tr><td>{escape(experiment)}{label_list(measurement.further_labels)}</td>"
        f'<th scope="row">{escape(", ".join(place))}</th><td class="n">{escape(measurement.effect)}</td>'
        f"<td>{_strip([measurement], axis)}</td><td>{escape(found.over or '')}</td>"
        f"<td>{badge(found.verdict)}</td>{note}</tr>"
    )
