"""Pieces of the page. Everything that comes from files passes ``escape``."""

import html
import json
from collections.abc import Callable, Sequence

from keras_neuronlevel import claims, files
from keras_neuronlevel.results.tables import Table

# Verdicts and their classes in page.css, where each has a sign of its own beside its colour.
VERDICTS = dict(zip(claims.VERDICTS, ("yes", "no", "open", "part", "none"), strict=True))
VERDICTS |= dict(zip(claims.LABELS, ("yes", "yes", "part", "no", "none"), strict=True))


def escape(value: object) -> str:
    return html.escape(str(value), quote=True)


def embedded_json(value: object) -> str:
    """JSON that cannot end the script element that holds it."""
    text = json.dumps(files.plain(value), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def verdict_class(verdict: str) -> str:
    return VERDICTS.get(verdict, "none")


def badge(verdict: str) -> str:
    return f'<span class="verdict {verdict_class(verdict)}">{escape(verdict)}</span>'


def badge_or_text(text: str) -> str:
    return badge(text) if text in VERDICTS else escape(text)


def label_list(labels: Sequence[str]) -> str:
    """What must be known wherever a number is shown: stand-in, scale, incomplete."""
    return "".join(f' <span class="label">{escape(label)}</span>' for label in labels)


def html_table(found: Table, cell: Callable[[str], str] = escape) -> str:
    """A ``tables.Table`` in a box of its own, and its note below."""
    head = "".join(
        f'<th scope="col"{_kind(found, i)}>{escape(text)}</th>' for i, text in enumerate(found.head)
    )
    body = "".join(_row(found, row, cell) for row in found.rows)
    note = f'<p class="note">{escape(found.note)}</p>' if found.note else ""
    table = (
        f"<table><caption>{escape(found.caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )
    return scrolling(found.caption, table) + note


def _row(found, row, cell):
    head, *rest = row
    cells = "".join(f"<td{_kind(found, i)}>{cell(text)}</td>" for i, text in enumerate(rest, 1))
    return f'<tr><th scope="row">{escape(head)}</th>{cells}</tr>'


def _kind(found, i):
    """The class of column i: numbers stand to the right."""
    return ' class="n"' if i >= found.names else ""


def scrolling(name: str, table: str) -> str:
    """A box for a wide table: it scrolls, by keyboard too, and the page does not."""
    return f'<div class="scroll" role="region" aria-label="{escape(name)}" tabindex="0">{table}</div>'
