"""From the numbers of finished runs to evidence: one number with its interval, held against a rule."""

import dataclasses
import functools
import math
from collections.abc import Sequence

from keras_neuronlevel import papers, results, statistics
from keras_neuronlevel.claims.readers import Reader
from keras_neuronlevel.claims.rules import Rule
from keras_neuronlevel.claims.units import Unit
from keras_neuronlevel.results import lookup

HOLDS, FAILS, UNDECIDED, SEEDS_DIFFER, NOT_MEASURED = VERDICTS = (
    "holds",
    "does not hold",
    "undecided",
    "seeds differ",
    "not measured",
)
# Where a number comes from. The first decides; the others stand beside it.
SETTINGS = PAPERS_SCALE, REDUCED, OWN, STAND_INS = (
    "papers' scale",
    "reduced scale",
    "own networks",
    "stand-ins",
)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """One number that bears on a claim.

    Attributes:
        layer: None where a network is measured as a whole.
        setting: one of ``SETTINGS``.
        seeds: those that it was measured with.
        unit: the name of one of ``units.UNITS``.
        effect: the number, of several seeds their mean.
        interval: 95 %, over what ``over`` says: "512 neurons", "10000 test images", or, from three seeds,
            "3 seeds" (``statistics.interval_over_seeds``). None of two seeds, which give no joint interval.
        by_seed: (value, its own interval or None) of each seed.
        verdict: one of ``VERDICTS``: what the rule says of the interval, "undecided" where that includes the
            limit; of two seeds what the rule says of each, "seeds differ" where that is not the same;
            without an interval "not measured".
        rule: what is asked of the number, in words, and the ``limits`` in it.
        wording: whether it belongs to the wording alone, see ``claims.label``.
        decides: whether the claim's label counts it; ``note`` says why not, and what else to know.
        asked: whether the label would count it, were it at the papers' scale on their networks and data.
        slight: whether it does not hold only for being too small, see ``rules.Rule.slight``.
    """

    experiment: str
    preset: str | None
    network: str
    layer: str | None
    setting: str
    seeds: tuple
    quantity: str
    unit: str
    effect: float
    interval: tuple[float, float] | None
    by_seed: tuple
    over: str
    verdict: str
    rule: str
    limits: tuple
    wording: bool = False
    note: str = ""
    decides: bool = True
    asked: bool = True
    slight: bool = False


@dataclasses.dataclass(frozen=True)
class Group:
    """The results of one experiment at one preset and scale on the same data, one a seed; ``excluded`` is why
    they decide nothing, or "", and ``setting`` one of ``SETTINGS``."""

    experiment: str
    preset: dict | None
    results: tuple[dict, ...]
    excluded: str
    setting: str

    @functools.cached_property
    def networks(self) -> dict[str, dict]:
        """{label: what the first result that has the network says of it}."""
        found: dict[str, dict] = {}
        for result in self.results:
            found = {**result["networks"], **found}
        return {label: found[label] for result in self.results for label in result["networks"]}

    def layers(
        self, role: str | None = None, *, activation: str | None = None, family: str | None = None
    ) -> list[tuple[str, str]]:
        """(network, layer) of every layer that has the role, in the networks of the activation function and
        family, where these are given."""
        found = {
            (label, layer): None
            for result in self.results
            for label, network in result["networks"].items()
            for layer in network["layers"]
            if activation in (None, network["activation"])
            and family in (None, network["family"])
            and (role is None or self.has_role(label, layer, role))
        }
        return list(found)

    def has_role(self, label: str, layer: str, role: str) -> bool:
        """Whether a layer of a network has the role, see ``papers.Experiment``."""
        return layer in self.networks[label]["roles"].get(role, ())

    def why_excluded(self, label: str) -> str:
        """Why a network decides nothing, or ""."""
        ours = "ours, not in the papers" if self.networks[label]["owner"] == papers.OURS else ""
        return joined(ours, self.excluded)

    def setting_of(self, label: str) -> str:
        """Where the numbers of a network come from, one of ``SETTINGS``."""
        ours = self.networks[label]["owner"] == papers.OURS
        return OWN if ours and self.setting != STAND_INS else self.setting


def groups(found: Sequence[dict]) -> list[Group]:
    """The results by experiment, preset, scale, stand-in and data.

    Results of experiments that ``papers`` does not have are left out. Only the papers' networks on the
    papers' data decide, at the papers' scale.

    Raises:
        ValueError: for two results of the same seed, and for what is no ``metrics.json``.
    """
    alike: dict[tuple, list[dict]] = {}
    for place, result in enumerate(found):
        if problem := results.head_problem(result):
            raise ValueError(f"result {place} is no metrics.json ({problem}); give what results.read gives")
        if result["experiment"] in papers.EXPERIMENTS:
            alike.setdefault(results.same_but_for_seed(result), []).append(result)
    return [_group(same) for same in alike.values()]


def _group(same):
    first = same[0]
    experiment, preset = first["experiment"], first["preset"]
    seeds = [result["seed"] for result in same]
    if len(set(seeds)) < len(seeds):
        raise ValueError(
            f"there are two results of {experiment}, preset {results.preset(first)}, with the same seed "
            f"(seeds: {', '.join(map(str, seeds))}); give each run once"
        )
    results.check_alike(same)
    expected = papers.EXPERIMENTS[experiment].data[0]
    data = lookup(first, "provenance", "data", "name")
    excluded, setting = "", PAPERS_SCALE
    if first["stand_in"] is not None:
        excluded, setting = f"stand-in: {first['stand_in']}", STAND_INS
    elif data not in (None, expected):
        excluded, setting = f"{data} in place of {expected}", STAND_INS
    elif not preset:
        excluded, setting = "of no preset, so its scale is not known", REDUCED
    elif preset["size"] < papers.FULL:
        excluded, setting = f"preset {preset['name']} is not the papers' scale", REDUCED
    ordered = tuple(sorted(same, key=lambda result: result["seed"]))
    return Group(experiment, preset, ordered, excluded, setting)


def judge(
    group: Group,
    network: str,
    layer: str | None,
    quantity: str,
    unit: Unit,
    read: Reader,
    rule: Rule,
    *,
    wording: bool = False,
    note: str = "",
    excluded: str = "",
) -> list[Evidence]:
    """The evidence of a group on one number: a list of one ``Evidence``, empty where nothing was measured.

    Of one seed the number and its own interval count, of two each for itself, of more their mean and the
    interval over seeds. ``excluded`` is why this number does not decide, where the network would.
    """
    numbers = [(result, read(result["networks"])) for result in group.results]
    found = [(result, measured) for result, measured in numbers if measured is not None]
    if not found:
        return []
    measured = [m for _, m in found]
    interval, taken_over = _interval(measured)
    judged = [m.interval for m in measured] if len(measured) == 2 else [interval]
    verdict = _verdict(rule, judged)
    unfinished = "" if all(result["complete"] for result, _ in found) else "unfinished run"
    known = group.why_excluded(network)
    return [
        Evidence(
            experiment=group.experiment,
            preset=group.preset["name"] if group.preset else None,
            network=network,
            layer=layer,
            setting=group.setting_of(network),
            seeds=tuple(result["seed"] for result, _ in found),
            quantity=quantity,
            unit=unit.name,
            effect=sum(m.value for m in measured) / len(measured),
            interval=interval,
            by_seed=tuple((m.value, m.interval) for m in measured),
            over=taken_over,
            verdict=verdict,
            rule=rule.words,
            limits=rule.limits,
            wording=wording,
            note=joined(known, unfinished, _DOUBTS.get(verdict, ""), excluded, note),
            decides=not (known or excluded),
            asked=not excluded,
            slight=verdict == FAILS and all(rule.slight(*each) for each in judged if each),
        )
    ]


_DOUBTS = {
    NOT_MEASURED: "no interval: measure it again",
    UNDECIDED: "the interval includes the limit",
}


def joined(*notes: str) -> str:
    """The notes that say something, in one line."""
    return "; ".join(note for note in notes if note)


def _interval(measured):
    """(interval, what it is taken over); None of two seeds, whose values stand for themselves."""
    if len(measured) == 1:
        return measured[0].interval, measured[0].over
    over = f"{len(measured)} seeds"
    if len(measured) == 2 or not any(m.interval for m in measured):
        return None, over
    own = [m.interval or (math.nan, math.nan) for m in measured]
    shared, scale = all(m.shared for m in measured), measured[0].scale
    return statistics.interval_over_seeds([m.value for m in measured], own, shared, scale), over


def _verdict(rule, intervals):
    """What the rule says of every interval, "seeds differ" where that is not one thing."""
    if None in intervals:
        return NOT_MEASURED
    words = {True: HOLDS, False: FAILS, None: UNDECIDED}
    said = {words[rule(*interval)] for interval in intervals}
    return said.pop() if len(said) == 1 else SEEDS_DIFFER
