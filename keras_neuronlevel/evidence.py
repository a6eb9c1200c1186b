"""From the numbers of finished runs to evidence: one number with its interval, held against a rule.

A rule is a function of an interval (low, high): True where all of it lies where a finding wants it, False
where all of it lies elsewhere, None where it includes the limit. A reader is a function of a result's
``networks`` that gives a ``Measured``, or None where the result does not hold the number.
"""

import dataclasses
import math

from keras_neuronlevel import statistics

PAPERS = ("mnist_mlp", "cifar10_cnn", "imagenet_resnet50")
OURS = ("cifar10_cnn_norm_first", "cifar10_resnet")
# The papers' data, by the names that this package gives them.
DATA = {"mnist_mlp": "mnist", "cifar10_cnn": "cifar10"}
PRESETS = ("quick", "reduced", "paper")  # from the smallest scale to the largest


@dataclasses.dataclass(frozen=True)
class Measured:
    """One number of one run, its 95 % interval or None, and what the interval is taken over; ``shared``
    where runs of other seeds have that in common (they are tested on the same images)."""

    value: float
    interval: tuple | None
    over: str
    shared: bool = False


@dataclasses.dataclass(frozen=True)
class Evidence:
    """One number that bears on a claim.

    ``interval`` is a 95 % interval over what ``over`` says: "512 neurons", "10000 test images", or "3 seeds"
    (``statistics.interval_over_seeds``); ``seeds`` are those that it was measured with. ``layer`` is None
    where whole layers of a network are compared. ``verdict`` is "holds", "does not hold", "undecided" where
    the interval includes the limit, or, without an interval, "not measured". ``decides`` says whether the
    claim's verdict counts it; ``note`` why not, and what else to know.
    """

    experiment: str
    preset: str | None
    network: str
    layer: str | None
    seeds: tuple
    quantity: str
    effect: float
    interval: tuple | None
    over: str
    verdict: str
    note: str = ""
    decides: bool = True


@dataclasses.dataclass(frozen=True)
class Group:
    """The results of one experiment at one preset and scale on the same data, one a seed; ``against`` is why
    they decide nothing, or ""."""

    experiment: str
    preset: str | None
    results: tuple
    against: str

    def layers(self, bases, network=""):
        """(network, layer) of every layer whose name before the activation is in ``bases`` (None: all)
        in the networks whose label ends in ``network``, in the order of the results."""
        found = {
            (label, layer): None
            for result in self.results
            for label, numbers in result["networks"].items()
            for layer in numbers.get("layers", {})
            if label.endswith(network) and (bases is None or base(layer) in bases)
        }
        return list(found)

    def labels(self):
        """The labels of the networks."""
        return list(dict.fromkeys(label for result in self.results for label in result["networks"]))


def groups(results):
    """The results by experiment, preset, scale, stand-in and data: a list of ``Group``.

    Results of experiments that the claims do not speak of, or without networks (a saved model's
    evaluation), are left out. Only the papers' networks on the papers' data (``stand_in`` is None) decide, at
    a larger preset than ``quick``. Raises ``ValueError`` for two results of the same seed.
    """
    found = {}
    for result in results:
        if "networks" in result and result.get("experiment") in (*PAPERS, *OURS):
            key = tuple(result.get(name) for name in ("experiment", "preset", "scale", "stand_in"))
            key += tuple(lookup(result, "provenance", "data", name) for name in ("name", "digest"))
            found.setdefault(key, []).append(result)
    return [_group(key, same) for key, same in found.items()]


def _group(key, results):
    experiment, preset, _, stand_in, data, _ = key
    seeds = [result.get("seed") for result in results]
    if len(set(seeds)) < len(seeds):
        raise ValueError(
            f"there are two results of {experiment}, preset {preset}, with the same seed (seeds: "
            f"{', '.join(map(str, seeds))}); give each run once"
        )
    against = ["ours, not in the papers"] if experiment in OURS else []
    if stand_in is not None:
        against.append(f"stand-in: {stand_in}")
    elif data not in (None, DATA.get(experiment, data)):
        against.append(f"{data} in place of {DATA[experiment]}")
    elif preset == "quick":
        against.append("preset quick is too small to decide")
    ordered = sorted(results, key=lambda result: (result.get("seed") is None, result.get("seed")))
    return Group(experiment, preset, tuple(ordered), "; ".join(against))


def largest_decide(pieces):
    """The pieces, in which a number of a smaller preset decides no more where a larger one measured it."""
    largest = {}
    for piece in pieces:
        if piece.decides and piece.verdict != "not measured":
            largest[_number(piece)] = max(largest.get(_number(piece), 0), _scale(piece.preset))

    def kept(piece):
        if not piece.decides or _scale(piece.preset) >= largest.get(_number(piece), 0):
            return piece
        note = _joined(f"preset {piece.preset or 'not stated'}: a larger one decides", piece.note)
        return dataclasses.replace(piece, decides=False, note=note)

    return [kept(piece) for piece in pieces]


def _number(piece):
    return piece.experiment, piece.network, piece.layer, piece.quantity


def _scale(preset):
    return PRESETS.index(preset) if preset in PRESETS else 1


def base(layer):
    """A layer's name before its activation: "dense1" of "dense1-relu"."""
    return layer.rsplit("-", 1)[0]


# Readers --------------------------------------------------------------------------------------------


def spread(network, layer, *path):
    """A reader of a spread over neurons; ``path`` leads to it from the layer's numbers."""

    def read(networks):
        found = lookup(networks, network, "layers", layer, *path)
        if not isinstance(found, dict) or found.get("mean") is None:
            return None
        interval = found.get("interval")
        over = f"{found['neurons']} neurons" if "neurons" in found else "neurons"
        return Measured(found["mean"], tuple(interval) if interval else None, over)

    return read


def of_curve(network, layer, kind, function, count=("n_test",), over="test images"):
    """A reader of one number of a curve, ``function(curve) -> (value, interval)``.

    ``count`` leads from the curve to how many of ``over`` the interval is taken over.
    """

    def read(networks):
        curve = lookup(networks, network, "layers", layer, kind)
        if curve is None:
            return None
        value, interval = function(curve)
        if not math.isfinite(value):
            return None
        shared = over == "test images"
        return Measured(float(value), interval, f"{lookup(curve, *count)} {over}", shared)

    return read


def difference(first, second):
    """A reader of the first number minus the second, of neurons that are not the same.

    The interval (m₁ - m₂) ∓ √((m₁ - l₁)² + (u₂ - m₂)²) (and likewise above) combines the two intervals as
    those of independent samples (Zou and Donner, 2008).
    """

    def read(networks):
        a, b = first(networks), second(networks)
        if a is None or b is None:
            return None
        value, interval = a.value - b.value, None
        if a.interval and b.interval:
            interval = (
                value - math.hypot(a.value - a.interval[0], b.interval[1] - b.value),
                value + math.hypot(a.interval[1] - a.value, b.value - b.interval[0]),
            )
        return Measured(value, interval, f"{a.over.removesuffix(' neurons')} and {b.over}")

    return read


def lookup(value, *path):
    """What a path of keys and places leads to in nested dictionaries and lists, or None."""
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value


# Rules ----------------------------------------------------------------------------------------------


def above(limit):
    """All of the interval is above the limit."""
    return lambda low, high: True if low > limit else False if high <= limit else None


def below(limit):
    """All of the interval is below the limit."""
    return lambda low, high: True if high < limit else False if low >= limit else None


def inside(least, most):
    """All of the interval lies in [least, most]."""
    return lambda low, high: (
        True if least <= low and high <= most else False if high < least or low > most else None
    )


def outside(least, most):
    """All of the interval lies on one side of [least, most]."""
    return lambda low, high: (
        True if high < least or low > most else False if least <= low and high <= most else None
    )


def judge(group, network, layer, quantity, read, rule, note="", against=""):
    """The evidence of a group on one number: a list of one ``Evidence``, empty where nothing was measured.

    Of one seed the number and its own interval count, of several their mean and the interval over seeds.
    ``against`` is why this number does not decide, where the group would.
    """
    found = [(result, read(result["networks"])) for result in group.results]
    found = [(result, measured) for result, measured in found if measured is not None]
    if not found:
        return []
    effect, interval, over = _combined([measured for _, measured in found])
    verdict, doubt = _verdict(rule, interval)
    unfinished = not all(result.get("complete", True) for result, _ in found)
    return [
        Evidence(
            experiment=group.experiment,
            preset=group.preset,
            network=network,
            layer=layer,
            seeds=tuple(result.get("seed") for result, _ in found),
            quantity=quantity,
            effect=effect,
            interval=interval,
            over=over,
            verdict=verdict,
            note=_joined(group.against, "unfinished run" if unfinished else "", doubt, against, note),
            decides=not (group.against or against),
        )
    ]


def together(verdicts):
    """What several verdicts on evidence say as one: that on which all agree; "holds in part" where only some
    hold; where none does, "does not hold" before "undecided"; without any, "not measured"."""
    found = set(verdicts) - {"not measured"}
    if "holds" in found:
        return "holds" if len(found) == 1 else "holds in part"
    return next((verdict for verdict in ("does not hold", "undecided") if verdict in found), "not measured")


def _joined(*notes):
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
        return "not measured", "no interval: measure it again"
    found = rule(*interval)
    if found is None:
        return "undecided", "the interval includes the limit"
    return ("holds" if found else "does not hold"), ""
