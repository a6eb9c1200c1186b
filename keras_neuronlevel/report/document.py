"""The report's contents, before they become a page or Markdown: findings, figures, runs, neurons."""

import csv
import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from keras_neuronlevel import claims, papers, results, statistics
from keras_neuronlevel.claims import Assessment, Claim, Evidence
from keras_neuronlevel.claims.evidence import FAILS, HOLDS, OWN, PAPERS_SCALE, SETTINGS
from keras_neuronlevel.report import gather, provenance, shown, texts
from keras_neuronlevel.results import tables
from keras_neuronlevel.results.tables import Table

OURS = " (ours)"
TITLE = "What single neurons learn: two papers and our runs"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One claim, its label, and its evidence."""

    assessment: Assessment

    @property
    def claim(self) -> Claim:
        return self.assessment.claim

    @property
    def label(self) -> str:
        return self.assessment.label

    @property
    def deciding(self) -> list[Evidence]:
        """The measured pieces that the label rests on."""
        return [p for p in self.assessment.evidence if p.decides and p.verdict != "not measured"]

    @property
    def which(self) -> str:
        """The label, with the layers: "only in some layers (3 of 6: not in ...; open in ...)"."""
        if self.label != claims.SOME_LAYERS:
            return self.label
        return f"{self.label} ({self._how_many}: {'; '.join(self._elsewhere)})"

    @property
    def counted(self) -> str:
        """The claim's id, with the number of layers where its label is of some: "C2 in 7 of 8"."""
        some = self.label == claims.SOME_LAYERS
        return f"{self.claim.id} in {self._how_many}" if some else self.claim.id

    @property
    def _how_many(self):
        there = claims.places(self.deciding).values()
        return f"{sum(map(bool, there))} of {len(there)}"

    @property
    def _elsewhere(self):
        """Where the finding does not show, where it is too slight, and where that is open, in words."""
        found: dict[str, list[str]] = {"not in": [], "slight in": [], "open in": []}
        for place, there in claims.places(self.deciding).items():
            if not there:
                words = "open in" if there is None else "slight in" if self._slight(place) else "not in"
                found[words].append(place[2] or place[1])
        for words, layers in found.items():
            if layers:
                yield f"{words} {', '.join(layers)}"

    def _slight(self, place):
        """Whether all that does not hold at a place is above 0."""
        failed = [
            p
            for p in self.deciding
            if (p.experiment, p.network, p.layer) == place and p.verdict == FAILS and not p.wording
        ]
        return all(p.slight for p in failed)

    def effect(self, setting: str = PAPERS_SCALE) -> str:
        """The claim's one effect size in words, its range over layers, or a dash."""
        span = self.assessment.effect(setting)
        if span is None:
            return tables.NOTHING
        experiments: dict[str, set[str]] = {}
        for piece in self.assessment.evidence if self.claim.by_data else ():
            experiments.setdefault(_data(piece.experiment), set()).add(piece.experiment)
        of_data = {data: self.assessment.effect(setting, only) for data, only in experiments.items()}
        told = [f"{tables.span(one, self.claim.form)} on {data}" for data, one in of_data.items() if one]
        return _listed(told) if len(told) > 1 else tables.span(span, self.claim.form)

    @property
    def sentence(self) -> str:
        """What was found, in one sentence."""
        setting = next((name for name in SETTINGS if self.assessment.effect(name)), "")
        told = self.claim.telling.format(self.effect(setting)) if setting else ""
        if setting != PAPERS_SCALE and not self.deciding:
            if setting:
                return f"{_beginning(told)}, but only at {setting}, which decides nothing."
            return "Asked of no layer that was measured." if self.assessment.evidence else "Not measured."
        parts = [told] if setting == PAPERS_SCALE else []  # the effect size may be asked of no layer
        parts += self._elsewhere
        strict: dict[str, list[bool]] = {}
        for piece in (p for p in self.deciding if p.wording):
            strict.setdefault(f"{piece.quantity}, {piece.rule},", []).append(piece.verdict == HOLDS)
        held_in = [f"{what} in {sum(held)} of {len(held)}" for what, held in strict.items()]
        parts += [f"read strictly: {'; '.join(held_in)}"] if held_in else []
        return _beginning("; ".join(parts)) + "."

    @property
    def context(self) -> str:
        """What is told beside the claim, as far as it was measured."""
        return " ".join(filter(None, map(self._told, self.claim.contexts)))

    def _told(self, context):
        form = context.form or self.claim.form
        for setting in SETTINGS:
            spans = self.assessment.ranges(context, setting)
            if spans:
                words = context.words.format(*(tables.span(span, form) for span in spans))
                layers, seeds = self._where(context.quantities, setting)
                every, all_seeds = self._where((self.claim.headline,), setting)
                told = [f"at {setting}"] if setting != PAPERS_SCALE else []
                told += [f"of {', '.join(layers)}"] if layers != every else []
                told += [
                    f"{tables.seeds(sorted(some))} on {data}"
                    for data, some in seeds.items()
                    if some < all_seeds.get(data, some)
                ]
                return f"{words} ({_beginning('; '.join(told))}.)" if told else words
        return ""

    def _where(self, quantities, setting):
        """Layers, and {data: seeds}, that quantities were measured with, in one of the settings."""
        found = [p for p in self.assessment.evidence if p.quantity in quantities and p.setting == setting]
        seeds: dict[str, set[int]] = {}
        for piece in found:
            seeds.setdefault(_data(piece.experiment), set()).update(piece.seeds)
        return list(dict.fromkeys(piece.layer or piece.network for piece in found)), seeds

    @property
    def quantities(self) -> dict[str, list[Evidence]]:
        """The evidence by what was measured and what is asked of it, in words."""
        found: dict[str, list[Evidence]] = {}
        for piece in self.assessment.evidence:
            wording = " (read strictly)" if piece.wording else ""
            found.setdefault(f"{piece.quantity}: {piece.rule}{wording}", []).append(piece)
        return found


@dataclasses.dataclass(frozen=True)
class Figure:
    """One figure of the papers: the words, our picture or None, those that runs at the papers' scale drew
    ``themselves``, the findings beside it, its numbers."""

    name: str
    text: texts.Figure
    picture: gather.Picture | None
    themselves: tuple[gather.Picture, ...]
    findings: tuple[Finding, ...]
    tables: tuple[Table, ...]


@dataclasses.dataclass(frozen=True)
class Neuron:
    """Whose pre-activations a picture or a film shows; ``unit`` is None where only the film says it."""

    network: str
    layer: str
    seed: int
    unit: int | None = None

    def __str__(self) -> str:
        which = "one neuron" if self.unit is None else f"neuron {self.unit}"
        return f"{which} of {self.layer} in {self.network}, seed {self.seed}"


@dataclasses.dataclass(frozen=True)
class Film:
    """A film and what it shows, None where its name is not of a network, a layer and a seed of its run."""

    path: Path
    neuron: Neuron | None


@dataclasses.dataclass(frozen=True)
class Section:
    """One run at one scale: what it is, and where its numbers come from."""

    title: str
    lead: str
    labels: tuple
    tables: tuple
    films: tuple[Film, ...]
    provenance: tuple


@dataclasses.dataclass(frozen=True)
class Document:
    """Everything that all forms of the report say, in their order."""

    root: Path
    findings: tuple[Finding, ...]
    strip: gather.Picture | None
    strip_neuron: Neuron | None
    figures: tuple[Figure, ...]
    neurons: tuple
    sections: tuple[Section, ...]
    missing: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def result(self) -> str:
        """What came out of the papers' claims, in one sentence: how many of each label, and where."""
        counts = [f"{len(same)} {label.replace(',', '')}" for label, same in self._by_label.items()]
        tested = f" tested at the papers' scale on {_listed(self._seeds)}," if self._seeds else ""
        told = f"Of {len(self._of_papers)} claims{tested} we find {_listed(counts) or 'nothing'}"
        cases = [
            f"{sum(there)} of {len(there)} cases on {data}"
            for data, there in _by_data(self._of_papers).items()
        ]
        told += f"; layer by layer, they hold in {_listed(cases)}" if cases else ""
        rest = [f"{data}: {setting} only" for data, setting in self._only_elsewhere.items()]
        return f"{told} ({', '.join(rest)})." if rest else f"{told}."

    @property
    def tally(self) -> str:
        """Which of the papers' claims have which label, and with how many seeds they were tested."""
        found = self._by_label.items()
        parts = [f"{label}: {', '.join(one.counted for one in same)}" for label, same in found]
        parts += [self.seeds] if self.seeds else []
        return f"{_beginning('; '.join(parts))}." if parts else ""

    @property
    def seeds(self) -> str:
        """With how many seeds the claims were tested on each of the papers' data, in words."""
        return ", ".join(
            f"{data}: {tables.span(sorted(counts), 'd')} seed{'s' if max(counts) > 1 else ''}"
            for data, counts in self._seeds.items()
        )

    @property
    def _of_papers(self):
        return [found for found in self.findings if found.claim.owner == papers.PAPERS]

    @property
    def _by_label(self):
        """{label: the papers' claims that have it}, without labels that none has."""
        found = {label: [one for one in self._of_papers if one.label == label] for label in claims.LABELS}
        return {label: same for label, same in found.items() if same}

    @property
    def _seeds(self):
        """{data: numbers of seeds} of what decides claims; what is told beside one may be of fewer seeds."""
        found: dict[str, set[int]] = {}
        for piece in (piece for one in self._of_papers for piece in one.assessment.evidence):
            if piece.decides:
                found.setdefault(_data(piece.experiment), set()).add(len(piece.seeds))
        return found

    @property
    def _only_elsewhere(self):
        """{data: setting} of the papers' data that were only run in another way."""
        found = (piece for one in self._of_papers for piece in one.assessment.evidence)
        other = {_data(p.experiment): p.setting for p in found if p.setting not in (PAPERS_SCALE, OWN)}
        return {data: setting for data, setting in other.items() if data not in self._seeds}

    def table(self, *owners: str) -> Table:
        """A row for each claim (of ``owners``): what it says, its effect in each setting, its label."""
        head = ("claim", "effect", *(name for name in SETTINGS[1:]), "result")
        rows = [
            (
                f"{found.claim.id} {found.claim.short}{OURS if found.claim.owner == papers.OURS else ''}",
                *(self._told(found, setting) for setting in SETTINGS),
                found.which,
            )
            for found in self.findings
            if not owners or found.claim.owner in owners
        ]
        return Table("Claims", head, tuple(rows), names=len(head))

    def _told(self, found, setting):
        effect = found.effect(setting)
        told = setting == PAPERS_SCALE and effect != tables.NOTHING
        return found.claim.telling.format(effect) if told else effect

    def evidence(self) -> str:
        """Every measurement behind the labels as comma-separated values."""
        out = io.StringIO()
        head = ["claim", "label", *(field.name for field in dataclasses.fields(Evidence))]
        writer = csv.DictWriter(out, head, lineterminator="\n")
        writer.writeheader()
        for row in claims.measurements([found.assessment for found in self.findings]):
            writer.writerow({name: _cell(value) for name, value in row.items()})
        return out.getvalue()


def _data(experiment):
    return papers.EXPERIMENTS[experiment].images


def _by_data(findings):
    """{data: whether the findings show, for every layer that each is asked of}."""
    asked: dict[str, list[bool]] = {}
    for found in findings:
        for (experiment, *_), there in claims.places(found.deciding).items():
            asked.setdefault(_data(experiment), []).append(bool(there))
    return asked


def _listed(words):
    """ "", "a", "a and b", "a, b and c"."""
    *first, last = [*words] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _beginning(words):
    """Words as they begin a sentence."""
    return words[:1].upper() + words[1:]


def _within(title):
    """A title as it goes on within a sentence."""
    return title[:1].lower() + title[1:]


def build(found: gather.Found, assess: Callable[[Sequence[dict]], Sequence[Assessment]]) -> Document:
    """The contents of a report on ``gather.Found``; ``assess`` is ``claims.assess``."""
    runs, warnings = _assessable(run for group in found.groups for run in group.runs if not run.saved_model)
    findings = tuple(Finding(one) for one in assess([run.metrics for run in runs]))
    return Document(
        found.root,
        findings,
        gather.picture(found.root, "strip"),
        _strip_neuron(found.groups),
        tuple(_figure(name, found, findings) for name in texts.FIGURES),
        tuple(_browsable(group) for group in found.groups if group.main.neurons),
        tuple(_section(group) for group in found.groups),
        (*(_missing(name, found) for name in found.missing), *_smaller(found.groups)),
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


def _figure(name, found, findings):
    text = texts.FIGURES[name]
    numbers = [table for group in found.groups for make in text.numbers for table in _tables(group, make)]
    drawn = [(group, one) for group in found.groups for one in group.main.pictures if one.name == name]
    picture = gather.picture(found.root, name) or next((one for _, one in drawn), None)
    themselves = tuple(one for group, one in drawn if shown.full(group.main) and one != picture)
    beside = tuple(one for one in findings if one.claim.figure == name)
    return Figure(name, text, picture, themselves, beside, tuple(numbers))


def _tables(group, make):
    """The tables of a group's first run that has them, each with the run's title and seed."""
    for run in group.comparable:
        if found := make(run.networks):
            title = f"{_with_labels(run)}, seed {run.seed}"
            return [dataclasses.replace(one, caption=f"{title}: {_within(one.caption)}") for one in found]
    return []


def _section(group):
    run = group.main
    known = papers.EXPERIMENTS.get(run.experiment)
    lead = known.lead if known else ""
    lead = texts.SAVED_MODEL if run.saved_model else texts.STAND_IN + lead if run.stand_in else lead
    if len(group.runs) > 1:
        lead += f" Seeds {', '.join(str(one.seed) for one in group.runs)}; the table is of seed {run.seed}."
    lead += _time(run.metrics)
    return Section(
        _title(run),
        lead,
        tuple(run.labels),
        (*tables.training(run.networks),),
        tuple(Film(path, _filmed(path, group)) for path in run.videos),
        tuple((f"seed {one.seed}", provenance.pairs(one)) for one in group.runs),
    )


def _filmed(path, group):
    """The neuron of a film, by its name: neuron_NETWORK_LAYER_seedSEED."""
    for run in group.runs:
        for network, layer, _ in tables.layers(run.networks):
            if path.stem == f"{run.prefix}neuron_{network}_{layer}_seed{run.seed}":
                return Neuron(network, layer, run.seed)
    return None


def _strip_neuron(groups):
    found = shown.strip_neuron([group for group in groups if not group.main.saved_model])
    return Neuron(*shown.STRIP, found[0].seed, found[1]["unit"]) if found else None


def _time(metrics):
    """What a whole run took, " ..." or "", where one command did all of it at once."""
    seconds = dict(metrics.get("seconds", {}))
    total, first = seconds.pop("total", None), seconds.pop("first figures after", None)
    if not total:
        return ""
    parts = ", ".join(f"{part} {tables.span(2 * (spent / total,), '.0%')}" for part, spent in seconds.items())
    figures = f", the first figures after {tables.duration(first)}" if first else ""
    cores = metrics["provenance"].get("cpus")
    return f" The whole command took {tables.duration(total)} on {cores} cores{figures} ({parts})."


def _title(run):
    if run.saved_model:
        return f"{run.experiment}: a saved model"
    return shown.name(run)


def _with_labels(run):
    """The title of a run among others of its experiment, at other scales."""
    title = shown.title(run) if run.stand_in else _title(run)  # labels name the stand-in
    return f"{title} ({', '.join(run.labels)})" if run.labels else title


def _browsable(group):
    """What the page's neuron browser is given of one experiment."""
    networks = {
        network: {layer: [_fair(panel) for panel in panels] for layer, panels in layers.items()}
        for network, layers in group.main.neurons["networks"].items()
    }
    return {"experiment": _with_labels(group.main), "networks": networks}


def _fair(panel):
    """A neuron's panel whose bins of average signs are as wide as what they can hold."""
    signs = panel["average_sign"]
    edges = statistics.fair_sign_edges(signs["edges"], panel["moments"][-1]["recording"] + 1)
    return {**panel, "average_sign": {**signs, "edges": edges.tolist()}}


def _missing(name, found):
    stand_in = any(group.main.experiment == name for group in found.groups)
    state = "run on a stand-in only" if stand_in else "not run yet"
    return f"{name}: {state}: {papers.EXPERIMENTS[name].command}"


def _smaller(groups):
    """A sentence for each experiment whose networks were trained at less than the papers' scale, or there
    with one seed."""
    for name, known in papers.EXPERIMENTS.items():
        group = shown.largest(groups, name) if known.trained else None
        if group is None:
            continue
        largest = max(known.presets.values(), key=lambda preset: preset.size)
        command = f"{known.command} --preset {largest.name}"
        if not shown.full(group.main):
            yield f"{name}: at the papers' scale: {command}"
        elif len(group.runs) == 1:
            yield f"{name}: a second seed at the papers' scale: {command} --seed {group.main.seed + 1}"


def measured(piece: Evidence) -> str:
    """``0.605 [0.600, 0.611]``; of two seeds both, each with its own interval."""
    if len(piece.by_seed) == 2:
        return " and ".join(tables.with_interval(*one) for one in piece.by_seed)
    return tables.with_interval(piece.effect, piece.interval)


def place(piece: Evidence) -> str:
    """Network, layer, and seeds."""
    where = " ".join(part for part in (piece.network, piece.layer) if part)
    return f"{where}, {tables.seeds(piece.seeds)}"


def _cell(value):
    if isinstance(value, (tuple, list)):
        return " ".join(str(_cell(one)) for one in value)
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value
