"""What a claim is: words and limits, and rows of data that say which numbers of which layers it asks for."""

import dataclasses
from collections.abc import Callable

from keras_neuronlevel import papers, results
from keras_neuronlevel.claims.evidence import Evidence, Group, judge
from keras_neuronlevel.claims.readers import Reader, of_curve, over_neurons
from keras_neuronlevel.claims.rules import Rule
from keras_neuronlevel.claims.units import SHARE, Unit
from keras_neuronlevel.results import lookup

# "Most" and "in most cases" are more than half: the papers' words, not a judgement.
MOST = 0.5
# With a tenth of a scale from 0 to 1 a difference can be seen in a histogram, which is what the papers
# looked at when they wrote "with much higher accuracy" (judgement).
MUCH = 0.1
# A difference that counts at all, of shares, areas under the curve and mean abs(s): half of that. Whatever is
# surely no more is none (judgement).
SOME = 0.05


Gather = Callable[[Group], list[Evidence]]  # what a group says of one claim, or of a part of it


@dataclasses.dataclass(frozen=True)
class Context:
    """What is told beside a claim and is not its one effect size: ``words`` with a place for the range of
    each of the ``quantities``, in the claim's format, or in ``form``."""

    words: str
    quantities: tuple[str, ...]
    form: str = ""


@dataclasses.dataclass(frozen=True)
class Claim:
    """A finding: what its authors say and where, what is measured, when it holds, and the evidence.

    Attributes:
        short: the statement in at most ten words.
        headline: the quantity that is its one effect size, ``telling`` the words around it and ``form`` its
            format.
        evidence: functions of a ``Group`` of results that give a list of ``Evidence``.
        contexts: what is told beside it.
        owner: whose claim it is, ``papers.PAPERS`` or ``papers.OURS``: the sentence of what came out
            counts the papers' alone.
        figure: the name of the report's figure that it stands beside.
        by_data: whether its effect size is told for each of the data sets.
    """

    id: str
    short: str
    statement: str
    where: str
    measurement: str
    criterion: str
    headline: str
    telling: str
    form: str
    evidence: tuple[Gather, ...] = dataclasses.field(default=(), repr=False)
    contexts: tuple[Context, ...] = ()
    owner: str = papers.PAPERS
    figure: str = dataclasses.field(kw_only=True)
    by_data: bool = dataclasses.field(default=False, kw_only=True)


@dataclasses.dataclass(frozen=True)
class Quantity:
    """One number that a claim asks of a layer.

    Attributes:
        words: what it is called wherever evidence is shown.
        unit: what it is a number of.
        read: (network, layer) -> the number's reader.
        rule: what the finding wants of its interval.
        wording: whether the finding can be reproduced without it, weaker than worded.
        excluded: (group, network, layer) -> why it does not decide there, or "".
        note: (group, network, layer) -> what else to know, or "".
    """

    words: str
    unit: Unit
    read: Callable[[str, str], Reader]
    rule: Rule
    wording: bool = False
    excluded: Callable[[Group, str, str], str] = lambda group, network, layer: ""
    note: Callable[[Group, str, str], str] = lambda group, network, layer: ""


def of_neurons(
    words: str,
    kind: str,
    name: str,
    rule: Rule,
    *,
    unit: Unit = SHARE,
    at: int | None = None,
    wording: bool = False,
    excluded: Callable[[Group, str, str], str] = Quantity.excluded,
) -> Quantity:
    """A spread over neurons; ``at`` is which of a list over snapshots.

    Raises:
        ValueError: for a number that the schema does not have.
    """
    path = results.path(kind, name) + (() if at is None else (at,))

    def read(network, layer):
        return over_neurons(network, layer, path, unit.scale)

    return Quantity(words, unit, read, rule, wording, excluded)


def of_images(
    words: str, kind: str, function: Callable, rule: Rule, *, unit: Unit, wording: bool = False
) -> Quantity:
    """A number of a curve, with what the number of test images leaves open of it."""

    def note(group, network, layer):
        found = [lookup(r["networks"], network, "layers", layer, kind, "converged") for r in group.results]
        return "not every readout converged" if False in found else ""

    def read(network, layer):
        return of_curve(network, layer, kind, function)

    return Quantity(words, unit, read, rule, wording, note=note)


def over(layers: Callable[[Group], list[tuple[str, str]]], *quantities: Quantity) -> Gather:
    """The evidence of quantities at layers, layer by layer."""

    def gather(group):
        return [
            piece
            for network, layer in layers(group)
            for q in quantities
            for piece in judge(
                group,
                network,
                layer,
                q.words,
                q.unit,
                q.read(network, layer),
                q.rule,
                wording=q.wording,
                note=q.note(group, network, layer),
                excluded=q.excluded(group, network, layer),
            )
        ]

    return gather


def at(
    role: str | None = None, *, activation: str | None = None, family: str | None = None
) -> Callable[[Group], list[tuple[str, str]]]:
    """``Group.layers`` of any group."""
    return lambda group: group.layers(role, activation=activation, family=family)
