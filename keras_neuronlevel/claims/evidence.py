"""From the numbers of finished runs to evidence: one number with its interval, held against a rule."""

import dataclasses
import functools
import math
from collections.abc import Sequence

from keras_neuronlevel import papers, results, statistics
from keras_neuronlevel.claims.readers import Reader
from keras_neuronlevel.claims.rules import Rule
from keras_neuronlevel.results import lookup

HOLDS, IN_PART, FAILS, UNDECIDED, NOT_MEASURED = VERDICTS = (
    "holds",
    "holds in part",
    "does not hold",
    "undecided",
    "not measured",
)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """One number that bears on a claim.

    Attributes:
        layer: None where whole layers of a network are compared.
        seeds: those that it was measured with.
        interval: 95 %, over what ``over`` says: "512 neurons", "10000 test images", or "3 seeds"
            (``statistics.interval_over_seeds``).
        verdict: "holds", "does not hold", "undecided" where the interval includes the limit, or, without an
            interval, "not measured".
        decides: whether the claim's verdict counts it; ``note`` says why not, and what else to know.
    """

    experiment: str
    preset: str | None
    network: str
    layer: str | None
    seeds: tuple
    quantity: str
    effect: float
    interval: tuple[float, float] | None
    over: str
    verdict: str
    note: str = ""
    decides: bool = True


@dataclasses.dataclass(frozen=True)
class Group:
    """The results of one experiment at one preset and scale on the same data, one a seed; ``excluded`` is why
    they decide nothing, or ""."""

    experiment: str
    preset: dict | None
    results: tuple[dict, ...]
    excluded: str

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


def groups(found: Sequence[dict]) -> list[Group]:
    """The results by experiment, preset, scale, stand-in and data.

    Results of experiments that ``papers`` does not have are left out. Only the papers' networks on the
    papers' data decide, at a preset that is large enough.

    Raises:
        ValueError: for two results of the same seed.
    """
    alike: dict[tuple, list[dict]] = {}
    for result in found:
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
    expected = papers.EXPERIMENTS[experiment].data[0]
    data = lookup(first, "provenance", "data", "name")
    excluded = ""
    if first["stand_in"] is not None:
        excluded = f"stand-in: {first['stand_in']}"
    elif data not in (None, expected):
        excluded = f"{data} in place of {expected}"
    elif preset and not preset["decides"]:
        excluded = f"preset {preset['name']} is too small to decide"
    return Group(experiment, preset, tuple(sorted(same, key=lambda result: result["seed"])), excluded)


def defer_to_larger_presets(pieces: Sequence[Evidence], sizes: dict) -> list[Evidence]:
    """The pieces, in which a number of a smaller preset decides no more where a larger one measured it.

    Args:
        pieces: evidence of one claim.
        sizes: {(experiment, preset's name): size}.
    """

    def number(piece):
        return piece.experiment, piece.network, piece.layer, piece.quantity

    def size(piece):
        return sizes[piece.experiment, piece.preset]

    largest: dict[tuple, int] = {}
    for piece in pieces:
        if piece.decides and piece.verdict != NOT_MEASURED:
            largest[number(piece)] = max(largest.get(number(piece), 0), size(piece))

    def kept(piece):
        if not piece.decides or size(piece) >= largest.get(number(piece), 0):
            return piece
        note = joined(f"preset {piece.preset or 'not stated'}: a larger one decides", piece.note)
        return dataclasses.replace(piece, decides=False, note=note)

    return [kept(piece) for piece in pieces]


def judge(
    group: Group,
    network: str,
    layer: str | None,
    quantity: str,
    read: Reader,
    rule: Rule,
    note: str = "",
    excluded: str = "",
) -> list[Evidence]:
    """The evidence of a group on one number: a list of one ``Evidence``, empty where nothing was measured.

    Of one seed the number and its own interval count, of several their mean and the interval over seeds.
    ``excluded`` is why this number does not decide, where the network would.
    """
    found = [(result, read(result["networks"])) for result in group.results]
    found = [(result, measured) for result, measured in found if measured is not None]
    if not found:
        return []
    effect, interval, taken_over = _combined([measured for _, measured in found])
    verdict, doubt = _verdict(rule, interval)
    unfinished = "" if all(result["complete"] for result, _ in found) else "unfinished run"
    known = group.why_excluded(network)
    return [
        Evidence(
            experiment=group.experiment,
            preset=group.preset["name"] if group.preset else None,
            network=network,
            layer=layer,
            seeds=tuple(result["seed"] for result, _ in found),
            quantity=quantity,
            effect=effect,
            interval=interval,
            over=taken_over,
            verdict=verdict,
            note=joined(known, unfinished, doubt, excluded, note),
            decides=not (known or excluded),
        )
    ]


def together(verdicts: Sequence[str]) -> str:
    """What several verdicts on evidence say as one: that on which all agree; "holds in part" where only some
    hold; where none does, "does not hold" before "undecided"; without any, "not measured"."""
    found = set(verdicts) - {NOT_MEASURED}
    if HOLDS in found:
        return HOLDS if len(found) == 1 else IN_PART
    return next((verdict for verdict in (FAILS, UNDECIDED) if verdict in found), NOT_MEASURED)


def joined(*notes: str) -> str:
    """The notes that say something, in one line."""
    return "; ".join(note for note in notes if note)


def _combined(measured):
    if len(measured) == 1:
        return measured[0].value, measured[0].interval, measured[0].over
    values = [m.value for m in measured]
    own = [m.interval or (math.nan, math.nan) for m in measured]
    interval = None
    if any(m.interval for m in measured):
        interval = statistics.interval_over_seeds(values, own, shared=all(m.shared for m in measured))
    return sum(values) / len(values), interval, f"{len(values)} seeds"


def _verdict(rule, interval):
    if interval is None:
        return NOT_MEASURED, "no interval: measure it again"
    found = rule(*interval)
    if found is None:
        return UNDECIDED, "the interval includes the limit"
    return (HOLDS if found else FAILS), ""
