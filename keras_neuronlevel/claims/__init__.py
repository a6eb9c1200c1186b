"""The papers' findings, what would decide each, and what the results at hand say.

The criteria come from the papers' words: "most", "about half", "far better", order and symmetry. Where the
words leave a number open, the number is a named constant beside its claim, chosen for what it means and
marked as a judgement; it is ours, not the papers'. A piece of evidence holds when *all* of its interval is
on the side of the limit that the finding wants, does not hold when all of it is on the other, and is
undecided in between. The pieces of the papers' networks together make the verdict: all hold, "holds"; some,
"holds in part"; none, "does not hold", or "undecided" where none of them fails either; no evidence, "not
measured". Results on stand-in data, of a preset too small to decide, of other networks than the papers', and
of a smaller preset where a larger one measured the same, are shown, and decide nothing.

``metrics.json`` files of older releases lack some of the numbers; what is lacking is not measured. A further
claim is a row in one of the modules here, in its ``CLAIMS``; one that is not the papers' has
``owner=papers.OURS``.
"""

import dataclasses
from collections.abc import Sequence

from keras_neuronlevel.claims import dynamics, encoding, evidence, signs
from keras_neuronlevel.claims.claim import Claim
from keras_neuronlevel.claims.evidence import (
    FAILS,
    HOLDS,
    NOT_MEASURED,
    UNDECIDED,
    VERDICTS,
    Evidence,
    Group,
)

__all__ = ["CLAIMS", "VERDICTS", "Assessment", "Claim", "Evidence", "assess", "verdict"]

CLAIMS = tuple(
    sorted((*signs.CLAIMS, *dynamics.CLAIMS, *encoding.CLAIMS), key=lambda claim: int(claim.id[1:]))
)


@dataclasses.dataclass(frozen=True)
class Assessment:
    """A claim's verdict, one of ``VERDICTS``, the ``Evidence`` behind it, and a summary."""

    claim: Claim
    verdict: str
    evidence: tuple[Evidence, ...]
    comment: str


def assess(results: Sequence[dict], claims: Sequence[Claim] = CLAIMS) -> list[Assessment]:
    """An ``Assessment`` of every claim, in their order.

    Args:
        results: ``metrics.json`` files, as ``results.read`` gives them, of any experiments, presets and
            seeds; what bears on no claim is left out.
        claims: those to assess.

    Raises:
        ValueError: for two results of the same run.
    """
    groups = evidence.groups(results)
    return [_assessment(claim, groups) for claim in claims]


def _assessment(claim: Claim, groups: list[Group]) -> Assessment:
    pieces = [piece for group in groups for gather in claim.evidence for piece in gather(group)]
    found = tuple(evidence.defer_to_larger_presets(pieces, _sizes(groups)))
    return Assessment(claim, verdict(found), found, _comment(found))


def _sizes(groups):
    return {
        (group.experiment, group.preset["name"] if group.preset else None): (
            group.preset["size"] if group.preset else 1
        )
        for group in groups
    }


def verdict(pieces: Sequence[Evidence]) -> str:
    """One of ``VERDICTS`` from the pieces that decide and were measured."""
    return evidence.together([piece.verdict for piece in _decisive(pieces)])


def _decisive(pieces):
    return [piece for piece in pieces if piece.decides and piece.verdict != NOT_MEASURED]


def _comment(pieces):
    decisive = _decisive(pieces)
    if not decisive:
        without = any(piece.decides for piece in pieces)
        reason = "the results lack the intervals" if without else "measured only where it does not decide"
        return reason if pieces else "no results"
    held, failed, undecided = (
        [piece for piece in decisive if piece.verdict == one] for one in (HOLDS, FAILS, UNDECIDED)
    )
    text = f"{len(held)} of {len(decisive)} pieces of evidence hold"
    text += f"; not {_named(failed)}" if failed else ""
    return f"{text}; undecided {_named(undecided)}" if undecided else text


def _named(pieces):
    names = [f"{piece.layer or piece.network} ({piece.quantity})" for piece in pieces]
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return f"{', '.join(names[:6])}{more}"
