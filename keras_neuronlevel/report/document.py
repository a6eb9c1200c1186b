"""The report's contents, before they become a page or Markdown: claims, sections, neurons."""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from keras_neuronlevel import claims, papers, results
from keras_neuronlevel.claims import Claim, Evidence
from keras_neuronlevel.claims import evidence as judging
from keras_neuronlevel.report import gather, provenance, texts
from keras_neuronlevel.report.gather import INCOMPLETE
from keras_neuronlevel.results import lookup, seeds, tables
from keras_neuronlevel.results.tables import Table

TITLE = "What single neurons learn: two papers and our runs"

# The tables below each figure.
NUMBERS = {
    "average_sign_all_neurons": (tables.signs,),
    "class_consistency": (tables.consistency,),
    "dynamics": (tables.dynamics,),
    "subtasks": (tables.subtasks,),
    "quantization": (tables.quantization, tables.zero_rank),
    "window": (tables.window,),
}


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One piece of evidence with the labels of the run that it comes from."""

    evidence: Evidence
    labels: tuple

    @property
    def effect(self) -> str:
        found = self.evidence
        if found.interval is None and len(found.by_seed) > 1:
            return " and ".join(tables.with_interval(*one) for one in found.by_seed)
        return tables.with_interval(found.effect, found.interval)

    @property
    def further_labels(self) -> tuple[str, ...]:
        """The labels that the note does not have already."""
        return tuple(label for label in self.labels if label not in self.evidence.note)

    @property
    def place(self) -> list[str]:
        """Experiment, network, layer and seed, as far as they are named."""
        found = self.evidence
        numbers = f"seed{'s' if len(found.seeds) > 1 else ''} {', '.join(map(str, found.seeds))}"
        return [part for part in (found.experiment, found.network, found.layer, numbers) if part is not None]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One claim with its verdict and its measurements, {quantity: [Measurement, ...]}."""

    claim: Claim
    verdict: str
    comment: str
    measurements: dict

    @property
    def count(self) -> int:
        return sum(map(len, self.measurements.values()))

    @property
    def summary(self) -> dict[str, tuple]:
        """A line for each quantity, see :func:`summarize`."""
        return {quantity: summarize(found) for quantity, found in self.measurements.items()}


def summarize(measurements: Sequence[Measurement]) -> tuple[str, str, tuple[str, ...]]:
    """(effects, verdicts, labels) of one quantity in words, of those that decide where any does.

    A single measurement's effect with its interval, or the range of several; its verdict, or how many hold;
    the labels of the runs behind it, with a count where not all measurements have it.
    """
    measurements = _decisive(measurements)
    labels = _counted_labels(measurements)
    aside = "" if any(m.evidence.decides for m in measurements) else " (does not decide)"
    if len(measurements) == 1:
        return measurements[0].effect, measurements[0].evidence.verdict + aside, labels
    effects = [m.evidence.effect for m in measurements if tables.number(m.evidence.effect) != tables.NOTHING]
    held, undecided = (sum(m.evidence.verdict == one for m in measurements) for one in ("holds", "undecided"))
    span = " to ".join(tables.number(end(effects, default=None)) for end in (min, max))
    verdicts = f"{held} of {len(measurements)} hold" + (f", {undecided} undecided" if undecided else "")
    return span, verdicts + aside, labels


def _counted_labels(measurements):
    counts = collections.Counter(label for m in measurements for label in m.labels)
    total = len(measurements)
    return tuple(
        label if count == total else f"{label}, in {count} of these {total}"
        for label, count in counts.items()
    )


def _decisive(measurements):
    return [m for m in measurements if m.evidence.decides] or measurements


@dataclasses.dataclass(frozen=True)
class Block:
    """One theme of a section: a published figure in our words, our picture of it, its numbers."""

    text: texts.Figure
    pictures: tuple
    tables: tuple


@dataclasses.dataclass(frozen=True)
class Section:
    """One experiment at one scale: the main run's figures and numbers, and the spread over its seeds."""

    title: str
    lead: str
    labels: tuple
    tables: tuple
    blocks: tuple
    missing: tuple
    videos: tuple
    provenance: tuple


@dataclasses.dataclass(frozen=True)
class Document:
    """Everything that both forms of the report say, in their order."""

    root: Path
    findings: tuple
    overview: Table | None
    neurons: tuple
    sections: tuple
    missing: tuple
    warnings: tuple


def build(found: gather.Found, assess: Callable[[Sequence[dict]], Sequence]) -> Document:
    """The contents of a report on ``gather.Found``; ``assess`` is ``claims.assess``.

    Runs on stand-ins are assessed apart, so that no verdict on a paper's claim rests on them; what they
    measured is shown beside the rest, labelled.
    """
    runs, warnings = _assessable(run for group in found.groups for run in group.runs if not run.saved_model)
    findings = _findings(runs, assess)
    return Document(
        found.root,
        findings,
        overview(findings),
        tuple(_browsable(group) for group in found.groups if group.main.neurons),
        tuple(_section(group) for group in found.groups),
        tuple(_missing(name, found) for name in found.missing),
        (*found.warnings, *warnings),
    )


def _assessable(runs):
    """The runs without repetitions of the same run, and a warning for each of these."""
    kept, warnings = {}, []
    for run in runs:
        first = kept.setdefault((results.same_but_for_seed(run.metrics), run.seed), run)
        if first is not run:
            warnings.append(
                f"{run.source} has the experiment, preset and seed of {first.source}; the claims rest on "
                "the latter"
            )
    return list(kept.values()), warnings


def _findings(runs, assess):
    real = [run for run in runs if not run.stand_in]
    stand_ins = [run for run in runs if run.stand_in]
    pairs = zip(*(assess([run.metrics for run in part]) for part in (real, stand_ins)), strict=True)
    return tuple(
        Finding(
            one.claim,
            one.label,
            "",
            _by_quantity([*_measurements(one.evidence, real), *_measurements(other.evidence, stand_ins)]),
        )
        for one, other in pairs
    )


def _measurements(evidence, runs):
    return [Measurement(piece, labels_of(piece, runs)) for piece in evidence]


def labels_of(piece: Evidence, runs: Sequence[gather.Run]) -> tuple[str, ...]:
    """The labels of the runs that a piece of evidence comes from."""
    about = [
        run.labels
        for run in runs
        if run.experiment == piece.experiment
        and results.preset(run.metrics) == piece.preset
        and piece.network in run.networks
        and run.seed in piece.seeds
    ]
    return tuple(dict.fromkeys(label for labels in about for label in labels))


def _by_quantity(measurements):
    found = {}
    for measurement in measurements:
        found.setdefault(measurement.evidence.quantity, []).append(measurement)
    return found


def overview(findings: Sequence[Finding]) -> Table | None:
    """Verdicts by claim and network, or None without evidence.

    A network's verdict is that of its measurements together, as a claim's is; of those that decide, where any
    does.
    """
    cells: dict[tuple, dict] = {}
    for finding in findings:
        for m in (m for found in finding.measurements.values() for m in found):
            if m.evidence.verdict != judging.NOT_MEASURED:
                lasting = (label for label in m.labels if label != INCOMPLETE)
                network = (m.evidence.experiment, m.evidence.network, *lasting)
                cells.setdefault(network, {}).setdefault(finding.claim.id, []).append(m)
    if not cells:
        return None
    several = len({experiment for experiment, *_ in cells}) > 1
    head = [", ".join(words if several else words[1:]) for words in cells]
    rows = [
        (finding.claim.id, *(_together(found.get(finding.claim.id, [])) for found in cells.values()))
        for finding in findings
    ]
    return Table("Verdicts by network", ("claim", *head), tuple(rows), names=1 + len(head))


def _together(measurements):
    return claims.label([m.evidence for m in _decisive(measurements)]) if measurements else tables.NOTHING


def _section(group):
    run = group.main
    known = papers.EXPERIMENTS.get(run.experiment)
    blocks = [
        Block(
            words_beside(name, run),
            tuple(picture for picture in run.pictures if picture.name == name),
            tuple(table for make in NUMBERS.get(name, ()) for table in make(run.networks)),
        )
        for name in texts.FIGURES
    ]
    expected = known.figures if known else ()
    missing = [
        block.text.title
        for name, block in zip(texts.FIGURES, blocks, strict=True)
        if name in expected and not (block.pictures or block.tables)
    ]
    return Section(
        _title(run),
        _lead(run, known),
        tuple(run.labels),
        (*tables.training(run.networks), *seeds.brief([one.metrics for one in group.comparable])),
        tuple(block for block in blocks if block.pictures or block.tables),
        tuple(missing),
        run.videos,
        tuple((f"seed {one.seed}", provenance.pairs(one)) for one in group.runs),
    )


def _lead(run, known):
    if not known:
        return ""
    return texts.STAND_IN + known.lead if run.stand_in else known.lead


def words_beside(name: str, run: gather.Run) -> texts.Figure:
    """The words beside a figure; a linear probe in place of retraining is said, and what it learns, and
    retraining that ended too early."""
    text = texts.FIGURES[name]
    probed = {
        kind
        for network in run.networks.values()
        for layer in network["layers"].values()
        for kind in layer
        if lookup(layer, kind, "readout") == "probe"
    }
    if name != "window":
        return text
    if not probed:
        return dataclasses.replace(
            text, ours=" ".join([text.ours, *tables.unconverged(run.networks, "window")])
        )
    transfer = any("transfer" in kind for kind in probed)
    return dataclasses.replace(text, ours=texts.PROBED + (texts.TRANSFER if transfer else ""))


def _title(run):
    if run.saved_model:
        return f"{run.experiment}: a saved model"
    known = papers.EXPERIMENTS.get(run.experiment)
    title = known.title if known else run.experiment
    stand_in = run.prefix.removeprefix("standin-").removesuffix("-")
    return f"{title}: stand-in {stand_in}" if stand_in else title


def _browsable(group):
    """What the page's neuron browser is given of one experiment."""
    title = ", ".join([_title(group.main), *group.main.labels])
    return {"experiment": title, "networks": group.main.neurons["networks"]}


def _missing(name, found):
    stand_in = any(group.main.experiment == name for group in found.groups)
    state = "run on a stand-in only" if stand_in else "not run yet"
    return f"{name}: {state}: {papers.EXPERIMENTS[name].command}"
