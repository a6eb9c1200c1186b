"""The papers' findings, what would decide each, and what the results at hand say.

The criteria come from the papers' words: "most", "around half", "with much higher accuracy", order and
symmetry. Where the words leave a number open, the number is a named constant beside its claim, chosen for
what it means and marked as a judgement; it is ours, not the papers'. A piece of evidence holds when *all* of
its interval is on the side of the limit that the finding wants, does not hold when all of it is on the other,
and is undecided in between; of two seeds each speaks for itself. A claim's pieces are its finding, or belong
to its wording alone; :func:`label` says in one of ``LABELS`` what those of the papers' networks, on the
papers' data and at the papers' scale, say together. What was measured at a reduced scale, on networks of ours
or on stand-ins is shown beside it, in columns of its own, and decides nothing.

``metrics.json`` files of older releases lack some of the numbers; what is lacking is not measured. A further
claim is a row in one of the modules here, in its ``CLAIMS``; one that is not the papers' has
``owner=papers.OURS``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from keras_neuronlevel import tabular
from keras_neuronlevel.claims import dynamics, encoding, evidence, signs
from keras_neuronlevel.claims.claim import Claim, Context
from keras_neuronlevel.claims.evidence import (
    FAILS,
    HOLDS,
    NOT_MEASURED,
    PAPERS_SCALE,
    VERDICTS,
    Evidence,
    Group,
)

if TYPE_CHECKING:
    import pandas

__all__ = [
    "CLAIMS",
    "LABELS",
    "VERDICTS",
    "Assessment",
    "Claim",
    "Evidence",
    "assess",
    "label",
    "measurements",
    "places",
    "to_dataframe",
]

CLAIMS = tuple(
    sorted((*signs.CLAIMS, *dynamics.CLAIMS, *encoding.CLAIMS), key=lambda claim: int(claim.id[1:]))
)


LABELS = REPRODUCED, WEAKER, SOME_LAYERS, NOT_REPRODUCED, NOT_TESTABLE = (
    "reproduced",
    "reproduced, weaker than worded",
    "only in some layers",
    "not reproduced",
    "not testable here",
)


@dataclasses.dataclass(frozen=True)
class Assessment:
    """A claim's label, one of ``LABELS``, and the ``Evidence`` behind it."""

    claim: Claim
    label: str
    evidence: tuple[Evidence, ...]

    def effect(
        self, setting: str = PAPERS_SCALE, experiments: Collection[str] | None = None
    ) -> tuple[float, float] | None:
        """The least and the greatest of the claim's one effect size over the layers that it is asked of, in
        one of the settings; of the ``experiments`` alone where they are given."""
        pieces = [piece for piece in self._of(self.claim.headline, setting) if piece.asked]
        return _range([p for p in pieces if experiments is None or p.experiment in experiments])

    def ranges(self, context: Context, setting: str = PAPERS_SCALE) -> list[tuple[float, float]] | None:
        """The same of each quantity of one of the claim's contexts, of all layers, or None where one of them
        was not measured."""
        found = [_range(self._of(quantity, setting)) for quantity in context.quantities]
        known = [span for span in found if span]
        return known if len(known) == len(found) else None

    def _of(self, quantity, setting):
        return [p for p in self.evidence if (p.quantity, p.setting) == (quantity, setting)]


def _range(pieces):
    return (min(p.effect for p in pieces), max(p.effect for p in pieces)) if pieces else None


def assess(results: Sequence[dict], claims: Sequence[Claim] = CLAIMS) -> list[Assessment]:
    """An ``Assessment`` of every claim, in their order.

    Args:
        results: ``metrics.json`` files, as ``results.read`` gives them, of any experiments, presets and
            seeds; what bears on no claim is left out.
        claims: those to assess.

    Raises:
        ValueError: for two results of the same run, and for what is no ``metrics.json``.
    """
    groups = evidence.groups(results)
    return [_assessment(claim, groups) for claim in claims]


def measurements(assessments: Sequence[Assessment]) -> list[dict[str, Any]]:
    """A row for every measurement: its claim's id, the claim's label, and the fields of its ``Evidence``."""
    fields = [field.name for field in dataclasses.fields(Evidence)]
    return [
        {"claim": found.claim.id, "label": found.label, **{name: getattr(piece, name) for name in fields}}
        for found in assessments
        for piece in found.evidence
    ]


def to_dataframe(assessments: Sequence[Assessment]) -> pandas.DataFrame:
    """:func:`measurements` as a pandas data frame, one row each.

    Raises:
        ImportError: where pandas is not installed.
    """
    return tabular.pandas().DataFrame(measurements(assessments))


def _assessment(claim: Claim, groups: list[Group]) -> Assessment:
    found = tuple(piece for group in groups for gather in claim.evidence for piece in gather(group))
    return Assessment(claim, label([piece for piece in found if piece.decides]), found)


def label(pieces: Sequence[Evidence]) -> str:
    """What pieces of evidence say together, one of ``LABELS``.

    "Reproduced": the finding shows in all places (see :func:`places`), read strictly, too. "Reproduced,
    weaker than worded": in all places, but not every piece of the wording holds. "Only in some layers": in
    some places. "Not reproduced": in none, and in at least one it does not hold. "Not testable here": nothing
    was measured, or in every place the interval includes the limit or the seeds differ.
    """
    shown = places(pieces)
    if not any(shown.values()):
        return NOT_REPRODUCED if False in shown.values() else NOT_TESTABLE
    if not all(shown.values()):
        return SOME_LAYERS
    letter = all(piece.verdict == HOLDS for piece in pieces if piece.wording and _measured(piece))
    return REPRODUCED if letter else WEAKER


def places(pieces: Sequence[Evidence]) -> dict[tuple[str, str, str | None], bool | None]:
    """{(experiment, network, layer): whether the finding shows there}, the wording aside.

    True where every measured piece holds, False where one does not hold, None where it is open.
    """
    found: dict[tuple, list[str]] = {}
    for piece in pieces:
        if _measured(piece) and not piece.wording:
            found.setdefault((piece.experiment, piece.network, piece.layer), []).append(piece.verdict)
    return {
        place: True if set(verdicts) == {HOLDS} else False if FAILS in verdicts else None
        for place, verdicts in found.items()
    }


def _measured(piece):
    return piece.verdict != NOT_MEASURED
