"""The claims on the page: a table of all, and each with its criterion and its measurements to open."""

from keras_neuronlevel.claims import Evidence, units
from keras_neuronlevel.report import document
from keras_neuronlevel.report.elements import (
    badge,
    badge_or_text,
    escape,
    html_table,
    scrolling,
    verdict_class,
)
from keras_neuronlevel.results.tables import NOTHING, number

WIDTH = 260  # of a strip of effects, in pixels
MARGIN = 40  # at its ends, for the axis' ends in words
AXES = {unit.name: unit.axis for unit in units.UNITS}  # a length means the same wherever a unit is drawn


def overview(contents: document.Document) -> str:
    """All claims in one table."""
    labels = {found.which: found.label for found in contents.findings}

    def cell(text):
        if text not in labels:
            return badge_or_text(text)
        return badge(labels[text]) + escape(text.removeprefix(labels[text]))

    return f'<div class="overview">{html_table(contents.table(), cell)}</div>'


def claim(finding: document.Finding) -> str:
    """One claim: what it says, what was found, and the measurements to open."""
    found = finding.claim
    measurements = "".join(_quantity(words, pieces) for words, pieces in finding.quantities.items())
    count = len(finding.assessment.evidence)
    context = f"<p>{escape(finding.context)}</p>" if finding.context else ""
    return (
        f'<div class="claim" id="{escape(found.id)}"><h4><span class="id">{escape(found.id)}</span> '
        f"{escape(found.short)} {badge(finding.label)}</h4>"
        f'<p>{escape(finding.sentence)}</p>{context}<details class="evidence">'
        f"<summary>{escape(found.id)}: criterion, {count} measurements</summary>"
        f'<p>{escape(found.statement)} <span class="where">{escape(found.where)}</span></p>'
        f"<p><strong>Measured.</strong> {escape(found.measurement)}</p>"
        f"<p><strong>Criterion.</strong> {escape(found.criterion)}</p>"
        '<p class="only-printed">Printed is what decides; evidence.csv has all measurements.</p>'
        f"{measurements}</details></div>"
    )


def _quantity(words, pieces):
    body = "".join(map(_measurement, pieces))
    return scrolling(
        f"{words}, measurements",
        f"<table><caption>{escape(words)}</caption><thead><tr>"
        '<th scope="col">Where</th><th scope="col">Scale</th><th scope="col" class="n">Effect [interval]</th>'
        f'<th scope="col">Drawn: {escape(pieces[0].unit)}</th><th scope="col">Over</th>'
        f'<th scope="col">Verdict</th><th scope="col">Note</th></tr></thead><tbody>{body}</tbody></table>',
    )


def _measurement(piece):
    row = "tr" if piece.decides else 'tr class="aside"'
    return (
        f'<{row}><th scope="row">{escape(document.place(piece))}</th><td>{escape(piece.setting)}</td>'
        f'<td class="n">{escape(document.measured(piece))}</td><td>{strip(piece)}</td>'
        f"<td>{escape(piece.over or '')}</td><td>{badge(piece.verdict)}</td>"
        f'<td class="free">{escape(piece.note)}</td></tr>'
    )


def strip(piece: Evidence) -> str:
    """A dot for each seed, a line over each interval, an arrow where these leave the axis of their unit, and
    the limits."""
    low, high = AXES[piece.unit]

    def x(value):
        value = min(max(value, low), high)
        return f"{MARGIN + (WIDTH - 2 * MARGIN) * (value - low) / ((high - low) or 1):.1f}"

    marks = [
        f'<path class="base" d="M{MARGIN} 9H{WIDTH - MARGIN}"/>'
        f'<text class="end" x="{MARGIN - 9}" y="13">{low:g}</text>'
        f'<text x="{WIDTH - MARGIN + 9}" y="13">{high:g}</text>'
    ]
    marks += [f'<path class="limit" d="M{x(limit)} 1V17"/>' for limit in piece.limits]
    kind = verdict_class(piece.verdict)
    shown = piece.by_seed if len(piece.by_seed) == 2 else ((piece.effect, piece.interval),)
    for effect, interval in shown:
        if number(effect) == NOTHING:
            continue
        ends = tuple(interval or ())
        known = len(ends) == 2 and NOTHING not in map(number, ends)
        if known:
            marks.append(f'<path class="interval {kind}" d="M{x(ends[0])} 9H{x(ends[1])}"/>')
        reached = (*ends, effect) if known else (effect,)
        if min(reached) < low:
            marks.append(f'<path class="arrow {kind}" d="M{MARGIN + 5} 4L{MARGIN - 2} 9L{MARGIN + 5} 14"/>')
        if max(reached) > high:
            edge = WIDTH - MARGIN
            marks.append(f'<path class="arrow {kind}" d="M{edge - 5} 4L{edge + 2} 9L{edge - 5} 14"/>')
        if low <= effect <= high:
            radius = 4 if piece.decides else 2.5
            marks.append(f'<circle class="{kind}" cx="{x(effect)}" cy="9" r="{radius}"/>')
    return (
        f'<svg class="strip" viewBox="0 0 {WIDTH} 18" width="{WIDTH}" height="18" aria-hidden="true">'
        f"{''.join(marks)}</svg>"
    )
